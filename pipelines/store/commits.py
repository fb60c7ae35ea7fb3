"""Whether a commit whose answer was lost was made: PostgreSQL numbers its transactions and can be asked.

So a caller that writes again after a lost connection never writes twice. It costs each transaction one more question
to the server, before its commit. SQLite answers from its own process: there is no answer to lose.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from pipelines.store.storage_errors import away

ANSWER_SECONDS = 30.0
"""How long a server may take to come back and say what became of a commit."""
PAUSE_SECONDS = 0.2
_NUMBER = text("select cast(pg_current_xact_id_if_assigned() as text)")
_STATUS = text("select pg_xact_status(cast(cast(:number as text) as xid8))")


def transaction_number(connection: Connection) -> str | None:
    """None: it has written nothing, or there is no way to ask later."""
    if connection.dialect.name != "postgresql":
        return None
    number: str | None = connection.scalar(_NUMBER)
    return number


def was_committed(engine: Engine, number: str) -> bool:
    """Waits for a server that restarts. False too when it does not come back in time."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        status = _status(engine, number)
        if status != "in progress":
            return status == "committed"
        time.sleep(PAUSE_SECONDS)
    return False


def _status(engine: Engine, number: str) -> str | None:
    """Of a server that is away it is not known yet."""
    try:
        with engine.connect() as connection:
            status: str | None = connection.scalar(_STATUS, {"number": number})
    except DBAPIError as error:
        if not away(error):
            raise
        return "in progress"
    return status
