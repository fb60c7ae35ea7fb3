"""Worker processes beside each other: each ad is made once, whoever stops, freezes or loses the database meanwhile."""

import asyncio

import pytest

from pipelines.store.transaction import locked
from tests.chaos.gateway_kills import ORDERS, patiently, visitor
from tests.chaos.world import LOOK_SECONDS, ChaosWorld
from tests.support.waiting import until_async


async def test_workers_on_one_database_share_its_ads_and_make_each_once(unhurried, undisturbed):
    chaos = unhurried
    ads = [await chaos.order() for _ in range(4)]
    workers = [chaos.worker(generations=2) for _ in range(2)]
    for ad in ads:
        await chaos.until_ended(ad)
        assert await chaos.check(ad) == undisturbed
        kinds = [event.kind for event in await chaos.events(ad)]
        assert kinds.count("generation_started") == 1, "two workers had it"
    assert [worker.stop() for worker in workers] == [0, 0]
    await chaos.check_files()


async def test_a_worker_told_to_stop_gives_its_ad_back_at_once_and_the_next_one_ends_it(chaos, undisturbed):
    ad = await chaos.order()
    chaos.pace.touch()
    worker = chaos.worker()
    await chaos.until_event(ad, "step_started", "video/")
    assert worker.stop() == 0
    assert (await chaos.get(ad)).status == "pending"
    assert (await chaos.events(ad))[-1].kind == "generation_interrupted"
    chaos.pace.unlink()
    chaos.worker()
    await chaos.until_ended(ad)
    assert await chaos.check(ad) == undisturbed


@pytest.fixture
async def leased(tmp_path, chaos_home, database_url, manifest):
    """With leases that a test can wait for, and that a worker keeps also on a machine that has much else to do."""
    made = ChaosWorld(tmp_path, chaos_home, database_url, manifest, 5.0)
    yield made
    await made.close()


async def freeze(chaos, worker, ad):
    """Not in the middle of a write: nobody else could write then, on SQLite at all and on PostgreSQL to this ad."""

    async def between_writes():
        worker.freeze()
        asked = asyncio.create_task(chaos.database.write(lambda connection: locked(connection, ad)))
        done, _ = await asyncio.wait({asked}, timeout=1)
        if not done:
            worker.thaw()
        await asked
        return done

    await until_async(between_writes, "a worker to be between two writes", pause=LOOK_SECONDS)


async def test_a_worker_frozen_past_its_lease_publishes_nothing_when_it_goes_on(leased, undisturbed):
    chaos = leased
    ad = await chaos.order()
    chaos.pace.touch()
    zombie = chaos.worker()
    await chaos.until_event(ad, "step_started", "video/")
    await freeze(chaos, zombie, ad)
    before = len(await chaos.events(ad))
    chaos.worker()
    await chaos.until_event(ad, "generation_started", after=before)
    zombie.thaw()
    chaos.pace.unlink()
    await chaos.until_ended(ad)
    assert await chaos.check(ad) == undisturbed
    starts = [event.kind for event in await chaos.events(ad)].count("generation_started")
    assert starts == 2, "the zombie began again"
    assert not zombie.ended
    await chaos.check_files()


async def test_a_cancel_that_only_the_row_knows_of_stops_a_worker_within_its_step(chaos):
    ad, other = await chaos.order(), await chaos.order()
    chaos.pace.touch()
    chaos.worker()
    started = await chaos.until_event(ad, "step_started", "video/")
    await chaos.store.cancel("anna", ad)
    assert (await chaos.until_ended(ad)).status == "cancelled"
    log = await chaos.events(ad)
    assert log[-1].kind == "generation_cancelled"
    assert started.step not in [event.step for event in log if event.kind == "step_completed"]
    chaos.pace.unlink()
    assert (await chaos.until_ended(other)).status == "completed", "the device was not freed"


async def test_a_deleted_ad_leaves_no_row_and_no_file_even_while_a_worker_makes_it(chaos):
    async with visitor(chaos) as http:
        chaos.gateway(http.base_url.port)
        order = {
            "recipe": "express",
            "brief": {"prompt": "an ad for a steel bottle", "duration": 9, "num_scenes": 2, "seed": 0},
        }
        ad = (await patiently(http, "POST", ORDERS, json=order)).json()["id"]
        chaos.pace.touch()
        worker = chaos.worker()
        await chaos.until_event(ad, "step_started", "video/")
        assert chaos.files()
        assert (await patiently(http, "DELETE", f"{ORDERS}/{ad}")).status_code == 200
        assert (await patiently(http, "GET", f"{ORDERS}/{ad}")).status_code == 404
        assert await chaos.events(ad) == ()
        assert chaos.files() == set()
        assert worker.stop() == 0


@pytest.fixture
async def on_postgres(tmp_path, chaos_home, postgres_database_url, manifest):
    made = ChaosWorld(tmp_path, chaos_home, postgres_database_url, manifest)
    yield made
    await made.close()


async def test_a_database_that_dies_and_comes_back_loses_nothing(on_postgres, postgres, undisturbed):
    chaos = on_postgres
    postgres.kill()
    worker = chaos.worker()  # it waits for the database from its start on
    postgres.start()
    ad = await chaos.order()
    chaos.pace.touch()
    for step in ("storyboard/", "video/"):
        await chaos.until_event(ad, "step_started", step)
        postgres.kill()
        postgres.start()
    chaos.pace.unlink()
    await chaos.until_ended(ad)
    assert await chaos.check(ad) == undisturbed
    assert worker.stop() == 0


async def test_a_worker_told_to_stop_while_the_database_is_away_ends_at_once(on_postgres, postgres, undisturbed):
    chaos = on_postgres
    ad = await chaos.order()
    chaos.pace.touch()
    worker = chaos.worker()
    await chaos.until_event(ad, "step_started", "video/")
    postgres.kill()
    try:
        assert worker.stop() == 0
    finally:
        postgres.start()
    chaos.pace.unlink()
    chaos.worker()
    await chaos.until_ended(ad)
    assert await chaos.check(ad) == undisturbed
