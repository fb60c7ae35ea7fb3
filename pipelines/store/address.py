"""Where a database is: a SQLite file or a PostgreSQL server, with the drivers that the store uses."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipelines.errors import BadInput

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",  # as hosts of databases write it
}


def database_address(text: str) -> URL:
    """Another driver than the store's own is replaced. Raises BadInput, which never repeats a password."""
    try:
        address = make_url(text)
        return address.set(drivername=_DRIVERS[address.drivername.partition("+")[0]])
    except (ArgumentError, ValueError, KeyError):
        scheme = text.partition("://")[0][:20] if "://" in text else ""
        raise BadInput(
            f"the database address that begins with {scheme!r} cannot be read: write sqlite:///FILE or"
            " postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
