"""Generations in the database: create, queue, claim, renew, checkpoint, end, and read what they have made.

Everything a finished step leaves behind is one transaction under the generation's row lock, in which the lease's fence
is checked and the event `seq` allotted: at-least-once work, exactly-once visible result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
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
from pipelines.recipe import Recipe, StageName
from pipelines.records import (
    Checkpoint,
    Event,
    Generation,
    GenerationOutputs,
    GenerationStatus,
    Lease,
    NewEvent,
    QualityMetric,
    Take,
)
from pipelines.steps import Json, Message, Step, StepOutput
from pipelines.store.database import Database, transaction
from pipelines.store.fault_points import fault_point
from pipelines.store.ownership import Quota, admit_generation
from pipelines.store.queue import NEXT, POSITION, abandoned
from pipelines.store.request_keys import let_go
from pipelines.store.tables import (
    artifacts,
    checkpoints,
    currents,
    events,
    generations,
    messages,
    quality_metrics,
    stage_outputs,
    takes,
)
from pipelines.store.transaction import (
    append_events,
    check_parent,
    fenced,
    generation_of,
    grow,
    insert_artifacts,
    insert_generation,
    insert_messages,
    insert_metrics,
    insert_takes,
    lease_time,
    locked,
    make_step_current,
    now,
    point,
    stored_size,
)

LOST_WORKERS = 5
"""Workers that a generation may lose in a row without finishing a step; then it is what kills them."""
LEASE_SECONDS = 30.0
"""A lease lives this long without renewal, unless a store has another time; the engine renews every third of it."""
CLOCK_SECONDS = 5.0
"""So much may a clock be set back without anyone taking a lease for one of another time."""
_CANCELLED = NewEvent(kind="generation_cancelled", message="cancelled on request; no worker had it")


_ONE = select(generations).where(
    generations.c.id == bindparam("generation_id"), generations.c.user_id == bindparam("user_id")
)
_WAITING = select(func.count()).select_from(generations).where(generations.c.status == "pending")


class GenerationStore:
    """Rows of all generations. Every read takes the owner's id: someone else's id is NotFound."""

    def __init__(self, database: Database, quota: Quota | None = None, lease_seconds: float = LEASE_SECONDS) -> None:
        """`quota` of each owner, checked where generations are created; None: no bound, as on the command line."""
        self._database = database
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
        admit_generation(connection, user_id, self._quota, stored_size(brief.prompt, given))
        return insert_generation(connection, user_id, brief, recipe, given, manifest, parent_generation_id)

    async def get(self, user_id: str, generation_id: str) -> Generation:
        """One generation. Raises NotFound, also for someone else's."""
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
        """Cancel at once what waits, and what no living worker has; ask the worker of what runs.

        A finished generation stays as it is. Raises NotFound.
        """
        row = locked(connection, generation_id, user_id)
        values: Json = {}
        if row.status == "processing" and not self._holds(row, lease_time(connection)):
            _end(connection, row, "cancelled", _CANCELLED, None)
        elif row.status in ("pending", "awaiting_approval"):
            append_events(
                connection, row, (NewEvent(kind="generation_cancelled", message="cancelled while it waited"),)
            )
            values = {"status": "cancelled", "completed_at": now(), "cancellation_requested": True}
        elif row.status == "processing":
            values = {"cancellation_requested": True}
        if values:
            connection.execute(update(generations).where(generations.c.id == generation_id).values(**values))
        return generation_of(locked(connection, generation_id))

    @transaction
    def delete(self, connection: Connection, user_id: str, generation_id: str) -> None:
        """Forget a generation and everything recorded for it. Raises NotFound, Busy while it runs."""
        if locked(connection, generation_id, user_id).status == "processing":
            raise Busy(f"generation {generation_id!r} is running: cancel it first")
        let_go(connection, generation_id=generation_id)
        connection.execute(delete(generations).where(generations.c.id == generation_id))

    # --- the queue ---

    async def count_waiting(self) -> int:
        """How many generations of all owners wait for a worker."""
        return int((await self._database.fetch(_WAITING))[0][0])

    async def queue_position(self, generation_id: str) -> int | None:
        """Place in the queue, 1 for the next to be claimed; None when the generation does not wait."""
        row = await self._database.fetch_first(POSITION, generation_id=generation_id)
        return None if row is None else int(row.position)

    @transaction
    def claim_next(self, connection: Connection, owner: str) -> tuple[Lease, Generation] | None:
        """Take the lease of a generation whose worker died, or whose turn it is (`queue`); None when there is none.

        One that lost LOST_WORKERS in a row ends as failed instead: it would take down every worker there is. One whose
        owner asked to stop it when its worker died ends as cancelled.
        """
        time = lease_time(connection)
        self._shorten_leases(connection, time)
        while (row := connection.execute(abandoned(generations.c.lease_expires_at < time)).first()) is not None:
            lost = row.lost_workers + 1
            if row.cancellation_requested:
                _end(connection, row, "cancelled", _CANCELLED, None)
                continue
            if lost < LOST_WORKERS:
                return self._take(connection, row, owner, lost), generation_of(row)
            place = row.current_step or row.current_stage
            where = f"at {place!r}" if place else "before its first step"
            message = f"{lost} workers died one after the other {where}: see their logs before it is resumed"
            _end(
                connection,
                row,
                "failed",
                NewEvent(kind="generation_failed", message=message, severity="error"),
                message,
            )
        waiting = connection.execute(NEXT).first()
        return None if waiting is None else (self._take(connection, waiting, owner, 0), generation_of(waiting))

    async def cancels_requested(self, generation_ids: Sequence[str]) -> tuple[str, ...]:
        """The ids among `generation_ids` whose owner asked to stop them."""
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
        if not take_over and self._holds(row, lease_time(connection)):
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
                claimed_at=now(),
                status="processing",
                error_message=None,
                completed_at=None,
                cancellation_requested=row.cancellation_requested and row.status == "processing",
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

    def _holds(self, row: Row[Any], time: datetime) -> bool:
        """Whether somebody holds the row's lease at `time`. One that ends later than any lease given now could has a
        holder who did not renew it since the clock was set back: nobody, or one whom its fence will stop.
        """
        expires: datetime | None = row.lease_expires_at
        return expires is not None and time < expires <= time + timedelta(seconds=self.lease_seconds + CLOCK_SECONDS)

    def _shorten_leases(self, connection: Connection, time: datetime) -> None:
        """Let no lease end later than one given now, whatever the clock said then: it may have been set back since.

        A living worker renews it long before; a dead one's generation waits no longer than for any other.
        """
        latest = time + timedelta(seconds=self.lease_seconds)
        far = select(generations.c.id).where(
            generations.c.status == "processing", generations.c.lease_expires_at > latest
        )
        late = list(connection.execute(far.with_for_update(skip_locked=True)).scalars())
        if late:
            connection.execute(update(generations).where(generations.c.id.in_(late)).values(lease_expires_at=latest))

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

        A cancel request that came while the worker stopped to wait takes effect here, or it would be lost.
        """
        row = fenced(connection, lease)
        if row.cancellation_requested and status in ("pending", "awaiting_approval"):
            status, event = "cancelled", NewEvent(kind="generation_cancelled", message="cancelled on request")
        _end(connection, row, status, event, error_message)

    # --- steps ---

    async def checkpoint(self, generation_id: str, step: Step) -> Checkpoint | None:
        """What this step left behind when it ran with the same inputs; None when it never did."""
        query = select(checkpoints).where(
            checkpoints.c.generation_id == generation_id,
            checkpoints.c.step == step.name,
            checkpoints.c.key == step.key,
        )
        row = await self._database.fetch_first(query)
        return None if row is None else _checkpoint(row)

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
        grow(connection, lease.generation_id, stored_size(output.value), seconds)
        fault_point("in_transaction")
        for take, take_id in zip(output.takes, insert_takes(connection, lease, step, output), strict=True):
            point(connection, lease.generation_id, take.kind, take.scene_number, take_id)
        insert_messages(connection, lease.generation_id, step.name, output.messages)
        insert_metrics(connection, lease.generation_id, step, output.scores)
        append_events(connection, row, (event,))
        if row.lost_workers:
            connection.execute(update(generations).where(generations.c.id == row.id).values(lost_workers=0))

    @transaction
    def replace_step(
        self, connection: Connection, lease: Lease, step: Step, output: StepOutput, seconds: float, event: NewEvent
    ) -> None:
        """As `commit_step`, in place of what the step left before: its files are lost. Its takes keep their ids.

        Raises LeaseLost.
        """
        row = fenced(connection, lease)
        mine = (lease.generation_id, step.name, step.key)
        columns = (checkpoints.c.generation_id, checkpoints.c.step, checkpoints.c.key)
        of_step = [column == value for column, value in zip(columns, mine, strict=True)]
        again = update(checkpoints).where(*of_step).values(value=output.value, seconds=seconds, created_at=now())
        connection.execute(again)
        grow(connection, lease.generation_id, 0, seconds)
        insert_artifacts(connection, lease.generation_id, output.artifacts)
        for position, take in enumerate(output.takes):
            columns = (takes.c.generation_id, takes.c.step, takes.c.key)
            same = [column == value for column, value in zip(columns, mine, strict=True)]
            changed = {"artifact": take.artifact, "provenance": take.provenance}
            connection.execute(update(takes).where(*same, takes.c.position == position).values(**changed))
        make_step_current(connection, lease.generation_id, step)
        insert_messages(connection, lease.generation_id, step.name, output.messages)
        append_events(connection, row, (event,))

    @transaction
    def reuse_step(self, connection: Connection, lease: Lease, step: Step) -> None:
        """Make the takes and metrics current again that `step` left when it was finished. Raises LeaseLost."""
        fenced(connection, lease)
        make_step_current(connection, lease.generation_id, step)

    async def artifact_hashes(self, generation_id: str) -> frozenset[str]:
        """The files that a generation names."""
        query = select(artifacts.c.sha256).where(artifacts.c.generation_id == generation_id)
        return frozenset(row.sha256 for row in await self._database.fetch(query))

    # --- stages and the log ---

    @transaction
    def start_stage(self, connection: Connection, lease: Lease, stage: StageName, event: NewEvent) -> None:
        """Make `stage` the current one. Raises LeaseLost."""
        row = fenced(connection, lease)
        append_events(connection, row, (event,))
        connection.execute(
            update(generations)
            .where(generations.c.id == lease.generation_id)
            .values(current_stage=stage, current_step=None)
        )

    @transaction
    def finish_stage(
        self, connection: Connection, lease: Lease, stage: StageName, output: Any, *events: NewEvent
    ) -> None:
        """Keep what `stage` made (JSON), in place of what it made before. Raises LeaseLost."""
        row = fenced(connection, lease)
        where = (stage_outputs.c.generation_id == lease.generation_id, stage_outputs.c.stage == stage)
        before = connection.execute(select(stage_outputs.c.value).where(*where)).first()
        connection.execute(delete(stage_outputs).where(*where))
        grow(connection, lease.generation_id, stored_size(output) - (stored_size(before.value) if before else 0))
        connection.execute(
            insert(stage_outputs).values(generation_id=lease.generation_id, stage=stage, value=output, created_at=now())
        )
        if events:
            append_events(connection, row, events)

    @transaction
    def append(self, connection: Connection, lease: Lease, *new_events: NewEvent) -> None:
        """Append events to the log; the step of the last one is the current one. Raises LeaseLost."""
        row = fenced(connection, lease)
        append_events(connection, row, new_events)
        values: Json = {"current_step": new_events[-1].step} if new_events[-1].step else {}
        if values:
            connection.execute(update(generations).where(generations.c.id == lease.generation_id).values(**values))

    # --- what a generation has made; the caller has checked whose it is ---

    async def of_anybody(self, generation_id: str) -> Generation | None:
        """One generation, whoever owns it; None: there is none."""
        row = await self._database.fetch_first(select(generations).where(generations.c.id == generation_id))
        return None if row is None else generation_of(row)

    async def generation_outputs(self, generation_id: str) -> GenerationOutputs:
        """Everything that a generation has made so far, for little more than the price of one read."""
        head = select(generations.c.last_seq).where(generations.c.id == generation_id)
        found = await self._database.fetch_each(
            head, _outputs(generation_id), _messages(generation_id), _takes(generation_id)
        )
        heads, outputs, spoken, taken = found
        return GenerationOutputs(
            last_seq=heads[0].last_seq if heads else 0,
            outputs={row.stage: row.value for row in outputs},
            messages=_messages_of(spoken),
            takes=_takes_of(taken),
        )

    async def outputs(self, generation_id: str) -> dict[StageName, Any]:
        """What each finished stage made, as JSON of its field of `RunState`."""
        return {row.stage: row.value for row in await self._database.fetch(_outputs(generation_id))}

    async def messages(self, generation_id: str) -> tuple[Message, ...]:
        return _messages_of(await self._database.fetch(_messages(generation_id)))

    async def takes(self, generation_id: str) -> tuple[Take, ...]:
        """All takes, oldest first."""
        return _takes_of(await self._database.fetch(_takes(generation_id)))

    async def quality_metrics(self, generation_id: str) -> tuple[QualityMetric, ...]:
        """What was measured of the generation as it is now, scene by scene, then of the finished video."""
        rows = await self._database.fetch(current_metrics(generation_id))
        return tuple(QualityMetric(**row._mapping) for row in rows)

    async def events(self, generation_id: str, after: int = 0) -> tuple[Event, ...]:
        query = (
            select(events).where(events.c.generation_id == generation_id, events.c.seq > after).order_by(events.c.seq)
        )
        return tuple(_event(row) for row in await self._database.fetch(query))

    async def milestones(self, generation_id: str) -> tuple[Event, ...]:
        """The log with only the newest of its progress events: enough to say how far it is, however long it ran."""
        mine, moves = events.c.generation_id == generation_id, events.c.kind == "step_progress"
        newest = select(func.max(events.c.seq)).where(mine, moves).scalar_subquery()
        query = select(events).where(mine, or_(~moves, events.c.seq == newest)).order_by(events.c.seq)
        return tuple(_event(row) for row in await self._database.fetch(query))

    async def checkpoints(self, generation_id: str) -> tuple[Checkpoint, ...]:
        query = (
            select(checkpoints)
            .where(checkpoints.c.generation_id == generation_id)
            .order_by(checkpoints.c.created_at, checkpoints.c.step)
        )
        return tuple(_checkpoint(row) for row in await self._database.fetch(query))


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
        "cancellation_requested": status == "cancelled",
    }
    if status == "completed":
        values |= {"progress": 100, "current_step": None}
    connection.execute(update(generations).where(generations.c.id == row.id).values(**values))


def _past(generation: Generation, newest_first: bool) -> ColumnElement[bool]:
    """Rows that come after `generation` in the order of `page`."""
    here = (generations.c.created_at, generations.c.id)
    there = (generation.created_at, generation.id)
    return tuple_(*here) < tuple_(*there) if newest_first else tuple_(*here) > tuple_(*there)


def _checkpoint(row: Row[Any]) -> Checkpoint:
    return Checkpoint(**{name: getattr(row, name) for name in Checkpoint.model_fields})


def _event(row: Row[Any]) -> Event:
    return Event(**{name: getattr(row, name) for name in Event.model_fields})


def _outputs(generation_id: str) -> Select[Any]:
    return select(stage_outputs).where(stage_outputs.c.generation_id == generation_id)


def _messages(generation_id: str) -> Select[Any]:
    return select(messages).where(messages.c.generation_id == generation_id).order_by(messages.c.id)


def _messages_of(rows: Iterable[Row[Any]]) -> tuple[Message, ...]:
    return tuple(Message(**{name: getattr(row, name) for name in Message.model_fields}) for row in rows)


def _takes(generation_id: str) -> Select[Any]:
    return (
        select(takes, currents.c.take_id.label("pointer"))
        .select_from(takes.outerjoin(currents, currents.c.take_id == takes.c.id))
        .where(takes.c.generation_id == generation_id)
        .order_by(takes.c.created_at, takes.c.step, takes.c.position)
    )


def _takes_of(rows: Iterable[Row[Any]]) -> tuple[Take, ...]:
    names = [name for name in Take.model_fields if name != "current"]
    return tuple(Take(**{name: getattr(row, name) for name in names}, current=row.pointer is not None) for row in rows)


def current_metrics(generation_id: str) -> Select[Any]:
    """Current metrics scene by scene, then those of the finished video; in each the order of their names."""
    table = quality_metrics
    return (
        select(*(table.c[name] for name in QualityMetric.model_fields))
        .where(table.c.generation_id == generation_id, table.c.current.is_(True))
        .order_by(table.c.scene_number.nulls_last(), table.c.metric_name, table.c.id)
    )
