"""Many reads at once share visits to the database: each gets its own rows, or its own error."""

import asyncio

import pytest
from sqlalchemy import literal, select, text

from pipelines.errors import StorageFailed
from pipelines.store.connections import Reader
from pipelines.store.database import sqlite_url

MANY = 200


@pytest.fixture
async def reader(tmp_path):
    reader = Reader(sqlite_url(tmp_path / "store.sqlite"))
    yield reader
    await reader.close()


async def number(reader, value):
    ((row,),) = await reader.rows((select(literal(value)), {}))
    return row[0]


async def test_each_of_many_reads_gets_its_own_rows(reader):
    found = await asyncio.gather(*(number(reader, value) for value in range(MANY)))
    assert found == list(range(MANY))


async def test_several_queries_of_one_read_come_in_their_order(reader):
    (first,), (second,) = await reader.rows((select(literal("a")), {}), (select(literal("b")), {}))
    assert (first[0], second[0]) == ("a", "b")


async def test_a_read_that_fails_leaves_the_others_alone(reader):
    wrong = reader.rows((text("select nothing from nowhere"), {}))
    *found, failure = await asyncio.gather(
        *(number(reader, value) for value in range(MANY)), wrong, return_exceptions=True
    )
    assert found == list(range(MANY))
    assert isinstance(failure, StorageFailed)


async def test_a_caller_that_goes_away_holds_nobody_up(reader):
    calls = [asyncio.create_task(number(reader, value)) for value in range(MANY)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert found[1::2] == list(range(1, MANY, 2))
    assert all(isinstance(gone, asyncio.CancelledError) for gone in found[::2])
