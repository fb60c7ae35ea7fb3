"""What happens inside one write transaction of the generation store: locks, fences, and the rows of a finished step.

`GenerationStore` decides about leases and states; these functions read and write.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Delete, Row, and_, delete, func, insert, select, update

from pipelines.brief import Brief
from pipelines.errors import LeaseLost, NotFound
from pipelines.recipe import Recipe
from pipelines.records import Generation, Lease, NewEvent, QualityMetric
from pipelines.steps import Json, Message, Step, StepOutput, StoredArtifact, TakeKind
from pipelines.store.account_tables import users
from pipelines.store.tables import artifacts, currents, events, generations, messages, quality_metrics, takes
from pipelines.store.values import serialised
from quality.score import Score, dimension_name

ROW_BYTES = 100
"""Bytes that a row takes beside its texts: its keys, its numbers, its places in the indexes."""


def now() -> datetime:
    return datetime.now(UTC)


def lease_time(connection: Connection) -> datetime:
    """The one clock that all workers' leases go by: the server's. Workers on SQLite share their machine's."""
    if connection.dialect.name != "postgresql":
        return now()
    time: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return time


def generation_of(row: Row[Any]) -> Generation:
    return Generation(**{name: getattr(row, name) for name in Generation.model_fields})


def stored_size(*values: Any) -> int:
    """Bytes that texts and JSON values take in a row of the database."""
    texts = [value if isinstance(value, str) else serialised(value) for value in values]
    return ROW_BYTES + sum(len(text.encode(errors="replace")) for text in texts)


def grow(connection: Connection, generation_id: str, size: int, seconds: float = 0.0) -> None:
    """Count `size` bytes more (or less) of rows that belong to a generation, and `seconds` that a step of it ran."""
    grown = {"row_bytes": generations.c.row_bytes + size, "step_seconds": generations.c.step_seconds + seconds}
    connection.execute(update(generations).where(generations.c.id == generation_id).values(**grown))


def ensure_owner(connection: Connection, user_id: str) -> None:
    """Let there be a row of `users` for whoever stores something: for the command line and for rows of older versions
    it is one without a password, which nobody can log in as.
    """
    known = select(users.c.id).where(users.c.id == user_id)
    if connection.scalar(known) is not None:
        return
    lock_owner(connection, user_id)
    if connection.scalar(known) is None:
        nobody = {"password_hash": "", "role": "user", "disabled": True, "created_at": now()}
        connection.execute(insert(users).values(id=user_id, username=f"owner:{user_id}", **nobody))


def insert_generation(
    connection: Connection,
    user_id: str,
    brief: Brief,
    recipe: Recipe,
    given: Json,
    manifest: Json,
    parent_generation_id: str | None = None,
    generation_group_id: str | None = None,
) -> str:
    """A new row that waits for a worker; returns its id."""
    ensure_owner(connection, user_id)
    generation_id = str(uuid.uuid4())
    texts = {
        "brief": brief.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "given": given,
        "manifest": manifest,
        "direction": {},
    }
    connection.execute(
        insert(generations),
        {
            "id": generation_id,
            "user_id": user_id,
            **texts,
            "row_bytes": stored_size(*texts.values()),
            "status": "pending",
            "progress": 0,
            "cancellation_requested": False,
            "created_at": now(),
            "fence": 0,
            "last_seq": 0,
            "parent_generation_id": parent_generation_id,
            "generation_group_id": generation_group_id,
        },
    )
    return generation_id


def locked(connection: Connection, generation_id: str, user_id: str | None = None) -> Row[Any]:
    """The row, locked until the transaction ends. With a `user_id`, someone else's is unknown. Raises NotFound."""
    query = select(generations).where(generations.c.id == generation_id).with_for_update()
    if user_id is not None:
        query = query.where(generations.c.user_id == user_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"no generation {generation_id!r}")
    return row


def check_parent(connection: Connection, user_id: str, parent: str | None) -> None:
    """Raises NotFound when `parent` is named and no generation of the user's."""
    if parent is None:
        return
    query = select(generations.c.id).where(generations.c.id == parent, generations.c.user_id == user_id)
    if connection.execute(query).first() is None:
        raise NotFound(f"no generation {parent!r}")


def fenced(connection: Connection, lease: Lease) -> Row[Any]:
    """The row of the lease's generation, locked. Raises LeaseLost when another worker holds the lease now."""
    try:
        row = locked(connection, lease.generation_id)
    except NotFound:
        raise LeaseLost(f"generation {lease.generation_id!r} was deleted") from None
    if row.fence != lease.fence or row.lease_owner != lease.owner:
        raise LeaseLost(f"generation {lease.generation_id!r} was taken over by {row.lease_owner!r}")
    return row


def append_events(connection: Connection, row: Row[Any], new: Sequence[NewEvent]) -> None:
    """Add `new` to the log, and make the row's progress what the last of them says, if any says it."""
    rows = [
        {
            **event.model_dump(mode="json"),
            "generation_id": row.id,
            "seq": row.last_seq + index,
            "created_at": now(),
        }
        for index, event in enumerate(new, start=1)
    ]
    connection.execute(insert(events), rows)
    size = sum(stored_size(event.message, event.data) for event in new)
    values: Json = {"last_seq": row.last_seq + len(new), "row_bytes": generations.c.row_bytes + size}
    percents = [event.data["progress"] for event in new if "progress" in event.data]
    if percents:
        values["progress"] = percents[-1]
    connection.execute(update(generations).where(generations.c.id == row.id).values(**values))


def insert_artifacts(connection: Connection, generation_id: str, stored_artifacts: Sequence[StoredArtifact]) -> None:
    known = select(artifacts.c.sha256).where(artifacts.c.generation_id == generation_id)
    present = set(connection.execute(known).scalars())
    rows = {
        stored.sha256: {"generation_id": generation_id, **stored.model_dump()}
        for stored in stored_artifacts
        if stored.sha256 not in present
    }
    if rows:
        connection.execute(insert(artifacts), list(rows.values()))


def insert_takes(connection: Connection, lease: Lease, step: Step, output: StepOutput) -> tuple[str, ...]:
    ids = tuple(str(uuid.uuid4()) for _ in output.takes)
    rows = [
        {
            "id": take_id,
            "generation_id": lease.generation_id,
            "step": step.name,
            "key": step.key,
            "position": position,
            "created_at": now(),
            **take.model_dump(mode="json"),
        }
        for position, (take_id, take) in enumerate(zip(ids, output.takes, strict=True))
    ]
    if rows:
        connection.execute(insert(takes), rows)
        grow(connection, lease.generation_id, sum(stored_size(take.provenance) for take in output.takes))
    return ids


def point(connection: Connection, generation_id: str, kind: TakeKind, scene_number: int | None, take_id: str) -> None:
    """Make a take the current one of its kind and scene."""
    where = and_(
        currents.c.generation_id == generation_id,
        currents.c.kind == kind,
        currents.c.scene_number == (scene_number or 0),
    )
    moved = connection.execute(update(currents).where(where).values(take_id=take_id))
    if moved.rowcount == 0:
        connection.execute(
            insert(currents).values(
                generation_id=generation_id,
                kind=kind,
                scene_number=scene_number or 0,
                take_id=take_id,
            )
        )


def insert_messages(connection: Connection, generation_id: str, step: str, new: Sequence[Message]) -> None:
    rows = [{"generation_id": generation_id, "step": step, **message.model_dump()} for message in new]
    if rows:
        connection.execute(insert(messages), rows)
        grow(connection, generation_id, sum(stored_size(message.content) for message in new))


def insert_metrics(connection: Connection, generation_id: str, step: Step, scores: Sequence[Score]) -> None:
    """Record what `step` measured; these are the current metrics of its name from now on."""
    if not scores:
        return
    connection.execute(insert(quality_metrics), [_metric_row(generation_id, step, score) for score in scores])
    make_metrics_current(connection, generation_id, step)


def make_metrics_current(connection: Connection, generation_id: str, step: Step) -> None:
    """Make the metrics that `step` left when it ran with these inputs the current ones of its name."""
    of_step = (quality_metrics.c.generation_id == generation_id, quality_metrics.c.step == step.name)
    connection.execute(update(quality_metrics).where(*of_step).values(current=quality_metrics.c.key == step.key))


def make_step_current(connection: Connection, generation_id: str, step: Step) -> None:
    """Make the takes and metrics that `step` left when it ran with these inputs the current ones again."""
    query = select(takes).where(
        takes.c.generation_id == generation_id, takes.c.step == step.name, takes.c.key == step.key
    )
    for take in connection.execute(query).all():
        point(connection, generation_id, take.kind, take.scene_number, take.id)
    make_metrics_current(connection, generation_id, step)


def retire_metrics(connection: Connection, generation_id: str) -> None:
    """Make no metric of the generation current any more: what they measured is regenerated."""
    connection.execute(
        update(quality_metrics).where(quality_metrics.c.generation_id == generation_id).values(current=False)
    )


def _metric_row(generation_id: str, step: Step, score: Score) -> dict[str, Any]:
    metric = QualityMetric(
        id=str(uuid.uuid4()),
        generation_id=generation_id,
        scene_number=score.scene_number,
        metric_name=dimension_name(score.metric_id),
        metric_value=score.raw,
        reason=score.reason,
        model_name=score.backbone,
        created_at=now(),
    )
    return {**metric.model_dump(), "step": step.name, "key": step.key, "current": False}


def lock_owner(connection: Connection, user_id: str) -> None:
    """Lock everything of one owner until the transaction ends. SQLite has one writer as it is.

    No row is locked: logins and keys change the owner's, and would wait. Take it before any row lock, or two
    transactions can wait for each other.
    """
    lock_name(connection, user_id)


def lock_name(connection: Connection, name: str) -> None:
    """Lock a name until the transaction ends, on a database with several writers."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def delete_stale(key: Column[Any], where: ColumnElement[bool]) -> Delete:
    """Delete the rows that meet `where`, but for those that another transaction deletes at this moment.

    Two transactions that delete the same rows, each in an order of its own, would wait for each other for ever.
    `key`: the primary key of their table.
    """
    return delete(key.table).where(key.in_(select(key).where(where).with_for_update(skip_locked=True)))
