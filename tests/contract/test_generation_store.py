"""What every database behind the generation store must do. Runs on SQLite and PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from pipelines.errors import Busy, LeaseLost, NotFound
from pipelines.records import NewEvent
from pipelines.steps import NewTake
from pipelines.store import transaction
from pipelines.store.database import Database
from pipelines.store.generations import GenerationStore
from pipelines.store.tables import generations
from tests.support.stored_generations import BRIEF, EVENT, RECIPE, output, step


async def test_a_generation_reads_back_as_it_was_created(store, generation_id):
    generation = await store.get("anna", generation_id)
    assert (generation.brief, generation.recipe, generation.status) == (BRIEF, RECIPE, "pending")
    assert generation.created_at.tzinfo is UTC


async def test_someone_elses_generation_answers_exactly_like_an_unknown_one(store, generation_id):
    with pytest.raises(NotFound) as foreign:
        await store.get("bert", generation_id)
    with pytest.raises(NotFound) as unknown:
        await store.get("bert", "0" * 36)
    assert str(foreign.value).replace(generation_id, "ID") == str(unknown.value).replace("0" * 36, "ID")


async def test_only_one_worker_holds_a_generation(store, generation_id):
    await store.claim(generation_id, "one")
    with pytest.raises(Busy, match="run by 'one'"):
        await store.claim(generation_id, "two")


async def test_a_lease_that_ran_out_is_claimed_by_another_and_the_first_publishes_nothing(
    store, database, generation_id
):
    old = await store.claim(generation_id, "one")
    over = update(generations).values(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    await database.write(lambda connection: connection.execute(over))
    new = await store.claim(generation_id, "two")
    assert new.fence > old.fence
    for publish in (
        store.renew(old),
        store.append(old, EVENT),
        store.commit_step(old, step(), output(), 1.0, EVENT),
        store.end(old, "completed", EVENT),
    ):
        with pytest.raises(LeaseLost):
            await publish
    assert await store.checkpoints(generation_id) == ()
    assert await store.events(generation_id) == ()


async def test_a_finished_step_leaves_checkpoint_take_message_and_event_together(store, generation_id):
    lease = await store.claim(generation_id, "one")
    await store.commit_step(lease, step(a=1), output(), 1.5, EVENT)
    checkpoint = await store.checkpoint(generation_id, step(a=1))
    assert checkpoint.value == {"value": 1}
    assert [take.artifact for take in await store.takes(generation_id)] == ["a" * 64]
    assert [message.score for message in await store.messages(generation_id)] == [90.0]
    assert [event.message for event in await store.events(generation_id)] == ["hello"]


async def test_a_failing_commit_leaves_nothing_of_the_step(store, generation_id):
    lease = await store.claim(generation_id, "one")
    unstorable = NewTake(kind="keyframe", scene_number=1, artifact="a" * 64, provenance={"x": object()})
    broken = output().model_copy(update={"takes": (unstorable,)})
    with pytest.raises(Exception, match="serializ"):
        await store.commit_step(lease, step(), broken, 1.0, EVENT)
    assert await store.checkpoints(generation_id) == await store.takes(generation_id) == ()
    assert await store.events(generation_id) == ()


async def test_other_inputs_are_another_checkpoint_of_the_same_step(store, generation_id):
    lease = await store.claim(generation_id, "one")
    await store.commit_step(lease, step(a=1), output(value=1), 1.0, EVENT)
    assert await store.checkpoint(generation_id, step(a=2)) is None
    await store.commit_step(lease, step(a=2), output("b" * 64, value=2), 1.0, EVENT)
    assert (await store.checkpoint(generation_id, step(a=1))).value == {"value": 1}
    assert (await store.checkpoint(generation_id, step(a=2))).value == {"value": 2}


async def test_the_newest_take_of_a_scene_is_current_and_older_ones_stay(store, generation_id):
    lease = await store.claim(generation_id, "one")
    await store.commit_step(lease, step(a=1), output("a" * 64), 1.0, EVENT)
    await store.commit_step(lease, step(a=2), output("b" * 64), 1.0, EVENT)
    assert [(take.artifact[0], take.current) for take in await store.takes(generation_id)] == [
        ("a", False),
        ("b", True),
    ]


async def test_event_numbers_have_no_gap_and_no_double_under_concurrent_writers(store, generation_id):
    lease = await store.claim(generation_id, "one")
    await asyncio.gather(*(store.append(lease, EVENT, EVENT) for _ in range(20)))
    assert [event.seq for event in await store.events(generation_id)] == list(range(1, 41))
    assert [event.seq for event in await store.events(generation_id, after=38)] == [39, 40]


async def test_an_ended_generation_gives_its_lease_back_and_says_why_it_failed(store, generation_id):
    lease = await store.claim(generation_id, "one")
    await store.end(lease, "failed", NewEvent(kind="generation_failed", message="no", severity="error"), "no")
    generation = await store.get("anna", generation_id)
    assert (generation.status, generation.error_message) == ("failed", "no")
    again = await store.claim(generation_id, "two")
    assert again.fence == lease.fence + 1
    assert (await store.get("anna", generation_id)).error_message is None


async def test_a_cancel_request_is_seen_at_the_next_renewal_and_stays_until_somebody_resumes(store, generation_id):
    lease = await store.claim(generation_id, "one")
    assert await store.renew(lease) is False
    await store.cancel("anna", generation_id)
    assert await store.renew(lease) is True
    await store.end(lease, "cancelled", EVENT)
    assert (await store.get("anna", generation_id)).cancellation_requested is True
    resumed = await store.claim(generation_id, "two")
    assert await store.renew(resumed) is False


async def test_what_waits_is_cancelled_at_once_and_says_that_it_was_asked_for(store, generation_id):
    cancelled = await store.cancel("anna", generation_id)
    assert (cancelled.status, cancelled.cancellation_requested) == ("cancelled", True)


async def test_the_current_step_is_a_step_or_none_and_never_a_stage(store, generation_id):
    lease = await store.claim(generation_id, "one")
    await store.append(lease, EVENT.model_copy(update={"step": "story/director-1"}))
    assert (await store.get("anna", generation_id)).current_step == "story/director-1"
    await store.start_stage(lease, "scenes", EVENT)
    begun = await store.get("anna", generation_id)
    assert (begun.current_stage, begun.current_step) == ("scenes", None)
    await store.end(lease, "completed", EVENT)
    assert (await store.get("anna", generation_id)).current_step is None


async def test_leases_on_postgres_go_by_the_servers_clock_and_not_by_the_workers(postgres_database_url, monkeypatch):
    database = Database(postgres_database_url)
    store = GenerationStore(database)
    generation_id = await store.create("anna", BRIEF, RECIPE, {}, {})
    await store.claim(generation_id, "one")
    monkeypatch.setattr(transaction, "now", lambda: datetime.now(UTC) + timedelta(hours=1))
    assert await store.claim_next("a worker whose clock is fast") is None
    with pytest.raises(Busy):
        await store.claim(generation_id, "a worker whose clock is fast")
    await database.close()


async def test_times_are_the_same_moment_whatever_the_servers_zone(store, generation_id):
    before = datetime.now(UTC)
    created = (await store.get("anna", generation_id)).created_at
    assert created.tzinfo is UTC
    assert abs(before - created) < timedelta(minutes=5)


async def test_migrating_twice_changes_nothing(database, store, generation_id):
    await database.migrate()
    assert (await store.get("anna", generation_id)).id == generation_id
