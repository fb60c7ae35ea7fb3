"""Candidates over a real store and engine: several stills of a scene, of which the best stays, and all are takes."""

import asyncio

import numpy as np
import pytest

from models.errors import InferenceFailed
from models.interfaces import Unwatched
from pipelines.coherence import derived_seed
from pipelines.direction import Modifications
from pipelines.errors import StepFailed
from pipelines.media import decode_image
from pipelines.recipe import Candidates, QualityGate
from pipelines.scoring import score_file
from tests.support.colour_scorer import RedSeen
from tests.support.directed_world import RECIPE
from tests.support.drawing_models import SpeakingModels
from tests.support.waiting import within

FOUR = Candidates(n=4, rank={"text_alignment": 1})
RED = {"clip": RedSeen()}


class SeenModels(SpeakingModels):
    """Scores through `backbones`. The stills of a scene are drawn once `together` of them are asked for."""

    def __init__(self, backbones, together=1):
        super().__init__()
        self.backbones = backbones
        self.together = together
        self.fail_image_calls = set()
        self._all = asyncio.Event()
        self._asked = 0

    async def image(self, request, watcher=None):
        self._asked += 1
        if self._asked in self.fail_image_calls:
            raise InferenceFailed("out of memory")
        if self._asked >= self.together:
            self._all.set()
        await within(self._all.wait(), "all stills of a scene to be asked for")
        return await super().image(request, watcher)

    async def score(self, request, watcher=None):
        return score_file(request, self.backbones, watcher or Unwatched())


def recipe(candidates=FOUR, **changes):
    fixed = {"approvals": (), "scene_concurrency": 1, "stages": ("story", "scenes", "storyboard", "video", "stitch")}
    return RECIPE.model_copy(update={**fixed, "candidates": candidates, **changes})


async def made(world, candidates=FOUR, **changes):
    generation_id = await world.create(recipe(candidates, **changes))
    return generation_id, await world.run(generation_id)


async def stills(world, generation_id, scene_number=1):
    takes = await world.store.takes(generation_id)
    return [take for take in takes if (take.kind, take.scene_number) == ("keyframe", scene_number)]


async def choices(world, generation_id, scene_number=1):
    log = await world.log(generation_id)
    told = [event for event in log if event.data.get("notice") == "candidates"]
    return [event for event in told if event.scene_number == scene_number]


def seed_of(take):
    return take.provenance["request"]["noise"]["seed"]


def redness(world, take):
    mean = decode_image(world.artifacts.read(take.artifact)).mean(axis=(0, 1))
    return float(mean[0] / np.linalg.norm(mean))


async def test_the_best_of_four_stills_that_are_drawn_at_once_is_kept_and_filmed_and_all_are_takes(world):
    world.models = SeenModels(RED, together=4)
    generation_id, generation = await made(world)
    assert generation.status == "completed"
    takes = await stills(world, generation_id)
    assert len({take.artifact for take in takes}) == 4
    current = next(take for take in takes if take.current)
    assert redness(world, current) == max(redness(world, take) for take in takes)
    assert world.models.videos[0].first_frame.sha256 == current.artifact
    seeds = {take.provenance.get("candidate", 0): seed_of(take) for take in takes}
    assert seeds == {0: seeds[0], **{k: derived_seed(seeds[0], "candidate", k) for k in (1, 2, 3)}}
    (told,) = await choices(world, generation_id)
    assert told.data["artifact"] == current.artifact
    assert [one["scores"]["keyframe_alignment"] for one in told.data["candidates"]] == [
        pytest.approx(redness(world, take), abs=1e-3)
        for take in sorted(takes, key=lambda take: take.provenance.get("candidate", 0))
    ]


async def test_the_first_of_several_is_bit_for_bit_the_one_that_is_drawn_alone(world):
    world.models = SeenModels(RED)
    alone, _ = await made(world, Candidates())
    several, _ = await made(world)
    (only,) = await stills(world, alone)
    first = next(take for take in await stills(world, several) if "candidate" not in take.provenance)
    assert (first.artifact, first.provenance["request"]) == (only.artifact, only.provenance["request"])
    assert first.provenance["noise_sha256"] == only.provenance["noise_sha256"]
    assert await choices(world, alone) == []


async def test_the_owner_can_select_another_candidate(world):
    world.models = SeenModels(RED)
    generation_id, _ = await made(world, approvals=("storyboard",))
    other = next(take for take in await stills(world, generation_id) if not take.current)
    await world.anna.select("anna", generation_id, other.id)
    await world.run(generation_id)
    await world.anna.approve("anna", generation_id, "storyboard")
    await world.run(generation_id)
    takes = await stills(world, generation_id)
    assert [take.id for take in takes if take.current] == [other.id]
    assert other.artifact in {request.first_frame.sha256 for request in world.models.videos}
    assert len(takes) == 4


async def test_a_run_that_stopped_in_between_draws_only_what_is_missing_and_chooses_once(world):
    world.models = SeenModels(RED)
    world.models.fail_image_calls = {3}
    generation_id = await world.create(recipe())
    with pytest.raises(StepFailed):
        await world.run(generation_id)
    drawn = len(await stills(world, generation_id))
    assert drawn < 4
    world.models = SeenModels(RED)
    await world.run(generation_id)
    assert len(world.models.images) == 2 * 4 - drawn
    assert len(await stills(world, generation_id)) == 4
    assert len(await choices(world, generation_id)) == 1


async def test_what_cannot_be_measured_ranks_nothing_and_is_said(world):
    world.models = SeenModels(RED)
    generation_id, _ = await made(world, Candidates(n=2, rank={"keyframe_alignment": 1, "product_colour": -1}))
    (told,) = await choices(world, generation_id)
    assert told.severity == "warning"
    assert "needs a picture of the product" in told.data["abstained"]["product_colour"]
    assert "product_colour" in told.message
    world.models = SeenModels({})
    generation_id, generation = await made(world)
    assert generation.status == "completed"
    (told,) = await choices(world, generation_id)
    assert told.message.startswith("scene 1: 4 stills could not be ranked")
    assert next(take for take in await stills(world, generation_id) if take.current).provenance.get("candidate") is None


class RedPreferred(RedSeen):
    """A chat model that prefers the redder one of two pictures, or always the first one that it is shown."""

    def __init__(self, blind=False):
        self.blind = blind
        self.asked = 0

    def first_of(self, frames, question, answers):
        self.asked += 1
        first, second = (frame.mean(axis=(0, 1)) / np.linalg.norm(frame.mean(axis=(0, 1))) for frame in frames)
        return 0.9 if self.blind or first[0] > second[0] else 0.1


async def test_the_still_that_a_vision_model_prefers_to_most_others_is_kept_and_no_pair_is_asked_twice(world):
    world.models = SeenModels({"chat": RedPreferred()})
    generation_id, generation = await made(world, Candidates(n=4, rank={"preference": 1}))
    assert generation.status == "completed"
    takes = await stills(world, generation_id)
    current = next(take for take in takes if take.current)
    assert redness(world, current) == max(redness(world, take) for take in takes)
    (told,) = await choices(world, generation_id)
    shares = sorted(one["scores"]["preference"] for one in told.data["candidates"])
    assert shares == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert world.models.backbones["chat"].asked == 2 * 2 * 6  # scenes, orders, pairs


async def test_a_vision_model_that_prefers_a_place_prefers_no_still_and_the_first_one_stays(world):
    world.models = SeenModels({"chat": RedPreferred(blind=True)})
    generation_id, _ = await made(world, Candidates(n=3, rank={"preference": 1}))
    (told,) = await choices(world, generation_id)
    assert [one["scores"]["preference"] for one in told.data["candidates"]] == [0.5, 0.5, 0.5]
    assert told.data["candidate"] == 0 and told.data["abstained"] == {}


async def test_a_still_that_meets_the_minimums_comes_before_one_that_ranks_higher(world):
    world.models = SeenModels(RED)
    least_red = Candidates(n=4, rank={"keyframe_alignment": -1})
    generation_id, _ = await made(world, least_red)
    shares = sorted(redness(world, take) for take in await stills(world, generation_id))
    gate = QualityGate(minimums={"keyframe_alignment": (shares[1] + shares[2]) / 2}, retakes=1)
    generation_id, _ = await made(world, least_red, quality_gate=gate)
    takes = await stills(world, generation_id)
    assert len(takes) == 4  # no retake
    assert redness(world, next(take for take in takes if take.current)) == shares[2]


async def test_a_retake_draws_as_many_again_and_the_best_of_all_stays(world):
    world.models = SeenModels(RED)
    gate = QualityGate(minimums={"keyframe_alignment": 1.1}, retakes=1)
    generation_id, _ = await made(world, quality_gate=gate)
    takes = await stills(world, generation_id)
    assert len({seed_of(take) for take in takes}) == 8
    assert [event.data["attempt"] for event in await choices(world, generation_id)] == [0, 1]
    current = next(take for take in takes if take.current)
    assert redness(world, current) == max(redness(world, take) for take in takes)


async def test_a_revision_draws_as_many_unless_it_names_its_seed(world):
    world.models = SeenModels(RED)
    generation_id, _ = await made(world, approvals=("storyboard",))
    await world.anna.regenerate("anna", generation_id, "storyboard", 1)
    await world.run(generation_id)
    assert len(await stills(world, generation_id)) == 8
    await world.anna.regenerate("anna", generation_id, "storyboard", 1, None, Modifications(seed=5))
    await world.run(generation_id)
    takes = await stills(world, generation_id)
    assert len(takes) == 9
    assert seed_of(next(take for take in takes if take.current)) == 5
