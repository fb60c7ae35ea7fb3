"""The generation store on SQLAlchemy: create, claim, renew, checkpoint, read.

Everything a finished step leaves behind is one transaction under the generation's row lock, in which the lease's fence
is checked and the event `seq` allotted: at-least-once work, exactly-once visible result. Knows no stage and no model.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.brief import Brief
from pipelines.errors import Busy, LeaseLost, NotFound
from pipelines.recipe import Recipe
from pipelines.steps import Json, Message, Step, StepOutput
from pipelines.store.database import Database, unbroken
from pipelines.store.records import Checkpoint, Event, Generation, GenerationStatus, Lease, NewEvent, Take
from pipelines.store.tables import artifacts, checkpoints, currents, events, generations, messages, takes

LEASE_SECONDS = 30.0
"""A lease lives this long without renewal; the engine renews every third of it."""


def _now() -> datetime:
    return datetime.now(UTC)


class GenerationStore:
    """Rows of all generations. Every read takes the owner's id: someone else's id is NotFound."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- generations ---

    @unbroken
    async def create(self, user_id: str, brief: Brief, recipe: Recipe, given: Json, manifest: Json) -> str:
        generation_id = str(uuid.uuid4())
        async with self._database.write() as connection:
            await connection.execute(
                insert(generations).values(
                    id=generation_id,
                    user_id=user_id,
                    brief=brief.model_dump(mode="json"),
                    recipe=recipe.model_dump(mode="json"),
                    given=given,
                    manifest=manifest,
                    status="pending",
                    progress=0,
                    cancellation_requested=False,
                    created_at=_now(),
                    fence=0,
                    last_seq=0,
                )
            )
        return generation_id

    @unbroken
    async def get(self, user_id: str, generation_id: str) -> Generation:
        """Raises NotFound, also for someone else's generation."""
        query = select(generations).where(generations.c.id == generation_id, generations.c.user_id == user_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound(f"no generation {generation_id!r}")
        return _generation(row)

    @unbroken
    async def list_ids(self, user_id: str) -> tuple[str, ...]:
        """Ids of the owner's generations, newest first."""
        query = (
            select(generations.c.id)
            .where(generations.c.user_id == user_id)
            .order_by(generations.c.created_at.desc(), generations.c.id)
        )
        async with self._database.read() as connection:
            return tuple((await connection.execute(query)).scalars())

    @unbroken
    async def request_cancel(self, user_id: str, generation_id: str) -> None:
        await self.get(user_id, generation_id)
        async with self._database.write() as connection:
            await connection.execute(
                update(generations).where(generations.c.id == generation_id).values(cancellation_requested=True)
            )

    @unbroken
    async def replace_recipe(self, user_id: str, generation_id: str, recipe: Recipe) -> None:
        """Ask for other stages; steps whose inputs stay the same are not run again. Raises NotFound."""
        await self.get(user_id, generation_id)
        async with self._database.write() as connection:
            await connection.execute(
                update(generations)
                .where(generations.c.id == generation_id)
                .values(recipe=recipe.model_dump(mode="json"))
            )

    # --- leases ---

    @unbroken
    async def claim(self, generation_id: str, owner: str, take_over: bool = False) -> Lease:
        """Take the lease. `take_over` ignores a live lease: only for a caller that knows its holder is dead.

        Raises Busy while another owner's lease is alive, NotFound.
        """
        async with self._database.write() as connection:
            row = await self._locked(connection, generation_id)
            expires: datetime | None = row.lease_expires_at
            if expires is not None and expires > _now() and not take_over:
                raise Busy(f"generation {generation_id!r} is run by {row.lease_owner!r}: wait for it, or stop it")
            fence = row.fence + 1
            await connection.execute(
                update(generations)
                .where(generations.c.id == generation_id)
                .values(
                    fence=fence,
                    lease_owner=owner,
                    lease_expires_at=_now() + timedelta(seconds=LEASE_SECONDS),
                    status="processing",
                    error_message=None,
                    completed_at=None,
                )
            )
        return Lease(generation_id=generation_id, owner=owner, fence=fence)

    @unbroken
    async def renew(self, lease: Lease) -> bool:
        """Keep the lease for another LEASE_SECONDS. Returns whether the owner asked to cancel. Raises LeaseLost."""
        async with self._database.write() as connection:
            row = await self._fenced(connection, lease)
            await connection.execute(
                update(generations)
                .where(generations.c.id == lease.generation_id)
                .values(lease_expires_at=_now() + timedelta(seconds=LEASE_SECONDS))
            )
        return bool(row.cancellation_requested)

    @unbroken
    async def end(
        self, lease: Lease, status: GenerationStatus, event: NewEvent, error_message: str | None = None
    ) -> None:
        """Leave `processing`: give the lease back and write the closing event. Raises LeaseLost."""
        async with self._database.write() as connection:
            row = await self._fenced(connection, lease)
            await self._append(connection, row, (event,))
            values: Json = {
                "status": status,
                "lease_owner": None,
                "lease_expires_at": None,
                "error_message": error_message,
                "completed_at": None if status == "pending" else _now(),
                "cancellation_requested": False,
            }
            if status == "completed":
                values["progress"] = 100
            await connection.execute(
                update(generations).where(generations.c.id == lease.generation_id).values(**values)
            )

    # --- steps ---

    @unbroken
    async def checkpoint(self, generation_id: str, step: Step) -> Checkpoint | None:
        """What this step left behind when it ran with the same inputs, if it did."""
        query = select(checkpoints).where(
            checkpoints.c.generation_id == generation_id,
            checkpoints.c.step == step.name,
            checkpoints.c.key == step.key,
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _checkpoint(row)

    @unbroken
    async def commit_step(self, lease: Lease, step: Step, output: StepOutput, seconds: float, event: NewEvent) -> None:
        """Checkpoint, artifact rows, takes, messages and event in one transaction. Raises LeaseLost."""
        async with self._database.write() as connection:
            row = await self._fenced(connection, lease)
            await connection.execute(
                insert(checkpoints).values(
                    generation_id=lease.generation_id,
                    step=step.name,
                    key=step.key,
                    value=output.value,
                    seconds=seconds,
                    created_at=_now(),
                )
            )
            await self._insert_artifacts(connection, lease.generation_id, output)
            for position, take_id in enumerate(await self._insert_takes(connection, lease, step, output)):
                await self._point(connection, lease.generation_id, output.takes[position], take_id)
            await self._insert_messages(connection, lease.generation_id, step, output.messages)
            await self._append(connection, row, (event,))

    @unbroken
    async def append(self, lease: Lease, *new_events: NewEvent, progress: int | None = None) -> None:
        """Append events to the log, and move the generation's progress if given. Raises LeaseLost."""
        async with self._database.write() as connection:
            row = await self._fenced(connection, lease)
            await self._append(connection, row, new_events)
            values: Json = {"current_step": new_events[-1].step} if new_events[-1].step else {}
            if progress is not None:
                values["progress"] = progress
            if values:
                await connection.execute(
                    update(generations).where(generations.c.id == lease.generation_id).values(**values)
                )

    # --- reading back ---

    async def events(self, generation_id: str, after: int = 0) -> tuple[Event, ...]:
        query = (
            select(events).where(events.c.generation_id == generation_id, events.c.seq > after).order_by(events.c.seq)
        )
        return tuple(_event(row) for row in await self._rows(query))

    async def messages(self, generation_id: str) -> tuple[Message, ...]:
        query = select(messages).where(messages.c.generation_id == generation_id).order_by(messages.c.id)
        fields = Message.model_fields
        return tuple(Message(**{name: getattr(row, name) for name in fields}) for row in await self._rows(query))

    async def takes(self, generation_id: str) -> tuple[Take, ...]:
        joined = takes.outerjoin(currents, currents.c.take_id == takes.c.id)
        query = (
            select(takes, currents.c.take_id.label("pointer"))
            .select_from(joined)
            .where(takes.c.generation_id == generation_id)
            .order_by(takes.c.created_at, takes.c.step, takes.c.position)
        )
        return tuple(_take(row) for row in await self._rows(query))

    async def checkpoints(self, generation_id: str) -> tuple[Checkpoint, ...]:
        query = (
            select(checkpoints)
            .where(checkpoints.c.generation_id == generation_id)
            .order_by(checkpoints.c.created_at, checkpoints.c.step)
        )
        return tuple(_checkpoint(row) for row in await self._rows(query))

    # --- inside a transaction ---

    @unbroken
    async def _rows(self, query: Any) -> Sequence[Row[Any]]:
        async with self._database.read() as connection:
            return (await connection.execute(query)).all()

    async def _locked(self, connection: AsyncConnection, generation_id: str) -> Row[Any]:
        query = select(generations).where(generations.c.id == generation_id).with_for_update()
        row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound(f"no generation {generation_id!r}")
        return row

    async def _fenced(self, connection: AsyncConnection, lease: Lease) -> Row[Any]:
        row = await self._locked(connection, lease.generation_id)
        if row.fence != lease.fence or row.lease_owner != lease.owner:
            raise LeaseLost(f"generation {lease.generation_id!r} was taken over by {row.lease_owner!r}")
        return row

    async def _append(self, connection: AsyncConnection, row: Row[Any], new: Sequence[NewEvent]) -> None:
        rows = [
            {
                **event.model_dump(mode="json"),
                "generation_id": row.id,
                "seq": row.last_seq + index,
                "created_at": _now(),
            }
            for index, event in enumerate(new, start=1)
        ]
        await connection.execute(insert(events), rows)
        await connection.execute(
            update(generations).where(generations.c.id == row.id).values(last_seq=row.last_seq + len(new))
        )

    async def _insert_artifacts(self, connection: AsyncConnection, generation_id: str, output: StepOutput) -> None:
        known = select(artifacts.c.sha256).where(artifacts.c.generation_id == generation_id)
        present = set((await connection.execute(known)).scalars())
        rows = {
            stored.sha256: {"generation_id": generation_id, **stored.model_dump()}
            for stored in output.artifacts
            if stored.sha256 not in present
        }
        if rows:
            await connection.execute(insert(artifacts), list(rows.values()))

    async def _insert_takes(
        self, connection: AsyncConnection, lease: Lease, step: Step, output: StepOutput
    ) -> tuple[str, ...]:
        ids = tuple(str(uuid.uuid4()) for _ in output.takes)
        rows = [
            {
                "id": take_id,
                "generation_id": lease.generation_id,
                "step": step.name,
                "key": step.key,
                "position": position,
                "created_at": _now(),
                **take.model_dump(mode="json"),
            }
            for position, (take_id, take) in enumerate(zip(ids, output.takes, strict=True))
        ]
        if rows:
            await connection.execute(insert(takes), rows)
        return ids

    async def _point(self, connection: AsyncConnection, generation_id: str, take: Any, take_id: str) -> None:
        """Make a take the current one of its kind and scene."""
        where = and_(
            currents.c.generation_id == generation_id,
            currents.c.kind == take.kind,
            currents.c.scene_number == (take.scene_number or 0),
        )
        moved = await connection.execute(update(currents).where(where).values(take_id=take_id))
        if moved.rowcount == 0:
            await connection.execute(
                insert(currents).values(
                    generation_id=generation_id,
                    kind=take.kind,
                    scene_number=take.scene_number or 0,
                    take_id=take_id,
                )
            )

    async def _insert_messages(
        self, connection: AsyncConnection, generation_id: str, step: Step, new: Sequence[Message]
    ) -> None:
        rows = [{"generation_id": generation_id, "step": step.name, **message.model_dump()} for message in new]
        if rows:
            await connection.execute(insert(messages), rows)


def _generation(row: Row[Any]) -> Generation:
    return Generation(**{name: getattr(row, name) for name in Generation.model_fields})


def _checkpoint(row: Row[Any]) -> Checkpoint:
    return Checkpoint(**{name: getattr(row, name) for name in Checkpoint.model_fields})


def _event(row: Row[Any]) -> Event:
    return Event(**{name: getattr(row, name) for name in Event.model_fields})


def _take(row: Row[Any]) -> Take:
    fields = {name: getattr(row, name) for name in Take.model_fields if name != "current"}
    return Take(**fields, current=row.pointer is not None)
