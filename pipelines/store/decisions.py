"""What owners decide, in the database: one transaction under the generation's row lock reads, decides and writes.

The decision itself is a pure function (`pipelines/decisions`). Someone else's generation is like an unknown one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from pipelines.decisions.situation import Decision, Situation
from pipelines.errors import DecisionRefused, NotFound
from pipelines.records import Generation, Keys, NewEvent, Take
from pipelines.steps import Json, TakeKind
from pipelines.store.database import Database, transaction
from pipelines.store.ownership import IN_PROGRESS, Quota, admit_bytes, admit_start
from pipelines.store.request_keys import known_request, note_request
from pipelines.store.tables import artifacts, checkpoints, currents, generations, messages, stage_outputs, takes
from pipelines.store.transaction import (
    append_events,
    generation_of,
    grow,
    insert_artifacts,
    insert_messages,
    lock_owner,
    locked,
    point,
    retire_metrics,
    stored_size,
)

MAX_MESSAGES = 1000
"""Of the owner, in the conversation of one generation."""


class DirectionStore:
    """Decisions of owners, and the takes that they are about."""

    def __init__(self, database: Database, quota: Quota | None = None) -> None:
        """`quota` of each owner; None: no bound."""
        self._database = database
        self._quota = quota

    async def decide(
        self,
        user_id: str,
        generation_id: str,
        decide: Callable[[Situation], Decision],
        step: str,
        once: bool,
        keys: Keys = (),
    ) -> Generation:
        """Write what `decide` answers, whole or not at all; what it raises changes nothing. The row as it is then.

        `step` names the decision in the log of messages; with `once`, nothing happens when it stands there already,
        nor for a request that had one of `keys` before. Raises NotFound, KeyReused, QuotaExceeded.
        """
        try:
            return await self._decide(user_id, generation_id, decide, step, once, keys)
        except IntegrityError:  # a request for something else took one of the keys in this moment
            return await self._decide(user_id, generation_id, decide, step, once, keys)

    @transaction
    def _decide(
        self,
        connection: Connection,
        user_id: str,
        generation_id: str,
        decide: Callable[[Situation], Decision],
        step: str,
        once: bool,
        keys: Keys,
    ) -> Generation:
        if self._quota is not None:
            lock_owner(connection, user_id)  # before the row, as everywhere
        row = locked(connection, generation_id, user_id)
        if known_request(connection, user_id, keys) is not None:
            return generation_of(row)
        if once and _was_decided(connection, generation_id, step):
            return generation_of(row)
        note_request(connection, user_id, keys, generation_id=generation_id)
        situation = Situation(generation_of(row), _outputs(connection, generation_id))
        decision = decide(situation)
        self._admit(connection, situation.generation, decision, step)
        _write(connection, situation, decision, step)
        if events := _log(decision):
            append_events(connection, row, events)
        return generation_of(locked(connection, generation_id))

    def _admit(self, connection: Connection, generation: Generation, decision: Decision, step: str) -> None:
        """Raises QuotaExceeded when what the owner sends, or one more generation at work, is too much.

        An approval sends nothing: it is never refused.
        """
        if decision.continues_at is not None and generation.status not in IN_PROGRESS:
            admit_start(connection, generation.user_id, self._quota)
        if any(message.role == "user" for message in decision.messages) and step.startswith("chat"):
            _admit_message(connection, generation.id)
        sent = sum(file.size for file in decision.artifacts)
        sent += sum(stored_size(message.content) for message in decision.messages)
        if sent:
            admit_bytes(connection, generation.user_id, sent, self._quota)

    async def take(self, user_id: str, generation_id: str, take_id: str) -> tuple[Take, Json]:
        """A take and the output of the step that made it. Raises NotFound."""
        of_step = and_(
            checkpoints.c.generation_id == takes.c.generation_id,
            checkpoints.c.step == takes.c.step,
            checkpoints.c.key == takes.c.key,
        )
        query = _takes(user_id, generation_id).join(checkpoints, of_step).where(takes.c.id == take_id)
        row = await self._database.fetch_first(query.add_columns(checkpoints.c.value))
        if row is None:
            raise NotFound(f"no take {take_id!r} in generation {generation_id!r}")
        return _take(row), row.value

    async def current_take(self, user_id: str, generation_id: str, kind: TakeKind, scene_number: int | None) -> str:
        """The id of the current take. Raises NotFound."""
        query = _takes(user_id, generation_id).where(
            currents.c.kind == kind, currents.c.scene_number == (scene_number or 0)
        )
        row = await self._database.fetch_first(query)
        if row is None:
            of_scene = "" if scene_number is None else f" of scene {scene_number}"
            raise NotFound(f"no {kind}{of_scene} in generation {generation_id!r}")
        return str(row.id)

    async def artifact_hashes(self, user_id: str, generation_id: str) -> frozenset[str]:
        """The files that the user's generation names; none of someone else's."""
        query = (
            select(artifacts.c.sha256)
            .join(generations, generations.c.id == artifacts.c.generation_id)
            .where(generations.c.id == generation_id, generations.c.user_id == user_id)
        )
        return frozenset(row.sha256 for row in await self._database.fetch(query))

    async def count_takes(self, generation_id: str, step_prefix: str) -> int:
        """How many takes the steps whose names begin with `step_prefix` left."""
        query = (
            select(func.count())
            .select_from(takes)
            .where(takes.c.generation_id == generation_id, takes.c.step.startswith(step_prefix, autoescape=True))
        )
        return int((await self._database.fetch(query))[0][0])


def _takes(user_id: str, generation_id: str) -> Any:
    return (
        select(takes, currents.c.take_id.label("pointer"))
        .join(generations, generations.c.id == takes.c.generation_id)
        .outerjoin(currents, currents.c.take_id == takes.c.id)
        .where(generations.c.user_id == user_id, generations.c.id == generation_id)
    )


def _take(row: Any) -> Take:
    fields = {name: getattr(row, name) for name in Take.model_fields if name != "current"}
    return Take(**fields, current=row.pointer is not None)


def _log(decision: Decision) -> tuple[NewEvent, ...]:
    """The events of a decision: what the owner said, what comes of it, and last what the assistant answered."""
    said: list[NewEvent] = []
    answered: list[NewEvent] = []
    for message in decision.messages:
        event = NewEvent(
            kind="conversation",
            message=message.content,
            scene_number=message.scene_number,
            data={"role": message.role},
        )
        (answered if message.role == "assistant" else said).append(event)
    return (*said, *decision.events, *answered)


def _admit_message(connection: Connection, generation_id: str) -> None:
    """Raises DecisionRefused when as much was said in the generation's conversation as may be."""
    said = (
        select(func.count())
        .select_from(messages)
        .where(messages.c.generation_id == generation_id, messages.c.role == "user")
    )
    if connection.execute(said).scalar_one() >= MAX_MESSAGES:
        raise DecisionRefused(f"{MAX_MESSAGES} messages were said here: begin a new session")


def _was_decided(connection: Connection, generation_id: str, step: str) -> bool:
    query = select(messages.c.id).where(messages.c.generation_id == generation_id, messages.c.step == step).limit(1)
    return connection.execute(query).first() is not None


def _outputs(connection: Connection, generation_id: str) -> dict[Any, Any]:
    query = select(stage_outputs).where(stage_outputs.c.generation_id == generation_id)
    return {row.stage: row.value for row in connection.execute(query).all()}


def _write(connection: Connection, situation: Situation, decision: Decision, step: str) -> None:
    generation = situation.generation
    values: Json = {"direction": decision.direction.model_dump(mode="json")}
    before = stored_size(generation.direction.model_dump(mode="json"))
    grow(connection, generation.id, stored_size(values["direction"]) - before)
    if decision.continues_at is not None:
        values |= {
            "status": "pending",
            "current_stage": decision.continues_at,
            "progress": situation.shares[decision.continues_at][0],
            "error_message": None,
            "completed_at": None,
            "cancellation_requested": False,
        }
    connection.execute(update(generations).where(generations.c.id == generation.id).values(**values))
    of_generation = stage_outputs.c.generation_id == generation.id
    if decision.forgotten:
        connection.execute(delete(stage_outputs).where(of_generation, stage_outputs.c.stage.in_(decision.forgotten)))
    if "quality" in decision.forgotten:
        retire_metrics(connection, generation.id)
    for stage, value in decision.outputs.items():
        connection.execute(
            update(stage_outputs).where(of_generation, stage_outputs.c.stage == stage).values(value=value)
        )
    insert_artifacts(connection, generation.id, decision.artifacts)
    insert_messages(connection, generation.id, step, decision.messages)
    if pointer := decision.pointer:
        point(connection, generation.id, pointer.kind, pointer.scene_number, pointer.take_id)
