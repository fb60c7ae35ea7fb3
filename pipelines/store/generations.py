"""The generation store on SQLAlchemy: create, claim, renew, checkpoint, read.

Everything a finished step leaves behind is one transaction under the generation's row lock, in which the lease's fence
is checked and the event `seq` allotted: at-least-once work, exactly-once visible result. Knows no stage and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from pipelines.brief import Brief
from pipelines.errors import Busy, NotFound
from pipelines.recipe import Recipe
from pipelines.records import Checkpoint, Generation, GenerationStatus, Lease, NewEvent
from pipelines.steps import Json, Step, StepOutput
from pipelines.store.database import Database, transaction
from pipelines.store.fault_points import reach
from pipelines.store.history import StageRows, checkpoint_of, insert_metrics
from pipelines.store.ownership import Quota, admit_generation
from pipelines.store.tables import checkpoints, generations
from pipelines.store.transaction import (
    append_events,
    check_parent,
    fenced,
    generation_of,
    insert_artifacts,
    insert_generation,
    insert_messages,
    insert_takes,
    lease_time,
    locked,
    now,
    point,
)

LOST_WORKERS = 5
"""Workers that a generation may lose in a row without finishing a step; then it is what kills them."""
LEASE_SECONDS = 30.0
"""A lease lives this long without renewal, unless a store is told otherwise; the engine renews every third of it."""


_ONE = select(generations).where(
    generations.c.id == bindparam("generation_id"), generations.c.user_id == bindparam("user_id")
)
_WAITING = select(func.count()).select_from(generations).where(generations.c.status == "pending")
_THIS = generations.alias("this")
_POSITION = (
    select(func.count())
    .select_from(
        _THIS.join(
            generations, tuple_(generations.c.created_at, generations.c.id) <= tuple_(_THIS.c.created_at, _THIS.c.id)
        )
    )
    .where(_THIS.c.id == bindparam("generation_id"), _THIS.c.status == "pending", generations.c.status == "pending")
)


class GenerationStore(StageRows):
    """Rows of all generations. Every read takes the owner's id: someone else's id is NotFound."""

    def __init__(self, database: Database, quota: Quota | None = None, lease_seconds: float = LEASE_SECONDS) -> None:
        """`quota` of each owner, checked where generations are created; None: no bound, as on the command line."""
        super().__init__(database)
        self._quota = quota
        self.lease_seconds = lease_seconds

    # --- generations ---

    @transaction
    def create(
        self,
        connection: Connection,
        user_id: str,
        brief: Brief,
        recipe: Recipe,
        given: Json,
        manifest: Json,
        parent_generation_id: str | None = None,
    ) -> str:
        """A new generation; with a parent it is an edited version of it.

        Raises QuotaExceeded, NotFound for an unknown parent.
        """
        check_parent(connection, user_id, parent_generation_id)
        admit_generation(connection, user_id, self._quota)
        return insert_generation(connection, user_id, brief, recipe, given, manifest, parent_generation_id)

    async def get(self, user_id: str, generation_id: str) -> Generation:
        """Raises NotFound, also for someone else's generation."""
        row = await self._database.fetch_first(_ONE, generation_id=generation_id, user_id=user_id)
        if row is None:
            raise NotFound(f"no generation {generation_id!r}")
        return generation_of(row)

    async def list_ids(self, user_id: str) -> tuple[str, ...]:
        """Ids of the owner's generations, newest first."""
        query = (
            select(generations.c.id)
            .where(generations.c.user_id == user_id)
            .order_by(generations.c.created_at.desc(), generations.c.id)
        )
        return tuple(row.id for row in await self._database.fetch(query))

    async def page(
        self, user_id: str, recipe: str | None, after: str | None, limit: int, newest_first: bool = True
    ) -> tuple[Generation, ...]:
        """At most `limit` of the owner's generations, of one recipe if named, past the generation `after`.

        Raises NotFound when `after` is unknown.
        """
        query = select(generations).where(generations.c.user_id == user_id)
        if recipe is not None:
            query = query.where(generations.c.recipe["name"].as_string() == recipe)
        if after is not None:
            query = query.where(_past(await self.get(user_id, after), newest_first))
        order = (generations.c.created_at, generations.c.id)
        query = query.order_by(*(column.desc() if newest_first else column for column in order)).limit(limit)
        return tuple(generation_of(row) for row in await self._database.fetch(query))

    @transaction
    def cancel(self, connection: Connection, user_id: str, generation_id: str) -> Generation:
        """Cancel at once what waits; ask the worker of what runs. A finished generation stays as it is.

        Raises NotFound.
        """
        row = locked(connection, generation_id, user_id)
        values: Json = {}
        if row.status in ("pending", "awaiting_approval"):
            append_events(
                connection, row, (NewEvent(kind="generation_cancelled", message="cancelled while it waited"),)
            )
            values = {"status": "cancelled", "completed_at": now()}
        elif row.status == "processing":
            values = {"cancellation_requested": True}
        if not values:
            return generation_of(row)
        connection.execute(update(generations).where(generations.c.id == generation_id).values(**values))
        return generation_of(locked(connection, generation_id))

    @transaction
    def delete(self, connection: Connection, user_id: str, generation_id: str) -> None:
        """Forget a generation and everything recorded for it. Raises NotFound, Busy while it runs."""
        if locked(connection, generation_id, user_id).status == "processing":
            raise Busy(f"generation {generation_id!r} is running: cancel it first")
        connection.execute(delete(generations).where(generations.c.id == generation_id))

    # --- the queue ---

    async def count_waiting(self) -> int:
        """How many generations of all owners wait for a worker."""
        return int((await self._database.fetch(_WAITING))[0][0])

    async def queue_position(self, generation_id: str) -> int | None:
        """1: the next to be claimed; None when the generation does not wait."""
        return int((await self._database.fetch(_POSITION, generation_id=generation_id))[0][0]) or None

    @transaction
    def claim_next(self, connection: Connection, owner: str) -> tuple[Lease, Generation] | None:
        """Take the lease of the generation that waits longest, or whose worker died; None when there is none.

        One that lost LOST_WORKERS in a row ends as failed instead: it would take down every worker there is.
        """
        over = generations.c.lease_expires_at < lease_time(connection)
        query = (
            select(generations)
            .where(or_(generations.c.status == "pending", and_(generations.c.status == "processing", over)))
            .order_by(generations.c.created_at, generations.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        while (row := connection.execute(query).first()) is not None:
            lost = row.lost_workers + 1 if row.status == "processing" else 0
            if lost < LOST_WORKERS:
                return self._take(connection, row, owner, lost), generation_of(row)
            where = f"at {row.current_step!r}" if row.current_step else "before its first step"
            message = f"{lost} workers died one after the other {where}: see their logs before it is resumed"
            _end(
                connection,
                row,
                "failed",
                NewEvent(kind="generation_failed", message=message, severity="error"),
                message,
            )
        return None

    async def cancels_requested(self, generation_ids: Sequence[str]) -> tuple[str, ...]:
        """Those of the given generations whose owner asked to stop them."""
        query = select(generations.c.id).where(
            generations.c.id.in_(generation_ids), generations.c.cancellation_requested.is_(True)
        )
        return tuple(row.id for row in await self._database.fetch(query))

    @transaction
    def replace_recipe(self, connection: Connection, user_id: str, generation_id: str, recipe: Recipe) -> None:
        """Ask for other stages; steps whose inputs stay the same are not run again. Raises NotFound."""
        locked(connection, generation_id, user_id)
        connection.execute(
            update(generations).where(generations.c.id == generation_id).values(recipe=recipe.model_dump(mode="json"))
        )

    # --- leases ---

    @transaction
    def claim(self, connection: Connection, generation_id: str, owner: str, take_over: bool = False) -> Lease:
        """Take the lease. `take_over` ignores a live lease: only for a caller that knows its holder is dead.

        Raises Busy while another owner's lease is alive, NotFound.
        """
        row = locked(connection, generation_id)
        expires: datetime | None = row.lease_expires_at
        if expires is not None and not take_over and expires > lease_time(connection):
            raise Busy(f"generation {generation_id!r} is run by {row.lease_owner!r}: wait for it, or stop it")
        return self._take(connection, row, owner, 0)

    def _take(self, connection: Connection, row: Row[Any], owner: str, lost_workers: int) -> Lease:
        fence = row.fence + 1
        connection.execute(
            update(generations)
            .where(generations.c.id == row.id)
            .values(
                fence=fence,
                lost_workers=lost_workers,
                lease_owner=owner,
                lease_expires_at=self._lease_end(connection),
                status="processing",
                error_message=None,
                completed_at=None,
            )
        )
        return Lease(generation_id=row.id, owner=owner, fence=fence)

    @transaction
    def renew(self, connection: Connection, lease: Lease) -> bool:
        """Keep the lease for another `lease_seconds`. Returns whether the owner asked to cancel. Raises LeaseLost."""
        row = fenced(connection, lease)
        connection.execute(
            update(generations)
            .where(generations.c.id == lease.generation_id)
            .values(lease_expires_at=self._lease_end(connection))
        )
        return bool(row.cancellation_requested)

    def _lease_end(self, connection: Connection) -> datetime:
        return lease_time(connection) + timedelta(seconds=self.lease_seconds)

    @transaction
    def end(
        self,
        connection: Connection,
        lease: Lease,
        status: GenerationStatus,
        event: NewEvent,
        error_message: str | None = None,
    ) -> None:
        """Leave `processing`: give the lease back and write the closing event. Raises LeaseLost.

        A cancel that came while the worker stopped to wait is heeded here, or it would be forgotten.
        """
        row = fenced(connection, lease)
        if row.cancellation_requested and status in ("pending", "awaiting_approval"):
            status, event = "cancelled", NewEvent(kind="generation_cancelled", message="cancelled on request")
        _end(connection, row, status, event, error_message)

    # --- steps ---

    async def checkpoint(self, generation_id: str, step: Step) -> Checkpoint | None:
        """What this step left behind when it ran with the same inputs, if it did."""
        query = select(checkpoints).where(
            checkpoints.c.generation_id == generation_id,
            checkpoints.c.step == step.name,
            checkpoints.c.key == step.key,
        )
        row = await self._database.fetch_first(query)
        return None if row is None else checkpoint_of(row)

    @transaction
    def commit_step(
        self, connection: Connection, lease: Lease, step: Step, output: StepOutput, seconds: float, event: NewEvent
    ) -> None:
        """Checkpoint, artifact rows, takes, messages, metrics and event in one transaction. Raises LeaseLost."""
        row = fenced(connection, lease)
        connection.execute(
            insert(checkpoints).values(
                generation_id=lease.generation_id,
                step=step.name,
                key=step.key,
                value=output.value,
                seconds=seconds,
                created_at=now(),
            )
        )
        insert_artifacts(connection, lease.generation_id, output.artifacts)
        reach("in_transaction")
        for take, take_id in zip(output.takes, insert_takes(connection, lease, step, output), strict=True):
            point(connection, lease.generation_id, take.kind, take.scene_number, take_id)
        insert_messages(connection, lease.generation_id, step.name, output.messages)
        insert_metrics(connection, lease.generation_id, step, output.scores)
        append_events(connection, row, (event,))
        if row.lost_workers:
            connection.execute(update(generations).where(generations.c.id == row.id).values(lost_workers=0))

    @transaction
    def append(self, connection: Connection, lease: Lease, *new_events: NewEvent) -> None:
        """Append events to the log. Raises LeaseLost."""
        row = fenced(connection, lease)
        append_events(connection, row, new_events)
        values: Json = {"current_step": new_events[-1].step} if new_events[-1].step else {}
        if values:
            connection.execute(update(generations).where(generations.c.id == lease.generation_id).values(**values))


def _end(
    connection: Connection, row: Row[Any], status: GenerationStatus, event: NewEvent, error_message: str | None
) -> None:
    """Leave `processing`, with the closing event."""
    append_events(connection, row, (event,))
    values: Json = {
        "status": status,
        "lease_owner": None,
        "lease_expires_at": None,
        "error_message": error_message,
        "completed_at": None if status in ("pending", "awaiting_approval") else now(),
        "cancellation_requested": False,
    }
    if status == "completed":
        values["progress"] = 100
    connection.execute(update(generations).where(generations.c.id == row.id).values(**values))


def _past(generation: Generation, newest_first: bool) -> ColumnElement[bool]:
    """Rows that come after `generation` in the order of `page`."""
    here = (generations.c.created_at, generations.c.id)
    there = (generation.created_at, generation.id)
    return tuple_(*here) < tuple_(*there) if newest_first else tuple_(*here) > tuple_(*there)
