from typing import Any

import pytest

from pipelines.errors import DatabaseAway, LeaseLost
from pipelines.records import Lease, NewEvent
from pipelines.runtime import worker as patient_store
from pipelines.runtime.worker import Backoff, RetryingStore
from pipelines.steps import Step, StepOutput

LEASE = Lease(generation_id="g", owner="o", fence=1)
EVENT = NewEvent(kind="notice", message="")


async def nothing(desk):
    return StepOutput(value={})


STEP = Step(name="s", inputs={}, work=nothing)


class Store:
    """Does what it is asked, or is away, or is away after it did it."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.commits = 0

    async def commit_step(self, *arguments):
        answer = self.answers.pop(0)
        if answer != "away":
            self.commits += 1
        if answer != "here":
            raise DatabaseAway("it restarts")

    async def checkpoint(self, generation_id, step):
        return object() if self.commits else None

    async def renew(self, lease):
        raise LeaseLost("taken over")


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(patient_store, "FIRST_PAUSE", 0.001)


async def commit(*answers):
    store: Any = Store(*answers)
    await RetryingStore(store, Backoff()).commit_step(LEASE, STEP, StepOutput(value={}), 0.0, EVENT)
    return store


async def test_a_step_is_committed_once_the_database_is_back(caplog):
    store = await commit("away", "away", "here")
    assert store.commits == 1
    assert [record.message[:26] for record in caplog.records] == [
        "it restarts; waiting for i",
        "the database answers again",
    ]


async def test_a_step_whose_commit_was_lost_on_the_way_back_is_not_committed_twice():
    assert (await commit("done, then away")).commits == 1


async def test_a_process_that_stops_waits_no_longer():
    store: Any = Store("away")
    patience = Backoff()
    patience.end()
    with pytest.raises(DatabaseAway):
        await RetryingStore(store, patience).commit_step(LEASE, STEP, StepOutput(value={}), 0.0, EVENT)


async def test_a_lost_lease_is_passed_on():
    store: Any = Store()
    with pytest.raises(LeaseLost):
        await RetryingStore(store, Backoff()).renew(LEASE)


class Taking:
    """Takes whatever it is given."""

    async def append(self, lease, *events):
        return None

    async def end(self, lease, status, event, error_message=None):
        return None

    async def commit_step(self, *arguments):
        return None


async def test_the_life_of_an_ad_and_its_warnings_are_lines_of_the_log(caplog):
    caplog.set_level("INFO", logger="pipelines")
    taking: Any = Taking()
    store = RetryingStore(taking, Backoff())
    await store.append(LEASE, NewEvent(kind="generation_started", message="recipe 'express'"), EVENT)
    await store.commit_step(
        LEASE, STEP, StepOutput(value={}), 0.0, NewEvent(kind="notice", severity="warning", message="cut", step="video")
    )
    await store.end(LEASE, "failed", NewEvent(kind="generation_failed", severity="error", message="no room"), "no room")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "generation g started: recipe 'express'"),
        ("WARNING", "generation g notice at video: cut"),
        ("ERROR", "generation g failed: no room"),
    ]


async def test_what_the_store_refused_is_not_told(caplog):
    store: Any = Store("here")
    with pytest.raises(LeaseLost):
        await RetryingStore(store, Backoff()).renew(LEASE)
    assert not caplog.records
