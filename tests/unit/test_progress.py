"""Progress: shares of the stages, filled scene by scene."""

import asyncio
from types import SimpleNamespace
from typing import Any

from pipelines.recipe import STAGE_ORDER, Recipe
from pipelines.runtime.progress import StageProgress, stage_shares
from pipelines.runtime.run import Run
from pipelines.stages.registry import STAGES
from pipelines.steps import Step, StepOutput

RECIPE = Recipe(name="test", description="", stages=("storyboard", "video", "stitch"))


async def nothing(desk):
    return StepOutput(value={})


def step(name, scene_number):
    return Step(name=name, inputs={}, work=nothing, scene_number=scene_number)


def test_every_stage_that_a_recipe_may_name_is_in_the_registry():
    assert tuple(STAGES) == STAGE_ORDER


def test_the_shares_of_the_stages_that_run_fill_the_bar_without_a_gap():
    shares = stage_shares(RECIPE, frozenset({"scenes"}))
    assert list(shares) == ["storyboard", "video", "stitch"]
    assert [share[0] for share in shares.values()] == [0, *[share[1] for share in list(shares.values())[:-1]]]
    assert shares["stitch"][1] == 100


def test_a_stage_fills_its_share_by_its_scenes_and_never_goes_back():
    progress = StageProgress(STAGES["video"], (20, 60), scenes=2)
    seen = [progress.percent]
    for name, fraction in (("video/scene-001", 0.5), ("video/scene-001/start", 1.0), ("video/scene-001", 0.0)):
        progress.move(step(name, 1), fraction)
        seen.append(progress.percent)
    assert seen == [20, 30, 30, 30]
    for number in (1, 2):
        progress.move(step(f"video/scene-{number:03d}", number), 1.0)
    assert progress.percent == 60


def test_a_stage_of_agents_fills_its_share_when_it_ends():
    progress = StageProgress(STAGES["story"], (0, 10), scenes=4)
    progress.move(step("story/director-1", None), 1.0)
    assert progress.percent == 0
    progress.end()
    assert progress.percent == 10


class SlowLog:
    """A store in which no write is done before a later one could overtake it."""

    def __init__(self):
        self.told = []

    async def checkpoint(self, generation_id, step):
        return None

    async def append(self, lease, *events):
        for event in events:
            for _ in range(20 - len(self.told)):  # the earlier, the slower
                await asyncio.sleep(0)
            self.told.append(event.data["progress"])

    async def commit_step(self, lease, step, output, seconds, event):
        await self.append(lease, event)


async def test_events_of_scenes_that_move_at_once_are_written_as_their_percent_grows():
    log: Any = SlowLog()
    nobody: Any = SimpleNamespace(generation_id="g", chat_model=None, image_model=None, video_model=None)
    run = Run(log, nobody, nobody, nobody, asyncio.Event(), progress=25)
    run.stage = StageProgress(STAGES["video"], (20, 60), scenes=4)
    await asyncio.gather(*(run.finish(step(f"video/scene-{number:03d}", number)) for number in range(1, 5)))
    assert log.told == [25, 25, 25, 25, 30, 40, 50, 60]
