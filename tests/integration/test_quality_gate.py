"""The quality gate over a real store and engine: what is below a minimum is made again, within a budget."""

import itertools

import numpy as np
import pytest

from models.errors import InferenceFailed
from models.interfaces import EncodedImage, Unwatched, VideoResult
from pipelines.coherence import CoherenceSettings, derived_seed
from pipelines.errors import StepFailed
from pipelines.recipe import QualityGate
from pipelines.scoring import ScoreRequest, score_file
from pipelines.stages.gate import minimums_of
from tests.support.colour_scorer import RedSeen
from tests.support.directed_world import BRIEF, RECIPE
from tests.support.drawing_models import SpeakingModels
from tests.support.random_scorers import scorers

FLICKER = {0.6: 102, 0.8: 51, 1.0: 0}
"""How much a clip's frames change, by the temporal flickering that it then has."""


class NotFinite(RedSeen):
    """An encoder whose vectors are no numbers."""

    def features(self, frames):
        return np.full_like(super().features(frames), np.nan)


class UnevenModels(SpeakingModels):
    """The n-th clip has the n-th of `flickering`, the last ones none; scores through `backbones`."""

    def __init__(self, *flickering):
        super().__init__()
        self.flickering = itertools.chain(flickering, itertools.repeat(1.0))
        self.backbones = {}
        self.score_with: Exception | None = None

    async def video(self, request, watcher=None):
        made = await super().video(request, watcher)
        frames = np.full_like(made.frames, 60)
        frames[1::2] += np.uint8(FLICKER[next(self.flickering)])
        return VideoResult(frames=frames, noise_sha256=made.noise_sha256, seconds=0.0)

    async def score(self, request, watcher=None):
        if self.score_with is not None:
            raise self.score_with
        return score_file(request, self.backbones, watcher or Unwatched())


async def made(world, minimums, retakes, dimensions=(), brief=BRIEF):
    """A generation of two scenes, filmed one after the other, and its id."""
    gate = QualityGate(minimums=minimums, retakes=retakes)
    recipe = RECIPE.model_copy(
        update={"approvals": (), "scene_concurrency": 1, "quality_gate": gate, "quality_dimensions": dimensions}
    )
    generation_id = await world.create(recipe, brief)
    return generation_id, await world.run(generation_id)


async def verdicts(world, generation_id, scene_number=None):
    log = await world.log(generation_id)
    told = [event for event in log if event.data.get("notice") == "quality_gate"]
    return [event for event in told if scene_number in (None, event.scene_number)]


async def clips(world, generation_id, scene_number):
    takes = await world.store.takes(generation_id)
    return [take for take in takes if (take.kind, take.scene_number) == ("clip", scene_number)]


class Believer(RedSeen):
    """A chat model that says yes to everything but to a decoy."""

    def __init__(self):
        self.questions = []

    def yes(self, frames, question):
        self.questions.append(question)
        return 0.9 if len(self.questions) % 2 else 0.4


async def test_what_an_ad_was_asked_to_be_reaches_the_dimensions_that_measure_it(world):
    world.models = UnevenModels()
    world.models.backbones = {"chat": Believer()}
    asked = ("asks.object", "ad.duration", "ad.ratio", "product_colour")
    generation_id, generation = await made(world, {}, retakes=0, dimensions=asked)
    assert generation.status == "completed"
    scores = (await world.store.outputs(generation_id))["quality"]
    by_name = {(score["metric_id"], score["scene_number"]): score for score in scores}
    assert by_name["admint.ad.duration", None]["raw"] == 0
    assert by_name["admint.ad.ratio", None]["raw"] == pytest.approx(1 / 15)  # 96 x 160 is not quite 9:16
    assert by_name["admint.asks.object", 1]["raw"] == 1.0
    assert all("Is this true of the video" in question for question in world.models.backbones["chat"].questions)
    colour = by_name["admint.product_colour", 1]
    assert colour["raw"] > 0, colour["reason"]


@pytest.mark.parametrize("chain", ["none", "last_frame"])
async def test_a_clip_is_compared_with_the_picture_that_it_started_from_once(world, tmp_path, chain):
    world.models = UnevenModels()
    world.models.backbones = scorers(["dino_vitb16"], tmp_path / "weights")
    brief = BRIEF.model_copy(update={"coherence": CoherenceSettings(chain=chain)})
    name = "vbench_i2v.subject"
    generation_id, generation = await made(world, {name: 0.0}, retakes=0, dimensions=(name,), brief=brief)
    assert generation.status == "completed"
    scores = [each for each in (await world.store.outputs(generation_id))["quality"] if each["metric_id"] == name]
    for number, score in enumerate(scores, start=1):
        (clip,) = await clips(world, generation_id, number)
        still = (await world.take(generation_id, "keyframe", number)).artifact
        start = clip.provenance["first_frame"]
        assert (start == still) == (chain == "none" or number == 1)
        request = ScoreRequest(
            data=world.artifacts.read(clip.artifact),
            dimensions=(name,),
            start=EncodedImage(data=world.artifacts.read(start)),
        )
        (expected,) = score_file(request, world.models.backbones, Unwatched())
        assert score["raw"] == expected.raw is not None
    assert len(scores) == 2
    measured = [one for one in await world.steps(generation_id) if one in ("quality/scene-001", "quality/scene-002")]
    assert len(measured) == 2, "the gate's measurement is the quality stage's"


async def test_a_clip_below_its_minimum_is_filmed_again_with_another_seed_until_it_is_not(world):
    world.models = UnevenModels(0.6, 1.0)
    generation_id, generation = await made(world, {"temporal_flickering": 0.9}, retakes=3)
    assert generation.status == "completed"
    assert len(world.models.videos) == 3
    first, second = await clips(world, generation_id, 1)
    assert (first.current, second.current) == (False, True)
    seeds = [take.provenance["request"]["noise"]["seed"] for take in (first, second)]
    assert seeds[1] == derived_seed(seeds[0], "retake", 1)
    assert (first.provenance.get("retake"), second.provenance["retake"]) == (None, 1)
    told = await verdicts(world, generation_id, 1)
    assert [event.data["decision"] for event in told] == ["retake", "passed", "best_take"]
    assert told[0].severity == "warning"
    assert told[0].data["missed"] == ["temporal_flickering"]
    assert told[0].data["scores"]["temporal_flickering"] == pytest.approx(0.6, abs=0.02)
    assert told[0].data["minimums"] == {"temporal_flickering": 0.9}
    assert [event.data["decision"] for event in await verdicts(world, generation_id, 2)] == ["passed"]
    outputs = await world.store.outputs(generation_id)
    assert outputs["video"][0]["artifact"] == second.artifact
    scored = [score for score in outputs["quality"] if score["scene_number"] == 1]
    assert [score["raw"] for score in scored] == [pytest.approx(1.0, abs=0.02)]


async def test_when_the_budget_is_spent_the_best_take_stays_and_the_ad_is_finished(world):
    world.models = UnevenModels(0.6, 0.8, 0.6)
    generation_id, generation = await made(world, {"temporal_flickering": 0.9}, retakes=2)
    assert generation.status == "completed"
    takes = await clips(world, generation_id, 1)
    assert [take.current for take in takes] == [False, True, False]
    told = await verdicts(world, generation_id, 1)
    assert [event.data["decision"] for event in told] == ["retake", "retake", "budget_spent", "best_take"]
    assert (told[-1].data["attempt"], told[-1].data["artifact"]) == (1, takes[1].artifact)
    assert (await world.store.outputs(generation_id))["video"][0]["artifact"] == takes[1].artifact


async def test_without_a_budget_a_clip_is_judged_and_never_made_again(world):
    world.models = UnevenModels(0.6)
    generation_id, _ = await made(world, {"temporal_flickering": 0.9}, retakes=0)
    assert [event.data["decision"] for event in await verdicts(world, generation_id, 1)] == ["budget_spent"]
    assert len(world.models.videos) == 2


async def test_a_score_that_cannot_be_computed_neither_passes_nor_costs_a_retake(world):
    world.models = UnevenModels()
    generation_id, generation = await made(world, {"text_alignment": 0.3}, retakes=2)
    assert generation.status == "completed"
    assert len(world.models.videos) == 2
    told = await verdicts(world, generation_id)
    assert [(event.data["decision"], event.severity) for event in told] == [("not_judged", "warning")] * 2
    assert "no CLIP model" in told[0].data["unmeasured"]["text_alignment"]
    assert told[0].data["scores"] == {"text_alignment": None}


async def test_what_was_measured_counts_also_beside_what_was_not(world):
    world.models = UnevenModels(0.6, 1.0)
    generation_id, _ = await made(world, {"temporal_flickering": 0.9, "text_alignment": 0.3}, retakes=1)
    told = await verdicts(world, generation_id, 1)
    assert [event.data["decision"] for event in told] == ["retake", "not_judged", "best_take"]
    assert (await clips(world, generation_id, 1))[1].current


async def test_a_scorer_that_fails_leaves_a_reason_and_a_warning_and_no_lost_ad(world):
    world.models = UnevenModels()
    world.models.score_with = InferenceFailed("the scorer is away")
    generation_id, generation = await made(world, {"temporal_flickering": 0.9}, retakes=2)
    assert generation.status == "completed"
    told = await verdicts(world, generation_id)
    assert {event.data["decision"] for event in told} == {"not_judged"}
    scores = (await world.store.outputs(generation_id))["quality"]
    assert all(score["raw"] is None and score["reason"] for score in scores)
    log = await world.log(generation_id)
    assert any(event.data.get("notice") == "not_scored" and event.severity == "warning" for event in log)


async def test_a_value_that_is_not_finite_is_no_verdict(world):
    world.models = UnevenModels()
    world.models.backbones = {"clip": NotFinite()}
    generation_id, generation = await made(world, {"keyframe_alignment": 0.2}, retakes=3)
    assert generation.status == "completed"
    told = [event.data for event in await verdicts(world, generation_id)]
    assert {each["decision"] for each in told} == {"not_judged"}
    assert all(each["unmeasured"] == {"keyframe_alignment": "not finite: 1 of 1 frames"} for each in told)


async def test_a_still_is_judged_before_it_is_filmed_and_the_likest_one_is_kept(world):
    world.models = UnevenModels()
    world.models.backbones = {"clip": RedSeen()}
    generation_id, _ = await made(world, {"keyframe_alignment": 1.1}, retakes=3)
    told = [event.data for event in await verdicts(world, generation_id, 1)]
    assert {each["medium"] for each in told} == {"keyframe"}
    scores = {each["artifact"]: each["scores"]["keyframe_alignment"] for each in told if "scores" in each}
    takes = [take for take in await world.store.takes(generation_id) if take.kind == "keyframe"]
    current = next(take for take in takes if take.current and take.scene_number == 1)
    assert len([take for take in takes if take.scene_number == 1]) == 4
    assert scores[current.artifact] == max(scores.values())
    filmed = world.models.videos[0].first_frame.sha256
    assert filmed == current.artifact


async def test_a_minimum_is_for_the_model_that_it_names_and_a_score_by_another_one_abstains(world):
    world.models = UnevenModels()
    world.models.backbones = {"clip": RedSeen()}
    for name, decision in (("red", "budget_spent"), ("sketch-clip", "not_judged")):
        generation_id, generation = await made(world, {"keyframe_alignment": {name: 1.1}}, retakes=0)
        assert generation.status == "completed"
        told = await verdicts(world, generation_id, 1)
        assert [event.data["decision"] for event in told] == [decision]
    assert told[0].severity == "info"
    assert told[0].data["abstained"] == {"keyframe_alignment": "its minimum is for sketch-clip: it was measured by red"}
    assert told[0].data["scores"]["keyframe_alignment"] is not None
    assert "for sketch-clip" in told[0].message


def test_the_minimum_of_a_colour_is_judged_only_where_the_prompt_names_a_single_one():
    gate = QualityGate(minimums={"keyframe_colour_margin": 0.0, "colour_margin": 0.0, "keyframe_alignment": 0.5})
    assert set(minimums_of(gate, "keyframe", "a teal cup")) == {"keyframe_colour_margin", "keyframe_alignment"}
    assert set(minimums_of(gate, "keyframe", "a cup")) == {"keyframe_alignment"}
    assert set(minimums_of(gate, "keyframe", "a teal cup on red wool")) == {"keyframe_alignment"}
    assert set(minimums_of(gate, "clip", "a cup")) == set()


async def test_a_minimum_of_a_formula_is_for_its_version(world):
    world.models = UnevenModels(0.6, 1.0, 0.6)
    minimum = {"temporal_flickering": {"temporal_flickering@2": 0.9, "temporal_flickering@1": 0.0}}
    generation_id, _ = await made(world, minimum, retakes=1)
    told = await verdicts(world, generation_id, 1)
    assert [event.data["decision"] for event in told] == ["retake", "passed", "best_take"]
    assert told[0].data["minimums"] == {"temporal_flickering": 0.9}


async def test_minimums_of_a_recipe_where_no_such_model_is_abstain_quietly(world):
    world.models = UnevenModels()
    generation_id, _ = await made(world, {"text_alignment": {"sketch-clip": 0.3}}, retakes=1)
    told = await verdicts(world, generation_id)
    assert [(event.data["decision"], event.severity) for event in told] == [("not_judged", "info")] * 2
    assert "no CLIP model" in told[0].data["abstained"]["text_alignment"]


async def test_a_run_that_was_interrupted_judges_nothing_twice(world):
    world.models = UnevenModels(0.6, 1.0)
    world.models.fail_video_calls = {2}
    gate = QualityGate(minimums={"temporal_flickering": 0.9}, retakes=2)
    recipe = RECIPE.model_copy(update={"approvals": (), "scene_concurrency": 1, "quality_gate": gate})
    generation_id = await world.create(recipe)
    with pytest.raises(StepFailed):
        await world.run(generation_id)
    await world.run(generation_id)
    told = await verdicts(world, generation_id, 1)
    assert [event.data["decision"] for event in told] == ["retake", "passed", "best_take"]
    assert len(await clips(world, generation_id, 1)) == 2


async def test_what_its_owner_chose_is_not_judged(world):
    world.models = UnevenModels(0.6, 1.0)
    generation_id, _ = await made(world, {"temporal_flickering": 0.9}, retakes=1)
    first, _ = await clips(world, generation_id, 1)
    before = len(await verdicts(world, generation_id))
    await world.anna.select("anna", generation_id, first.id)
    generation = await world.run(generation_id)
    assert generation.status == "completed"
    assert [take.current for take in await clips(world, generation_id, 1)] == [True, False]
    assert len(await verdicts(world, generation_id)) == before
