"""Several processes on one database, as several pools: one worker a generation, one sequence of numbers a log."""

import asyncio

import pytest
from sqlalchemy import select

from pipelines.decisions.situation import Decision
from pipelines.errors import LeaseLost
from pipelines.records import NewEvent, NewGeneration, RequestKey
from pipelines.steps import StoredArtifact
from pipelines.store import connections as reading
from pipelines.store.account_tables import Credential
from pipelines.store.accounts import Accounts
from pipelines.store.database import Database
from pipelines.store.decisions import DirectionStore
from pipelines.store.generations import GenerationStore
from pipelines.store.intake import GroupStore, Intake
from pipelines.store.logins import AttemptLimits, LoginAttempts, Logins
from pipelines.store.sweep import Disposal
from pipelines.store.tables import generation_groups, generations
from tests.support.stored_generations import BRIEF, EVENT, RECIPE
from tests.support.waiting import within

PROCESSES = 3
SAID = NewEvent(kind="notice", message="said by the owner")


@pytest.fixture
async def pools(database_url):
    pools = [Database(database_url) for _ in range(PROCESSES)]
    yield pools
    for pool in pools:
        await pool.close()


async def test_workers_that_claim_at_once_never_get_the_same_generation(pools):
    stores = [GenerationStore(pool) for pool in pools]
    ids = [await stores[0].create("anna", BRIEF, RECIPE, {}, {}) for _ in range(12)]

    async def work(store, name):
        claimed = []
        while (found := await store.claim_next(name)) is not None:
            claimed.append(found[0].generation_id)
        return claimed

    claimed = await asyncio.gather(*(work(store, str(number)) for number, store in enumerate(stores)))
    assert sorted(each for one in claimed for each in one) == sorted(ids)


async def test_a_log_written_by_worker_and_owners_at_once_has_every_number_once_in_order_of_commit(pools):
    worker, reader = GenerationStore(pools[0]), GenerationStore(pools[2])
    generation_id = await worker.create("anna", BRIEF, RECIPE, {}, {})
    lease = await worker.claim(generation_id, "one")
    owners, done = DirectionStore(pools[1]), asyncio.Event()
    seen: list[int] = []

    def decide(situation):
        return Decision(situation.direction, events=(SAID,))

    async def follow():
        while not done.is_set():
            seen.extend(event.seq for event in await reader.events(generation_id, seen[-1] if seen else 0))

    following = asyncio.create_task(follow())
    writing = asyncio.gather(
        *(worker.append(lease, EVENT, EVENT) for _ in range(15)),
        *(owners.decide("anna", generation_id, decide, "chat", False) for _ in range(15)),
    )
    await within(writing, "thirty writers of one log")
    assert [event.seq for event in await reader.events(generation_id)] == list(range(1, 46))
    done.set()
    await within(following, "the follower of the log")
    assert seen == list(range(1, len(seen) + 1)), "a follower saw a number before a smaller one"


async def test_of_workers_that_take_one_generation_over_the_last_one_alone_writes(pools):
    stores = [GenerationStore(pool) for pool in pools]
    generation_id = await stores[0].create("anna", BRIEF, RECIPE, {}, {})
    claims = [store.claim(generation_id, str(n), take_over=True) for n, store in enumerate(stores)]
    leases = await asyncio.gather(*claims)
    assert sorted(lease.fence for lease in leases) == [1, 2, 3]
    written = await asyncio.gather(
        *(store.append(lease, EVENT) for store, lease in zip(stores, leases, strict=True)), return_exceptions=True
    )
    assert [type(each) for each in written].count(LeaseLost) == 2
    assert len(await stores[0].events(generation_id)) == 1


async def test_a_group_whose_members_leave_at_once_goes_with_the_last_of_them(pools):
    for _ in range(5):
        made = await Intake(pools[0]).group("anna", "settings", 3 * (NewGeneration(BRIEF, RECIPE, {}, {}),))
        group = await GroupStore(pools[0]).get("anna", made.id)
        leave = [Disposal(pool).forget("anna", each) for pool, each in zip(pools, group.generation_ids, strict=True)]
        await asyncio.gather(*leave)
        assert await pools[0].fetch_each(generation_groups.select(), generations.select()) == [[], []]


async def test_requests_with_the_same_names_in_another_order_wait_for_nobody_for_ever(pools):
    names = [RequestKey(name, "f") for name in ("idempotency:b", "client:a")]
    for turn in range(5):
        keys = [RequestKey(f"{key.name}{turn}", key.fingerprint) for key in names]
        orders = [(Intake(pool), tuple(keys[::way])) for pool in pools for way in (1, -1)]
        made = await asyncio.gather(
            *(intake.generation("anna", NewGeneration(BRIEF, RECIPE, {}, {}), some) for intake, some in orders)
        )
        assert len({one.id for one in made}) == 1
        assert [one.repeated for one in made].count(False) == 1


async def test_logins_attempts_and_tickets_of_one_user_at_once_do_not_block_each_other(pools):
    anna = await Accounts(pools[0]).add_user("anna", "hash")
    limits = AttemptLimits(window_seconds=0.001, username_at_address=1000)

    async def come_and_go(pool, number):
        logins, attempts = Logins(pool), LoginAttempts(pool, limits)
        for turn in range(6):
            name = f"{number}-{turn}"
            await attempts.failed("anna", "here")
            login = await logins.open(anna.id, f"token-{name}", -1.0)  # over before it began: the next one sweeps it
            await logins.issue_ticket(anna.id, Credential(kind="login", id=login), ("read",), f"ticket-{name}", -1.0)
            await asyncio.gather(logins.rotate(f"token-{name}", f"next-{name}"), attempts.forget("anna"))

    await asyncio.gather(*(come_and_go(pool, number) for number, pool in enumerate(pools)))


async def test_the_same_bytes_may_come_from_many_steps_at_once(pools):
    picture = StoredArtifact(sha256="a" * 64, media_type="image/png", size=1)
    order = NewGeneration(BRIEF, RECIPE, {}, {}, (picture, picture))
    made = await asyncio.gather(*(Intake(pool).generation("anna", order) for pool in pools))
    left = await asyncio.gather(*(Disposal(pool).forget("anna", one.id) for pool, one in zip(pools, made, strict=True)))
    assert frozenset().union(*left) <= {picture.sha256}
    assert await Disposal(pools[0]).named([picture.sha256]) == frozenset()


async def test_no_read_is_forgotten_that_is_asked_for_at_the_moment_when_the_last_visit_ends(database_url, monkeypatch):
    monkeypatch.setattr(reading, "readers", lambda _: 1)
    reader = reading.Reader(database_url)
    for _ in range(3):
        assert await within(reader.rows((select(1), {})), "the answer to a read") == [[(1,)]]
    await reader.close()
