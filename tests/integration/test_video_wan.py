"""What only Wan families do: a last frame where the weights take one, and VACE's references as images."""

import numpy as np
import pytest

from models.errors import InvalidRequest
from models.interfaces import AdapterSettings, Unwatched
from models.registry import load
from tests.support import tiny_models
from tests.support.engine_calls import clip, reference, video_request

FIRST = tiny_models.png(1)


@pytest.fixture(scope="module")
def both_ends(tmp_path_factory):
    main = tiny_models.save_wan(tmp_path_factory.mktemp("wan-flf"), last_frame=True)
    return load(tiny_models.video_spec("wan", last_frame=True), {"main": main}, "cpu")


@pytest.fixture(scope="module")
def vace(tmp_path_factory):
    spec = tiny_models.video_spec("wan-vace", frame_multiple=4, references=3, first_frame="optional", last_frame=True)
    return load(spec, tiny_models.video_folders("wan-vace", tmp_path_factory.mktemp("vace")), "cpu")


def test_the_last_frame_reaches_the_clip(both_ends):
    one, other = (clip(both_ends, first_frame=FIRST, last_frame=tiny_models.png(seed)) for seed in (7, 8))
    assert one.shape == (5, 64, 64, 3)
    assert not np.array_equal(one, other)
    assert np.array_equal(one, clip(both_ends, first_frame=FIRST, last_frame=tiny_models.png(7)))


def test_weights_that_need_both_ends_refuse_a_request_with_one(both_ends):
    with pytest.raises(InvalidRequest, match="give last_frame too"):
        clip(both_ends, first_frame=FIRST)


def test_a_spec_cannot_promise_a_last_frame_that_the_weights_do_not_take(tmp_path):
    main = tiny_models.save_wan(tmp_path)
    engine = load(tiny_models.video_spec("wan", last_frame=True), {"main": main}, "cpu")
    with pytest.raises(InvalidRequest, match="cannot end on a given frame"):
        clip(engine, first_frame=FIRST, last_frame=tiny_models.png(2))


def test_a_clip_with_references_has_its_own_frames_only(vace):
    for frames, width, height in ((1, 64, 64), (5, 96, 64), (9, 48, 80)):
        given = {"references": (reference(3),), "first_frame": FIRST}
        assert clip(vace, num_frames=frames, width=width, height=height, **given).shape == (frames, height, width, 3)


def test_a_reference_of_no_strength_is_left_out(vace):
    without = clip(vace, references=(reference(4),))
    assert np.array_equal(clip(vace, references=(reference(3, weight=0.0), reference(4))), without)
    none = clip(vace, references=(reference(3),), adapter=AdapterSettings(scale=0.0))
    assert np.array_equal(none, clip(vace))


def test_a_weight_has_no_effect_and_the_result_says_so(vace):
    whole, half = (
        vace.generate(video_request(references=(reference(3, weight=weight),)), Unwatched()) for weight in (1.0, 0.5)
    )
    assert whole.notes == ()
    assert half.notes[0].startswith("reference 1 acts in full, not with weight 0.5")
    assert np.array_equal(half.frames, whole.frames)
