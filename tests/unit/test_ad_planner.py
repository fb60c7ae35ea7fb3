"""The planner of ads: what is asked for becomes a checked order, or a refusal that names the field and the remedy."""

from dataclasses import replace

import pytest

from configs.settings import load_model, load_recipe
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.brief import BriefReference
from pipelines.coherence import CoherenceSettings
from pipelines.errors import BadInput
from pipelines.orders.ad import AdPlanner, AdRequest, Variation
from pipelines.stages.state import RunState, scene_references
from pipelines.storyboard_file import Storyboard
from tests.support.storyboards import storyboard

PROMPT = "an ad for a steel water bottle"
SHORT = {"prompt": PROMPT, "duration": 9, "num_scenes": 2}
BOARD = Storyboard.model_validate(storyboard(title="Sun"))


def planner(references=3, image="sketch-image", video="sketch-video"):
    model = load_model(image, ImageModelSpec).model_copy(update={"references": references})
    video = load_model(video, VideoModelSpec)
    return AdPlanner(recipe=load_recipe, image_model=model, video_model=video, fps=24, scorers={"clip"})


def request(brief=SHORT, recipe="express", **fields):
    return AdRequest(recipe=recipe, brief=brief, **fields)


def refusal(*plan, **fields):
    with pytest.raises(BadInput) as caught:
        planner().plan(request(*plan, **fields))
    return caught.value.field, caught.value.reason


def test_a_request_becomes_an_order_with_the_recipe_filled_in():
    order = planner().plan(request(coherence={"adapter_scale": 0.3}))
    assert (order.brief.prompt, order.brief.duration, order.given) == (PROMPT, 9, {})
    assert order.brief.coherence.adapter_scale == 0.3
    assert order.recipe == load_recipe("express")


def test_stages_and_approvals_of_the_request_replace_those_of_the_recipe():
    recipe = load_recipe("interactive")
    order = planner().plan(request(recipe="interactive", stages=("story", "scenes"), approvals=("scenes",)))
    assert (order.recipe.stages, order.recipe.approvals) == (("story", "scenes"), ("scenes",))
    assert planner().plan(request(recipe="interactive")).recipe == recipe
    assert planner().plan(request(recipe="interactive", approvals=())).recipe.approvals == ()


def test_a_knob_that_a_model_family_lacks_is_refused_before_anything_runs():
    field, reason = refusal(coherence={"chain": "first_last"})
    assert field == "coherence.chain"
    assert "'sketch-video' of the family 'animatediff' cannot end a clip on a given frame" in reason
    wanted = request(coherence={"cond_lowpass_until": 0.1})
    assert planner().plan(wanted).brief.coherence.cond_lowpass_until == 0.1
    with pytest.raises(BadInput, match="'ltx' cannot look at a coarse first frame") as refused:
        planner(video="ltx-video-2b-0.9.5").plan(wanted)
    assert refused.value.field == "coherence.cond_lowpass_until"
    wanted = request(coherence={"consistent_attention": True})
    assert planner().plan(wanted).brief.coherence.consistent_attention
    with pytest.raises(BadInput, match=r"the family 'flux' of model 'flux\.1-schnell' cannot") as refused:
        planner(image="flux.1-schnell").plan(wanted)
    assert refused.value.field == "coherence.consistent_attention"
    planned = planner(video="wan2.2-i2v-a14b").plan(request(coherence={"chain": "first_last"}))
    assert planned.brief.coherence.chain == "first_last"


def test_every_weight_is_one_of_a_reference():
    two = tuple(BriefReference(artifact=str(n) * 64, role="product", filename="a.png") for n in (1, 2))
    wanted = request(references=two, coherence={"reference_weights": (1.0, 0.5)})
    brief = planner().plan(wanted).brief
    assert [one.weight for one in scene_references(brief, RunState())] == [1.0, 0.5]
    assert [one.weight for one in brief.references] == [1.0, 1.0]
    drawn = RunState(references=(*two, two[0]))
    assert [one.weight for one in scene_references(brief, drawn)] == [1.0, 0.5, 1.0]
    alike = brief.model_copy(update={"coherence": CoherenceSettings(reference_weights=(1.0, 1.0))})
    assert scene_references(alike, RunState()) == brief.references, "equal weights are what there was before"
    field, reason = refusal(references=two[:1], coherence={"reference_weights": (1.0, 0.5)})
    assert field == "coherence.reference_weights"
    assert "2 weights are given for 1 reference:" in reason


def test_keyframes_are_drawn_from_one_source_only():
    field, reason = refusal(coherence={"chain": "keyframe", "use_latent_reuse": True})
    assert field == "coherence" and "switch one of them off" in reason


def test_a_storyboard_supplies_the_brief_and_the_scenes():
    order = planner().plan(request({"seed": 4}, storyboard=BOARD))
    assert (order.brief.prompt, order.brief.title, order.brief.duration, order.brief.seed) == (PROMPT, "Sun", 9, 4)
    assert [scene["frames"] for scene in order.given["scenes"]["scenes"]] == [72, 72, 72]


def test_without_agents_every_scene_of_the_framework_shows_the_prompt():
    given = planner().plan(request(use_llm=False)).given
    assert [scene["image_prompt"] for scene in given["scenes"]["scenes"]] == [PROMPT, PROMPT]


@pytest.mark.parametrize("name", ["prompt", "title", "duration", "aspect_ratio", "framework", "num_scenes"])
def test_what_a_storyboard_says_is_not_said_twice(name):
    field, reason = refusal({name: None}, storyboard=BOARD)
    assert field == f"brief.{name}"
    assert reason.startswith("the storyboard says it as well") and "leave the storyboard out" in reason


@pytest.mark.parametrize(
    ("brief", "fields", "field", "reason"),
    [
        ({}, {}, "brief.prompt", "missing; say what the ad is for"),
        ({"prompt": " "}, {}, "brief.prompt", "at least 1 character"),
        ({"prompt": "x" * 5001}, {}, "brief.prompt", "at most 5000 characters"),
        ({**SHORT, "duration": 8}, {}, "brief.duration", "9 to 60 seconds for recipe 'express' (got '8')"),
        ({**SHORT, "num_scenes": 1}, {}, "brief.num_scenes", "at least 2 for recipe 'express' (got 1)"),
        ({**SHORT, "num_scenes": 20}, {}, "brief.num_scenes", "20 cannot fill 9 s"),
        ({**SHORT, "num_scenes": 20}, {"use_llm": False}, "brief.num_scenes", "20 cannot fill 9 s"),
        ({**SHORT, "fps": 30}, {}, "brief.fps", "Extra inputs are not permitted"),
        (SHORT, {"coherence": {"adapter_scale": 2}}, "coherence.adapter_scale", "less than or equal to 1 (got '2')"),
        (SHORT, {"coherence": {"blur": 1}}, "coherence.blur", "Extra inputs are not permitted"),
        (SHORT, {"approvals": ("reference_image",)}, "approvals", "stage 'reference_image' does not run"),
        (SHORT, {"quality_gate": {"retakes": 9}}, "quality_gate.retakes", "less than or equal to 5 (got '9')"),
        (SHORT, {"quality_dimensions": ("beauty",)}, None, "'beauty': choose from"),
        (
            SHORT,
            {"quality_gate": {"minimums": {"dover.fused": 0.5}}},
            "quality_gate.minimums.dover.fused",
            "needs a model that this deployment does not have: name one as `scorers.dover` in its profile",
        ),
        (
            SHORT,
            {"quality_gate": {"minimums": {"dover.fused": {"dover": 0.5}}}},
            "quality_gate.minimums.dover.fused",
            "or leave the dimension out",
        ),
        (
            SHORT,
            {"quality_gate": {"minimums": {"ad.duration": 0.5}}},
            "quality_gate.minimums.ad.duration",
            "not measured on a still or a clip, only on video",
        ),
        (
            SHORT,
            {"candidates": {"n": 4, "rank": {"flow_smoothness": 1}}},
            "candidates.rank.flow_smoothness",
            "not measured on a still, only on clip",
        ),
        (
            SHORT,
            {"candidates": {"n": 2, "rank": {"vqascore.text": 1}}},
            "candidates.rank.vqascore.text",
            "scorers.chat",
        ),
        (SHORT, {"candidates": {"n": 2, "rank": {"beauty": 1}}}, None, "'beauty': choose from"),
        (SHORT, {"candidates": {"n": 2}}, "candidates", "2 candidates need a rank that tells the best one"),
        (SHORT, {"candidates": {"n": 2, "rank": {"text_alignment": 0}}}, "candidates", "need a rank"),
        (SHORT, {"candidates": {"n": 9}}, "candidates.n", "less than or equal to 8"),
        (SHORT, {"recipe": "grand"}, None, "no recipe 'grand': choose one of"),
        (SHORT, {"recipe": "interactive", "use_llm": False}, "use_llm", "choose another recipe"),
        ({}, {"storyboard": BOARD.model_copy(update={"duration": 12})}, "storyboard", "duration is 12 s: change"),
        ({}, {"storyboard": BOARD.model_copy(update={"format": "other/9"})}, "storyboard", "format is 'other/9'"),
        ({}, {"storyboard": BOARD.model_copy(update={"scenes": BOARD.scenes[1:]})}, "storyboard", "must be 1"),
    ],
)
def test_a_mistake_is_refused_with_its_field_and_reason(brief, fields, field, reason):
    found = refusal(brief, **fields)
    assert found[0] == field
    assert reason in found[1]


def test_an_order_changes_of_the_gate_what_it_names_and_the_rest_is_the_recipes():
    gate = load_recipe("express").quality_gate
    assert planner().plan(request(quality_gate={"retakes": 3})).recipe.quality_gate.minimums == gate.minimums
    own = planner().plan(request(quality_gate={"minimums": {"flow_smoothness": 0.9}})).recipe.quality_gate
    assert (own.minimums, own.retakes) == ({"flow_smoothness": 0.9}, gate.retakes)
    assert planner().plan(request(quality_gate={"minimums": {}})).recipe.quality_gate.minimums == {}


def test_minimums_of_a_recipe_by_implementation_are_no_hindrance_where_nothing_scores():
    bare = replace(planner(), scorers=())
    assert bare.plan(request()).recipe.quality_gate == load_recipe("express").quality_gate
    with pytest.raises(BadInput, match="name one as `scorer` in its profile"):
        bare.plan(request(quality_gate={"minimums": {"text_alignment": {"sketch-clip": 0.5}}}))


def test_several_stills_are_ranked_by_what_is_measured_on_stills():
    references = (BriefReference(artifact="a" * 64, role="product", filename="a.png"),)
    several = {"n": 4, "rank": {"text_alignment": 1, "product_similarity": 1, "product_colour": -0.5}}
    equipped = replace(planner(), scorers=("clip", "dinov2_base"))
    order = equipped.plan(request(candidates=several, references=references))
    assert order.recipe.candidates.n == 4
    assert {"keyframe_alignment", "keyframe_product_similarity", "product_colour"} <= order.recipe.measured
    with pytest.raises(BadInput, match=r"^candidates.rank.product_similarity: .* name one as `scorers.dinov2_base`"):
        replace(planner(), scorers=("clip",)).plan(request(candidates=several, references=references))
    with pytest.raises(BadInput, match=r"^candidates.rank.product_similarity: .* and there is none: add a reference"):
        equipped.plan(request(candidates=several))
    character = (BriefReference(artifact="a" * 64, role="character", filename="character-a.png"),)
    with pytest.raises(BadInput, match="and there is none"):
        equipped.plan(request(candidates=several, references=character))
    drawn = request(recipe="interactive", candidates=several)  # its own stage draws the product
    assert equipped.plan(drawn).recipe.candidates.n == 4


def test_stills_are_compared_in_pairs_only_where_a_model_can_and_nowhere_else():
    pairs = {"n": 4, "rank": {"preference": 1}}
    asking = replace(planner(), scorers=("chat",))
    assert asking.plan(request(candidates=pairs, quality_gate={"minimums": {}})).recipe.candidates.rank == pairs["rank"]
    with pytest.raises(BadInput, match=r"^candidates.rank.preference: .* name one as `scorers.chat`"):
        planner().plan(request(candidates=pairs))
    with pytest.raises(BadInput, match=r"^quality_gate.minimums.preference: .* name it in the rank of candidates"):
        asking.plan(request(quality_gate={"minimums": {"preference": 0.5}}))
    with pytest.raises(BadInput, match=r"^quality_dimensions: .* name it in the rank of candidates"):
        asking.plan(request(quality_dimensions=("preference",), quality_gate={"minimums": {}}))


def test_more_references_than_the_image_model_takes_are_refused_unless_they_do_not_condition_it():
    references = tuple(BriefReference(artifact=f"{n:064x}", role="product", filename="a.png") for n in range(2))
    with pytest.raises(BadInput, match=r"references: image model 'sketch-image' takes 1, not 2: leave some out, or"):
        planner(references=1).plan(request(references=references))
    off = request(references=references, coherence={"use_ip_adapter": False})
    assert planner(references=1).plan(off).brief.references == references


def test_a_comparison_is_one_order_per_variation_that_differs_in_nothing_else():
    prompts = (Variation(prompt=PROMPT), Variation(prompt=f"{PROMPT}, at night"))
    first, second = planner().compare(request(), "prompt", prompts)
    assert second.brief == first.brief.model_copy(update={"prompt": f"{PROMPT}, at night"})
    assert first.recipe == second.recipe


@pytest.mark.parametrize(
    ("brief", "variations", "field"),
    [
        (SHORT, (Variation(prompt=PROMPT), Variation(prompt=" ")), "variations.1.prompt"),
        ({**SHORT, "duration": 5}, (Variation(prompt=PROMPT), Variation(prompt=PROMPT * 2)), "brief.duration"),
    ],
)
def test_a_comparison_names_the_variation_or_the_base_that_must_change(brief, variations, field):
    with pytest.raises(BadInput) as caught:
        planner().compare(request(brief), "prompt", variations)
    assert caught.value.field == field
