"""The job store against a model of it in plain dictionaries: any order of submissions, claims, crashes and decisions.

A worker that crashed or was replaced keeps its lease here and goes on writing with it: that must change nothing.
"""

import asyncio
import shutil
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, update

from pipelines.brief import Brief
from pipelines.decisions.situation import Decision
from pipelines.errors import BadInput, Busy, Gone, LeaseLost, NotFound
from pipelines.recipe import Recipe
from pipelines.records import Lease, NewEvent, NewGeneration, RequestKey
from pipelines.steps import Message, NewTake, Step, StepOutput, StoredArtifact
from pipelines.store import generations as sql
from pipelines.store.database import Database, sqlite_url
from pipelines.store.decisions import DirectionStore
from pipelines.store.generations import GenerationStore
from pipelines.store.intake import Intake
from pipelines.store.sweep import Disposal
from pipelines.store.tables import artifacts, checkpoints, events, generations, messages, takes
from quality.score import Score

EXAMPLES, STEPS = 15, 40
LOST_WORKERS = 2
"""Small, so that it is reached."""
RECIPE = Recipe(name="test", description="", stages=("storyboard",), approvals=("storyboard",))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOTE = NewEvent(kind="notice", message="hello")
OWNERS, WORKERS = st.sampled_from(("anna", "ben")), st.sampled_from(("one", "two"))
WHICH = st.integers(0, 4)
"""One of the generations or leases there were, modulo their number."""
STRANGER = st.sampled_from((False, False, False, True))
"""Whether somebody else than the owner asks."""
ENDS = st.sampled_from(("completed", "failed", "cancelled", "pending", "awaiting_approval"))


@dataclass
class Job:
    """What a generation must be."""

    owner: str
    status: str = "pending"
    fence: int = 0
    holder: str | None = None
    alive: bool = False
    cancel: bool = False
    lost: int = 0
    """Workers in a row, since a step was finished."""
    served: int = 0
    """The number of the claim that took it last, of all; 0: none did."""
    seq: int = 0
    steps: set[tuple[str, str]] = field(default_factory=set)
    current: dict[str | None, Any] = field(default_factory=dict)
    """Of each step name, the input of the run whose metrics stand; of None, the step and input of the current take."""

    def holds(self, lease):
        return (self.holder, self.fence) == (lease.owner, lease.fence)

    def take(self, worker, lost, served):
        self.fence += 1
        self.lost, self.served = lost, served
        self.cancel = self.cancel and self.status == "processing"
        self.holder, self.alive, self.status = worker, True, "processing"

    def finish(self, status):
        if self.cancel and status in ("pending", "awaiting_approval"):
            status = "cancelled"
        self.status, self.holder, self.alive, self.cancel = status, None, False, status == "cancelled"
        self.seq += 1


class StoreMachine(RuleBasedStateMachine):
    def __init__(self, url):
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = Database(url)
        self.store, self.intake = GenerationStore(self.database), Intake(self.database)
        self.directions, self.disposal = DirectionStore(self.database), Disposal(self.database)
        self.jobs: dict[str, Job] = {}  # in the order in which they came
        self.gone: list[str] = []
        self.named: dict[tuple[str, str], str] = {}
        self.leases: list[Lease] = []
        self.served = 0
        self.forgotten: set[tuple[str, str]] = set()
        """Names of orders whose generations were deleted, with their owners."""

    def teardown(self):
        self.agree()
        self.runner.run(self.database.close())
        self.runner.close()

    def now(self, call):
        return self.runner.run(call)

    def refused(self, error, call):
        with pytest.raises(error):
            self.now(call)

    def some(self, which):
        """The id of one of the generations that there are or were, and its job if it is there."""
        ids = [*self.jobs, *self.gone, "unknown"]
        return ids[which % len(ids)], self.jobs.get(ids[which % len(ids)])

    def asked(self, which, stranger):
        """The same, and the name of who asks; the job is None too when it is a stranger's."""
        generation_id, job = self.some(which)
        owner = "anna" if job is None else job.owner
        return ("carla", generation_id, None) if stranger else (owner, generation_id, job)

    # --- the owners ---

    @initialize()
    def begin(self):
        for owner in ("anna", "ben"):
            self.order(owner, None)

    @rule(owner=OWNERS, name=st.sampled_from((None, "a")))
    def submit(self, owner, name):
        self.order(owner, name)

    def order(self, owner, name):
        keys = () if name is None else (RequestKey(name, "f"),)
        order = NewGeneration(Brief(prompt="an ad for a bottle", seed=1), RECIPE, {}, {})
        if (owner, name) in self.forgotten:
            self.refused(Gone, self.intake.generation(owner, order, keys))
            return
        accepted = self.now(self.intake.generation(owner, order, keys))
        known = self.named.get((owner, name or ""))
        assert accepted.repeated == (known is not None)
        assert accepted.id == known if accepted.repeated else accepted.id not in self.jobs
        if not accepted.repeated:
            self.jobs[accepted.id] = Job(owner)
        if name is not None:
            self.named[owner, name] = accepted.id

    @rule(which=WHICH, stranger=STRANGER)
    def cancel(self, which, stranger):
        owner, generation_id, job = self.asked(which, stranger)
        if job is None:
            self.refused(NotFound, self.store.cancel(owner, generation_id))
            return
        if job.status in ("pending", "awaiting_approval"):
            job.status, job.seq, job.cancel = "cancelled", job.seq + 1, True
        elif job.status == "processing" and not job.alive:
            job.finish("cancelled")
        elif job.status == "processing":
            job.cancel = True
        assert self.now(self.store.cancel(owner, generation_id)).status == job.status

    @rule(which=WHICH, stranger=STRANGER)
    def approve(self, which, stranger):
        owner, generation_id, job = self.asked(which, stranger)

        def decide(situation):
            if situation.generation.status != "awaiting_approval":
                raise BadInput("it does not wait")
            return Decision(situation.direction, "storyboard", (NewEvent(kind="stage_approved", message="yes"),))

        call = self.directions.decide(owner, generation_id, decide, "approval", False)
        if job is None:
            self.refused(NotFound, call)
        elif job.status != "awaiting_approval":
            self.refused(BadInput, call)
        else:
            job.status, job.seq = "pending", job.seq + 1
            assert self.now(call).status == "pending"

    @rule(which=WHICH, stranger=STRANGER, running_too=st.booleans())
    def delete(self, which, stranger, running_too):
        owner, generation_id, job = self.asked(which, stranger)
        call = (self.disposal.forget if running_too else self.store.delete)(owner, generation_id)
        if job is None:
            self.refused(NotFound, call)
        elif job.status == "processing" and not running_too:
            self.refused(Busy, call)
        else:
            self.now(call)
            del self.jobs[generation_id]
            self.gone.append(generation_id)
            self.forgotten |= {name for name, made in self.named.items() if made == generation_id}
            self.named = {name: made for name, made in self.named.items() if made != generation_id}

    # --- the workers ---

    @rule(worker=WORKERS)
    def claim_next(self, worker):
        claimed = self.now(self.store.claim_next(worker))
        generation_id = self.abandoned() or self.waiting()
        if generation_id is None:
            assert claimed is None
            return
        job, (lease, generation) = self.jobs[generation_id], claimed
        self.served += 1
        job.take(worker, job.lost + 1 if job.status == "processing" else 0, self.served)
        assert lease.generation_id == generation.id == generation_id
        assert lease.fence == job.fence
        self.leases.append(lease)

    def abandoned(self):
        """The oldest generation whose worker died, past those that end instead."""
        for generation_id, job in self.jobs.items():
            if job.status != "processing" or job.alive:
                continue
            if job.cancel:
                job.finish("cancelled")
            elif job.lost + 1 == LOST_WORKERS:
                job.finish("failed")
            else:
                return generation_id
        return None

    def waiting(self):
        """Whose turn it is: behind those of the owner that run or wait longer, then who was served longest ago."""
        turns, before = [], Counter(job.owner for job in self.jobs.values() if job.status == "processing")
        for place, (generation_id, job) in enumerate(self.jobs.items()):
            if job.status == "pending":
                served = max(other.served for other in self.jobs.values() if other.owner == job.owner)
                turns.append((before[job.owner], served, place, generation_id))
                before[job.owner] += 1
        return min(turns)[-1] if turns else None

    @rule(worker=WORKERS, which=WHICH, take_over=st.booleans())
    def claim(self, worker, which, take_over):
        generation_id, job = self.some(which)
        call = self.store.claim(generation_id, worker, take_over)
        if job is None:
            self.refused(NotFound, call)
        elif job.alive and not take_over:
            self.refused(Busy, call)
        else:
            self.leases.append(self.now(call))
            self.served += 1
            job.take(worker, 0, self.served)

    @rule(which=WHICH)
    def time_passes_without_a_renewal(self, which):
        """A crash, a pause, a cut network: the store cannot tell them apart."""
        generation_id, job = self.some(which)
        if job is not None and job.alive:
            job.alive = False
            self.now(self._expire(generation_id))

    async def _expire(self, generation_id):
        over = update(generations).where(generations.c.id == generation_id).values(lease_expires_at=LONG_AGO)
        await self.database.write(lambda connection: connection.execute(over))

    def write(self, which, call):
        """The job to which a lease may write `call(lease)`; None when it may not, and the store refused it."""
        if not self.leases:
            return None
        lease = self.leases[-1 - which % len(self.leases)]
        job = self.jobs.get(lease.generation_id)
        if job is None:
            self.refused(LeaseLost, call(lease))  # deleted: the worker that ran it has nothing left to write to
        elif not job.holds(lease):
            self.refused(LeaseLost, call(lease))
        else:
            self.answer = self.now(call(lease))
            return job
        return None

    @rule(which=WHICH)
    def renew(self, which):
        job = self.write(which, self.store.renew)
        if job is not None:
            assert self.answer == job.cancel
            job.alive = True

    @rule(which=WHICH, count=st.integers(1, 3))
    def append(self, which, count):
        job = self.write(which, lambda lease: self.store.append(lease, *[NOTE] * count))
        if job is not None:
            job.seq += count

    @rule(which=WHICH, scene=st.integers(1, 2), given=st.integers(1, 2))
    def finish_step(self, which, scene, given):
        """As the engine does: what was finished with the same inputs is reused."""
        step = Step(name=f"quality/{scene}", inputs={"given": given}, work=_nothing)

        async def finish(lease):
            if await self.store.checkpoint(lease.generation_id, step) is None:
                await self.store.commit_step(lease, step, _output(scene, given), 1.0, NOTE)
            else:
                await self.store.reuse_step(lease, step)

        job = self.write(which, finish)
        if job is not None:
            job.seq += (step.name, step.key) not in job.steps
            job.lost = job.lost if (step.name, step.key) in job.steps else 0
            job.steps.add((step.name, step.key))
            job.current |= {step.name: given, None: (scene, given)}

    @rule(which=WHICH, status=ENDS)
    def end(self, which, status):
        job = self.write(which, lambda lease: self.store.end(lease, status, NOTE))
        if job is not None:
            job.finish(status)

    # --- what must hold ---

    @invariant()
    def rows_are_as_they_should_be(self):
        rows = {row.id: row for row in self.now(self.database.fetch(select(generations)))}
        assert rows.keys() == self.jobs.keys()
        for generation_id, job in self.jobs.items():
            row = rows[generation_id]
            found = (row.user_id, row.status, row.fence, row.lease_owner, row.cancellation_requested, row.last_seq)
            assert found == (job.owner, job.status, job.fence, job.holder, job.cancel, job.seq)
            assert row.lost_workers == job.lost

    def agree(self):
        """All the rest, at the end."""
        assert self.now(self.store.count_waiting()) == sum(job.status == "pending" for job in self.jobs.values())
        for generation_id, job in self.jobs.items():
            log = self.now(self.store.events(generation_id))
            assert [event.seq for event in log] == list(range(1, job.seq + 1))
            found = self.now(self.store.checkpoints(generation_id))
            assert sorted((each.step, each.key) for each in found) == sorted(job.steps)
            stand = {row.scene_number: row.metric_value for row in self.now(self.store.quality_metrics(generation_id))}
            assert stand == {int(name[-1]): given for name, given in job.current.items() if name is not None}
            shown = [take.artifact for take in self.now(self.store.takes(generation_id)) if take.current]
            assert shown == ([_sha(*job.current[None])] if None in job.current else [])
        for table in (artifacts, checkpoints, events, messages, takes):
            rows = self.now(self.database.fetch(select(table.c.generation_id).distinct()))
            assert {row.generation_id for row in rows} <= self.jobs.keys(), f"{table.name} holds rows of nobody"


async def _nothing(desk):
    return StepOutput(value={})


def _sha(scene, given):
    return f"{scene}{given}" * 32


def _output(scene, given):
    stored = StoredArtifact(sha256=_sha(scene, given), media_type="image/png", size=1)
    score = Score(metric_id="a.b", impl_id="b@1", scene_number=scene, raw=given, fidelity="classical")
    return StepOutput(
        value={},
        artifacts=(stored,),
        takes=(NewTake(kind="reference", scene_number=None, artifact=stored.sha256, provenance={}),),
        messages=(Message(role="director", iteration=1, content="hm"),),
        scores=(score,),
    )


def check(url_of_example):
    class Example(StoreMachine):
        def __init__(self):
            super().__init__(url_of_example())

    bounds = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        phases=(Phase.generate,),  # a failure is shown as it was found: making it smaller takes ten minutes
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Example, settings=bounds)


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    monkeypatch.setattr(sql, "LOST_WORKERS", LOST_WORKERS)


def test_the_store_on_sqlite_does_what_the_model_says(tmp_path, migrated):
    numbers = iter(range(10**6))

    def url():
        return sqlite_url(shutil.copy(migrated, tmp_path / f"{next(numbers)}.sqlite"))

    check(url)


def test_the_store_on_postgres_does_what_the_model_says(postgres, migrated_postgres, postgres_database_url):
    def url():
        postgres.empty(migrated_postgres)
        return postgres_database_url

    check(url)
