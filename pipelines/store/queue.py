"""Whose generation a worker takes next: owners by turns, so that nobody's many keep another's only one waiting.

A generation's turn is its place among its owner's waiting ones, behind those of the owner that run already. Among equal
turns the owner goes first who was served longest ago, then the generation that came first. The same order answers a
generation's place in the queue. Beside it: how many may wait.
"""

from __future__ import annotations

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, Select, Subquery, and_, bindparam, distinct, func, select

from models.interfaces import Plain
from pipelines.errors import TooManyWaiting
from pipelines.store.tables import generations
from pipelines.store.transaction import lock_name, lock_owner


class QueueLimit(Plain):
    """How many generations may wait for a worker."""

    waiting: int = Field(ge=1)
    """Of all owners. An owner with less than their share of it (`waiting` by the number of owners) may always wait."""
    retry_after_seconds: int = Field(ge=1)
    """When a refused caller may ask again."""


WAITING = generations.c.status == "pending"


def _turns() -> Subquery:
    """Every waiting generation's turn, and when its owner was served last."""
    mine = select(
        generations.c.id,
        generations.c.user_id,
        generations.c.created_at,
        func.row_number()
        .over(partition_by=generations.c.user_id, order_by=(generations.c.created_at, generations.c.id))
        .label("place"),
    ).where(WAITING)
    waiting = mine.cte("waiting").prefix_with("MATERIALIZED")
    asking = select(generations.c.user_id).where(WAITING).distinct().subquery("asking")
    other, served = generations.alias("other"), generations.alias("served")
    running = select(func.count()).where(other.c.user_id == asking.c.user_id, other.c.status == "processing")
    last = select(func.max(served.c.claimed_at)).where(served.c.user_id == asking.c.user_id)
    owners = (
        select(asking.c.user_id, running.scalar_subquery().label("running"), last.scalar_subquery().label("last"))
        .cte("owners")
        .prefix_with("MATERIALIZED")  # or SQLite counts for every waiting generation: 0.3 s with 2,000 of them
    )
    return (
        select(waiting.c.id, waiting.c.created_at, (owners.c.running + waiting.c.place).label("turn"), owners.c.last)
        .join(owners, owners.c.user_id == waiting.c.user_id)
        .subquery("turns")
    )


_TURNS = _turns()
_ORDER = (_TURNS.c.turn, _TURNS.c.last.nulls_first(), _TURNS.c.created_at, _TURNS.c.id)
NEXT: Select[tuple[object, ...]] = (
    select(generations)
    .join(_TURNS, _TURNS.c.id == generations.c.id)
    .where(WAITING)  # also here: on PostgreSQL another worker may have taken it since the turns were counted
    .order_by(*_ORDER)
    .limit(1)
    .with_for_update(of=generations, skip_locked=True)
)
"""The generation whose turn it is, locked."""
_PLACES = select(_TURNS.c.id, func.row_number().over(order_by=_ORDER).label("position")).subquery("places")
POSITION: Select[tuple[int]] = select(_PLACES.c.position).where(_PLACES.c.id == bindparam("generation_id"))


def abandoned(over: ColumnElement[bool]) -> Select[tuple[object, ...]]:
    """The oldest generation whose worker died, locked. It goes before all that wait: it was served already.

    `over`: whether a row's lease has ended.
    """
    return (
        select(generations)
        .where(and_(generations.c.status == "processing", over))
        .order_by(generations.c.created_at, generations.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def admit_waiting(connection: Connection, user_id: str, limit: QueueLimit | None) -> None:
    """Raises TooManyWaiting when one more generation of the user is too much for the queue. None: no limit.

    Counted under a lock that the caller's insert is under too: of many requests at once no more than the limit pass.
    """
    if limit is None:
        return
    lock_owner(connection, user_id)
    lock_name(connection, "queue")
    counts = select(
        func.count(),
        func.count(distinct(generations.c.user_id)),
        func.count().filter(generations.c.user_id == user_id),
    ).where(WAITING)
    total, owners, mine = connection.execute(counts).one()
    share = limit.waiting // (owners + (0 if mine else 1)) or 1
    if total >= limit.waiting and mine >= share:
        raise TooManyWaiting(total, limit.retry_after_seconds)
