"""Whether a commit whose answer was lost was made: PostgreSQL numbers its transactions and can be asked.

So a caller that writes again after a lost connection never writes twice. It costs each transaction one more question
to the server, before its commit. SQLite answers from its own process: there is no answer to lose.
"""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import DatabaseAway
from pipelines.store.reading import Reader

ANSWER_SECONDS = 30.0
"""How long a server may take to come back and say what became of a commit."""
PAUSE_SECONDS = 0.2
_NUMBER = text("select cast(pg_current_xact_id_if_assigned() as text)")
_STATUS = text("select pg_xact_status(cast(cast(:number as text) as xid8))")


async def transaction_number(connection: AsyncConnection) -> str | None:
    """None: it has written nothing, or there is no way to ask later."""
    if connection.dialect.name != "postgresql":
        return None
    number: str | None = await connection.scalar(_NUMBER)
    return number


async def was_committed(reader: Reader, number: str) -> bool:
    """Waits for a server that restarts. False too when it does not come back in time."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        try:
            status = (await reader.rows(_STATUS.bindparams(number=number)))[0][0][0]
        except DatabaseAway:
            status = "in progress"
        if status != "in progress":
            return bool(status == "committed")
        await asyncio.sleep(PAUSE_SECONDS)
    return False
