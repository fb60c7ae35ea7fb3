"""The change counter of a store, on both databases: still until anybody commits."""

import asyncio

import pytest

from pipelines.errors import StorageFailed
from pipelines.store.accounts import Accounts
from pipelines.store.database import Database


async def test_it_is_still_while_nobody_writes_and_moves_with_every_commit(database, database_url):
    other = Database(database_url)
    try:
        seen = [await database.change_counter()]
        await Accounts(other).users()  # reading is no news
        assert await database.change_counter() == seen[0]
        for number, writer in enumerate((other, database, other)):
            await Accounts(writer).add_user(f"user{number}", "hash")
            seen.append(await database.change_counter())
            assert await database.change_counter() == seen[-1]
        assert len(set(seen)) == 4
    finally:
        await other.close()


async def test_a_connection_that_was_cut_is_replaced_and_counts_as_news(postgres, migrated_postgres):
    database = Database(postgres.url(migrated_postgres))
    try:
        before = await database.change_counter()
        await asyncio.to_thread(postgres.empty, migrated_postgres)  # cuts every connection
        with pytest.raises(StorageFailed):
            await database.change_counter()
        assert await database.change_counter() != before
    finally:
        await database.close()
