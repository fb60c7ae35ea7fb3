"""`admint worker` as a user runs it: real small models, an orderly stop in the middle, another one that goes on."""

import pytest

from configs.settings import load_profile, load_recipe
from pipelines.brief import Brief
from serving.profile_models import model_set
from serving.server.store import open_server_store
from tests.support.command import PROMPT, admint, start_admint
from tests.support.waiting import until_async


@pytest.fixture
def home(tmp_path, monkeypatch):
    """This process and the commands see the same server."""
    monkeypatch.setenv("ADMINT_DATABASE", f"sqlite:///{tmp_path / 'store.sqlite'}")
    monkeypatch.setenv("ADMINT_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path


@pytest.fixture
async def opened(home):
    opened = await open_server_store()
    yield opened
    await opened.close()


async def reached(opened, generation_id, kind):
    async def told():
        return kind in [event.kind for event in await opened.store.events(generation_id)]

    await until_async(told, f"an event {kind!r} of {generation_id}", pause=0.1)


async def test_a_worker_stops_in_order_and_another_one_finishes_its_ad(opened):
    brief = Brief(prompt=PROMPT, duration=9, num_scenes=2, seed=3)
    manifest = model_set(load_profile("sketch")).manifest
    generation_id = await opened.store.create("anna", brief, load_recipe("express"), {}, manifest)
    with start_admint("worker") as first:
        await reached(opened, generation_id, "step_progress")
        first.terminate()
        said = first.rest()
    assert first.exit_code == 0, said
    assert "stops: its generations wait for another one" in said
    assert (await opened.store.get("anna", generation_id)).status == "pending"
    finished = {one.step for one in await opened.store.checkpoints(generation_id)}
    with start_admint("worker", "--generations", "1", in_background=True) as second:
        await reached(opened, generation_id, "generation_completed")
        second.interrupt()
        assert second.end() == 130, second.said
    log = await opened.store.events(generation_id)
    reused = {name for event in log if event.kind == "step_reused" for name in event.data["steps"]}
    assert finished <= reused  # and what the gate measured, by the quality stage
    assert [event.seq for event in log] == list(range(1, len(log) + 1))


def test_a_worker_refuses_a_profile_whose_chat_model_only_vllm_runs(home):
    refused = admint("worker", "--profile", "cluster")
    assert refused.returncode == 2
    assert "only vLLM runs" in refused.stderr
