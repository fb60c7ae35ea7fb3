"""Writers cancelled at sixty moments of their transactions: no lock stays behind, no event is lost or doubled."""

import asyncio

from pipelines.store.generations import GenerationStore
from tests.support.stored_generations import BRIEF, EVENT, RECIPE

MOMENTS = [index * 0.0004 for index in range(60)]


async def test_cancelled_writers_never_leave_the_write_lock_behind(database):
    store = GenerationStore(database)
    generation_id = await store.create("anna", BRIEF, RECIPE, {}, {})
    lease = await store.claim(generation_id, "one")
    for moment in MOMENTS:
        writers = [asyncio.create_task(store.append(lease, EVENT)) for _ in range(3)]
        await asyncio.sleep(moment)  # picks the moment; nothing is asserted about time
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        await store.append(lease, EVENT)  # a lock left behind fails here, after SQLite's busy timeout
    events = await store.events(generation_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len(events) >= len(MOMENTS)
