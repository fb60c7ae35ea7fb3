"""Quality metrics are rows, written with their step's checkpoint; those of the newest or reused run stand."""

import pytest

from pipelines.errors import LeaseLost
from pipelines.steps import StepOutput
from quality.score import Score
from tests.support.stored_generations import EVENT, step


def scored(*values, scene=1):
    scores = tuple(
        Score(
            metric_id=f"vbench.metric_{number}",
            impl_id="metric@1",
            scene_number=scene,
            raw=value,
            fidelity=None if value is None else "classical",
            reason="no face was found" if value is None else None,
            backbone="clip",
        )
        for number, value in enumerate(values)
    )
    return StepOutput(value={"scores": [score.model_dump(mode="json") for score in scores]}, scores=scores)


async def measured(store, generation_id):
    return [(row.scene_number, row.metric_value) for row in await store.quality_metrics(generation_id)]


async def test_what_a_step_measured_reads_back_and_a_missing_value_says_why(store, generation_id):
    lease = await store.claim(generation_id, "one")
    await store.commit_step(lease, step("quality/scene-001"), scored(0.5, None), 1.0, EVENT)
    value, missing = await store.quality_metrics(generation_id)
    assert (value.metric_name, value.metric_value, value.reason, value.model_name) == ("metric_0", 0.5, None, "clip")
    assert (missing.metric_name, missing.metric_value, missing.reason) == ("metric_1", None, "no face was found")
    assert (value.generation_id, value.scene_number) == (generation_id, 1)
    assert value.created_at == (await store.checkpoints(generation_id))[0].created_at or value.created_at


async def test_the_newest_run_of_a_step_stands_and_a_reused_one_stands_again(store, generation_id):
    lease, first, second = await store.claim(generation_id, "one"), step("quality/1", a=1), step("quality/1", a=2)
    await store.commit_step(lease, first, scored(0.1), 1.0, EVENT)
    await store.commit_step(lease, step("quality/final"), scored(0.9, scene=None), 1.0, EVENT)
    await store.commit_step(lease, second, scored(0.2), 1.0, EVENT)
    assert await measured(store, generation_id) == [(1, 0.2), (None, 0.9)]
    await store.reuse_step(lease, first)
    assert await measured(store, generation_id) == [(1, 0.1), (None, 0.9)]


async def test_a_worker_that_lost_its_lease_leaves_no_metric(store, generation_id):
    lease = await store.claim(generation_id, "one")
    await store.claim(generation_id, "two", take_over=True)
    with pytest.raises(LeaseLost):
        await store.commit_step(lease, step("quality/1"), scored(0.1), 1.0, EVENT)
    assert await measured(store, generation_id) == []


async def test_metrics_go_with_their_generation(store, database, generation_id):
    lease = await store.claim(generation_id, "one")
    await store.commit_step(lease, step("quality/1"), scored(0.1), 1.0, EVENT)
    await store.end(lease, "completed", EVENT)
    await store.delete("anna", generation_id)
    assert await measured(store, generation_id) == []
