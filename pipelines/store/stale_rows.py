"""Deleting rows that are of no use any more, in passing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Delete, delete, select


def delete_stale(key: Column[Any], where: ColumnElement[bool]) -> Delete:
    """Delete the rows that are so, but for those that another transaction deletes at this moment.

    Two transactions that delete the same rows, each in an order of its own, would wait for each other for ever.
    `key`: the primary key of their table.
    """
    return delete(key.table).where(key.in_(select(key).where(where).with_for_update(skip_locked=True)))
