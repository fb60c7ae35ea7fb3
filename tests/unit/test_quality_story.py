"""The scenes of an ad together: where its product is in them, which of them count, and what the stage makes of that."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch.nn.functional as F

from models.interfaces import EncodedImage, Reference
from pipelines.brief import BriefReference
from pipelines.direction import Direction
from pipelines.media import encode_clip, encode_png
from pipelines.recipe import QualityGate, Recipe
from pipelines.scoring import SceneFile, alignments, score_file, story_scores
from pipelines.screenplay import Clip
from pipelines.stages.quality import score_video
from pipelines.stages.scorable import Subjects
from pipelines.store.artifacts import LocalArtifacts
from quality.cross_scene import Ad, AdScene, measure_ad
from quality.engine import measure
from quality.finder import Finder, patches_of
from quality.references import KEPT, of_references
from quality.registry import DIMENSIONS, measured_on
from quality.score import NoValue, Score
from quality.stream import Reference as Shown
from quality.stream import Shot

RED, PLUM, TEAL, SAND, PAPER = (210, 40, 40), (200, 40, 150), (30, 130, 140), (190, 170, 120), (245, 245, 245)


class Colours:
    """A dense backbone of real vectors: each of 8 x 8 patches is the hue of its mean colour, the picture theirs."""

    name, licence, dtype, device, weights_sha256 = "colours", "none", "float32", "cpu", "0" * 64
    window, batch, min_side = 1, 4, 1
    fidelity: Any = "proxy"

    def features(self, batch):
        small = F.adaptive_avg_pool2d(batch.float(), (8, 8)).flatten(2).transpose(1, 2)
        rows: Any = small - small.mean(dim=2, keepdim=True) + 1.0
        rows = np.concatenate([rows.mean(dim=1, keepdim=True), rows], axis=1)
        return (rows / np.linalg.norm(rows, axis=2, keepdims=True)).astype(np.float32)


class Words:
    """Sentences as counts of a few words."""

    name, licence, dtype, device, weights_sha256, fidelity = "words", "none", "float32", "cpu", "1" * 64, "proxy"

    def text(self, text):
        counts = np.array([text.count(word) for word in ("bottle", "shoe", "beach")], np.float32) + 0.1
        return counts / np.linalg.norm(counts), False


class Alignment(Words):
    """A CLIP in which every picture is as much like its prompt as it is red."""

    window, batch, min_side, name = 1, 4, 1, "sketch-clip"

    def features(self, batch):
        red = batch[:, 0].float().mean(dim=(1, 2)).numpy() / 255
        return np.stack([red, np.sqrt(1 - red**2)], axis=1)

    def text(self, text):
        return np.array([1, 0], np.float32), False


CLIP: Any = Alignment()
BACKBONES: dict[str, Any] = {"dinov2_base": Colours(), "minilm": Words()}


def picture(colour=RED, behind=SAND, at=(60, 30), size=(40, 56), shape=(96, 160)):
    found = np.full((*shape, 3), behind, np.uint8)
    found[at[1] : at[1] + size[1], at[0] : at[0] + size[0]] = colour
    return found


EMPTY = np.full((96, 160, 3), SAND, np.uint8)
REFERENCE = picture(behind=PAPER, at=(36, 24), size=(40, 56), shape=(112, 112))


def ad(*scenes, minimum=0.5, **fields):
    shot = Shot(medium="scenes", references=(Shown(REFERENCE),), backbones=BACKBONES)
    return Ad(tuple(scenes), shot, minimum, **fields)


def of(name, given):
    return measure_ad([name], given)[0]


# --- where the product is ---


@pytest.mark.parametrize("at", [(10, 20), (60, 30), (112, 36)])
def test_a_product_is_found_where_it_stands_and_cut_out(at):
    shown = picture(at=at)
    found = Finder([REFERENCE], Colours()).find(shown, patches_of(Colours(), shown))
    assert found is not None
    assert found.box == pytest.approx((at[0] / 160, at[1] / 96, (at[0] + 40) / 160, (at[1] + 56) / 96), abs=0.06)
    held = {tuple(map(int, pixel)) for pixel in found.picture.reshape(-1, 3)}
    assert RED in held and SAND not in held


def test_a_picture_without_the_product_has_no_place_of_it():
    assert Finder([REFERENCE], Colours()).find(EMPTY, patches_of(Colours(), EMPTY)) is None


def first_product(frames, references=(REFERENCE,), backbones=None):
    shown, equipped = tuple(map(Shown, references)), BACKBONES if backbones is None else backbones
    shot = Shot(medium="video", fps=8.0, references=shown, backbones=equipped)
    return measure(["ad.first_product"], frames, shot, block_frames=5)[0]


@pytest.mark.parametrize("before", [0, 4, 13, 16])
def test_the_product_is_first_seen_at_the_first_look_after_it_came_in(before):
    found = first_product([EMPTY] * before + [picture()] * 8)
    looks = -(-before // 4)  # two a second, of eight frames
    assert (found.raw, found.frames_used) == (looks * 0.5, looks + 1)
    assert "measured with sketch-observer" in str(found.note)  # which this network is not


def test_another_product_and_the_same_in_another_colour_are_not_the_first_one():
    teal, dark = picture(TEAL), picture((60, 10, 10))
    finder, patches = Finder([REFERENCE], Colours()), patches_of(Colours(), dark)
    assert finder.find(dark, patches) is not None and finder.seen(patches) > 0.9  # only its colours tell it
    assert first_product([teal] * 4 + [dark] * 4 + [picture()] * 4).raw == 1.0


def test_a_film_without_the_product_has_no_first_second_and_says_how_near_it_came():
    never = first_product([picture(TEAL)] * 8)
    assert never.raw is None and "none of 2 frames shows the product: they are like its picture by 0." in str(
        never.reason
    )
    assert first_product([picture()], references=()).reason == "needs a picture of the product as a reference"
    assert "no 'dinov2_base' model" in str(first_product([picture()], backbones={}).reason)


def test_a_reference_on_which_nothing_stands_out_is_a_reason():
    with pytest.raises(NoValue, match="plain one"):
        Finder([np.full((64, 64, 3), PAPER, np.uint8)], Colours())


# --- an ad ---


def test_the_product_is_compared_where_a_scene_shows_what_was_asked_for():
    right = [AdScene(number, (picture(behind=behind),), 0.9) for number, behind in ((1, SAND), (2, TEAL))]
    found = of("product_similarity", ad(*right, AdScene(3, (picture(TEAL),), 0.1)))
    assert found.raw == pytest.approx(1.0, abs=0.01) and found.scene_number is None
    assert "3 pairs; 1 left out" in str(found.note) and str(found.note).endswith(": 3")
    wrong = of("product_similarity", ad(*right, AdScene(3, (picture(PLUM),), 0.9)))
    assert wrong.raw is not None and found.raw is not None and wrong.raw < found.raw - 0.05


def test_a_scene_in_which_nothing_is_like_the_product_counts_against_the_ad():
    right = [AdScene(number, (picture(behind=behind),), 0.9) for number, behind in ((1, SAND), (2, TEAL))]
    empty = AdScene(3, (np.full((96, 160, 3), SAND, np.uint8),), 0.9)
    for name, worse in (("product_similarity", -1), ("product_colour", 1)):
        all_there, lost = of(name, ad(*right)), of(name, ad(*right, empty))
        assert all_there.raw is not None and lost.raw is not None
        assert worse * (lost.raw - all_there.raw) > 0.05
        assert str(lost.note).endswith(": 3") and "like" in str(lost.note) and "left out" in str(lost.note)


def one_still(pixels, references=None, backbones=None):
    references = (Shown(REFERENCE),) if references is None else references
    equipped = {**BACKBONES, "clip": CLIP} if backbones is None else backbones
    shot = Shot(medium="keyframe", frame_count=1, references=references, backbones=equipped)
    return measure(["keyframe_product_similarity"], [pixels], shot)[0]


def test_of_one_still_the_product_is_compared_with_the_references_alone():
    right, wrong = one_still(picture()), one_still(picture((240, 120, 90)))
    assert right.raw == pytest.approx(1.0, abs=0.01) and right.frames_used == 1
    assert right.raw == pytest.approx(of("product_similarity", ad(AdScene(1, (picture(),), 0.9))).raw, abs=1e-6)
    assert wrong.raw is not None and wrong.raw < right.raw - 0.01
    two = one_still(
        picture(), (Shown(REFERENCE), Shown(picture((240, 120, 90), PAPER, (36, 24), (40, 56), (112, 112))))
    )
    assert two.raw is not None and wrong.raw < two.raw < right.raw and "reference 2; 2 references" in str(two.note)


def test_of_one_still_there_is_a_reason_without_reference_network_or_product():
    assert one_still(picture(), ()).reason == "needs a picture of the product as a reference"
    assert one_still(picture(), (Shown(REFERENCE, "character"),)).raw is None
    assert "no 'dinov2_base' model" in str(one_still(picture(), backbones={"clip": CLIP}).reason)
    nothing = np.full((96, 160, 3), SAND, np.uint8)
    lost, shown = one_still(nothing), one_still(picture())
    assert lost.raw is not None and shown.raw is not None and lost.raw < shown.raw - 0.05
    assert "nothing in the picture is like them, so that its middle was compared" in str(lost.note)


class Counted(Colours):
    """Counts the pictures that it is shown."""

    seen = 0

    def features(self, batch):
        self.seen += len(batch)
        return super().features(batch)


def test_what_a_reference_shows_is_looked_for_once_and_not_for_each_still():
    def compared(still, network, references=None):
        return one_still(still, references, {"clip": CLIP, "dinov2_base": network}).raw

    network, stills = Counted(), [picture(at=(20 * place, 20)) for place in range(4)]
    kept = [compared(still, network) for still in stills]
    assert network.seen == 2 + 4 * 2  # the reference and its crop; each still and its crop
    assert kept == [compared(still, Counted()) for still in stills] and None not in kept
    other = (Shown(picture(PLUM, PAPER, (36, 24), (40, 56), (112, 112))),)
    assert compared(stills[0], network, other) == compared(stills[0], Counted(), other) != kept[0]


def test_what_is_kept_of_a_reference_is_bounded_and_goes_with_its_model():
    network = Counted()
    made: list[int] = []
    asked = [*range(KEPT + 1), KEPT, 0]  # the last one again, which is kept, then the oldest, which is not
    for number in asked:
        reference = Shown(np.full((2, 2, 3), number, np.uint8))
        of_references(network, "it", [reference], partial(made.append, number))
    assert made == [*range(KEPT + 1), 0]
    gone = ref(network)
    del network
    assert gone() is None


def test_the_scenes_of_an_ad_are_shown_to_the_network_once_for_all_that_looks_at_them():
    network = Counted()
    given = ad(AdScene(1, (picture(),), 0.9), AdScene(2, (picture(at=(20, 20)),), 0.9))
    shot = replace(given.shot, backbones={"dinov2_base": network})
    found = measure_ad(["product_colour", "style_similarity"], replace(given, shot=shot))
    assert all(score.raw is not None for score in found)
    assert network.seen == 1 + 2  # the reference, and each scene


def test_another_colour_raises_the_difference_of_colours_and_names_the_scene():
    same = of("product_colour", ad(AdScene(1, (picture(),), 0.9), AdScene(2, (picture(),), 0.9)))
    # Its hue is near enough to be found, and far enough to be another colour.
    other = of("product_colour", ad(AdScene(1, (picture(),), 0.9), AdScene(2, (picture((240, 120, 90)),), 0.9)))
    assert same.raw is not None and other.raw is not None and same.raw < 2 < 5 < other.raw
    assert "scene 2" in str(other.note) and "reference's patches" in str(other.note)


def test_without_a_network_of_patches_the_similarity_has_a_reason_and_colours_say_where_they_looked():
    given = ad(AdScene(1, (picture(),), 0.9))
    bare = Ad(given.scenes, Shot(medium="scenes", references=given.shot.references), given.minimum)
    assert "'dinov2_base'" in str(of("product_similarity", bare).reason)
    colour = of("product_colour", bare)
    assert colour.raw is not None and "middle of each frame" in str(colour.note)


def test_scenes_are_not_compared_where_nobody_knows_what_is_enough():
    given = ad(AdScene(1, (picture(),), 0.9), AdScene(2, (picture(),), 0.9), minimum=None)
    for name in ("product_similarity", "style_similarity", "gap_decay", "product_colour"):
        assert "no minimum of alignment" in str(of(name, given).reason)


def test_boundaries_are_those_of_scenes_that_go_on():
    first, other = picture(), picture(TEAL, PAPER)
    scenes = [AdScene(1, (other, first)), AdScene(2, (first, other), continues=True), AdScene(3, (first, first))]
    found = of("boundary_similarity", ad(*scenes))
    assert found.raw == pytest.approx(1.0, abs=1e-6) and "1 pairs" in str(found.note)


def test_the_brief_is_compared_with_the_story_and_each_scene():
    scenes = [AdScene(1, (), text="a bottle"), AdScene(2, (), text="a shoe")]
    found = of("brief_similarity", ad(*scenes, brief="a bottle", story="the bottle on the beach"))
    assert "worst" in str(found.note) and "scene 2" in str(found.note) and "3 pairs" in str(found.note)
    assert "needs the brief" in str(of("brief_similarity", ad(*scenes)).reason)


@pytest.mark.parametrize("name", sorted(name for name in DIMENSIONS if DIMENSIONS[name].media == ("scenes",)))
def test_of_one_file_what_compares_scenes_has_no_value(name):
    (found,) = measure([name], [picture()], Shot(backbones={**BACKBONES, "clip": CLIP}))
    assert found.raw is None and "story_scores" in str(found.reason)
    assert name == "brief_similarity" or "text_alignment" in measured_on("clip", [name])


# --- which scenes count ---


def scored(name: str, number: int, value: float, backbone: str = "sketch-clip") -> Score:
    return Score(metric_id=name, impl_id="x@1", scene_number=number, fidelity="toy", raw=value, backbone=backbone)


def test_what_a_vision_model_saw_comes_before_the_cosine_and_of_two_minimums_the_larger_counts():
    cosines = [scored("toy.text_alignment", 1, 0.8), scored("toy.keyframe_alignment", 1, 0.6)]
    assert alignments(cosines, True, {}) == ({1: 0.8}, 0.7)
    assert alignments(cosines, False, {"keyframe_alignment": 0.3}) == ({1: 0.6}, 0.7)
    assert alignments(cosines, False, {"keyframe_alignment": 0.9}) == ({1: 0.6}, 0.9)
    assert alignments([*cosines, scored("admint.asks.object", 1, 1.0)], True, {}) == ({1: 1.0}, 0.5)
    assert alignments([scored("admint.text_alignment", 1, 0.2, "clip-of-somebody")], True, {}) == ({1: 0.2}, None)
    assert alignments(cosines, True, {"text_alignment": {"sketch-clip": 0.75}}) == ({1: 0.8}, 0.75)
    assert alignments(cosines, True, {"text_alignment": {"another": 0.6}}) == ({1: 0.8}, 0.7)
    assert alignments([], True, {}) == ({}, None)


def watcher():
    return SimpleNamespace(step=lambda done, total: None)


def measured(request):
    return score_file(request, {**BACKBONES, "clip": CLIP}, watcher())


def test_stills_alone_are_an_ad_too():
    scenes = [
        SceneFile(scene_number=number, data=encode_png(picture(behind=behind)), media="image")
        for number, behind in ((1, SAND), (2, (200, 200, 190)), (3, TEAL))
    ]
    found = story_scores(
        measured,
        scenes,
        dict.fromkeys((1, 2, 3), "a red bottle"),
        (Reference(image=EncodedImage(data=encode_png(REFERENCE)), role="product"),),
        ("product_similarity",),
    )
    assert [score.metric_id for score in found] == ["admint.keyframe_alignment"] * 3 + ["admint.product_similarity"]
    assert str(found[-1].note).endswith(": 3") and "left out" in str(found[-1].note)  # hardly red


# --- the stage ---


async def test_an_ad_ends_with_its_scenes_against_one_another_in_one_step(tmp_path):
    artifacts, steps = LocalArtifacts(tmp_path), []

    async def score(request):
        return measured(request)

    async def finish(step):
        steps.append(step)
        return (await step.work(SimpleNamespace(artifacts=artifacts, score=score))).value

    recipe = Recipe(
        name="r",
        description="",
        stages=("storyboard", "video", "stitch", "quality"),
        quality_dimensions=("text_alignment", "product_similarity", "boundary_similarity", "ad.first_product"),
        quality_gate=QualityGate(minimums={"text_alignment": 0.71}),
    )
    brief = SimpleNamespace(prompt="a red bottle", duration=1, aspect_ratio="16:9")
    context: Any = SimpleNamespace(
        recipe=recipe, finish=finish, direction=Direction(), fingerprints={"scorer": "x"}, brief=brief
    )
    scenes: Any = tuple(
        SimpleNamespace(scene_number=number, image_prompt="red", video_prompt="red", content="a bottle")
        for number in (1, 2)
    )
    clips = tuple(
        Clip(scene_number=number, artifact=artifacts.put(data, "video/mp4").sha256, num_frames=4, native_fps=8)
        for number, data in enumerate((encode_clip(np.stack([picture()] * 4), 8),) * 2, start=1)
    )
    stored = artifacts.put(encode_png(REFERENCE), "image/png").sha256
    reference = BriefReference(artifact=stored, role="product", filename="red.png")
    film = encode_clip(np.stack([EMPTY] * 4 + [picture()] * 4), 8)
    video: Any = SimpleNamespace(artifact=artifacts.put(film, "video/mp4").sha256)
    scores = await score_video(context, scenes, (), clips, video, Subjects((), (reference,)), frozenset({2}), "a story")
    assert [step.name for step in steps][-3:] == ["quality/final", "quality/summary", "quality/across"]
    assert [score.raw for score in scores if score.metric_id == "admint.ad.first_product"] == [0.5]
    across = {score.metric_id: score for score in scores if score.scene_number is None and score.raw is not None}
    assert across["admint.product_similarity"].raw == pytest.approx(1.0, abs=0.02)
    assert across["admint.boundary_similarity"].raw == pytest.approx(1.0, abs=0.01)
    assert across["admint.product_colour"].frames_used == 2
    inputs = steps[-1].inputs
    assert inputs["minimum"] == 0.71 and [each["continues"] for each in inputs["scenes"]] == [False, True]
