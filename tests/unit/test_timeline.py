from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec import VideoModelSpec
from pipelines.recipe import Transitions
from pipelines.timeline import blend_plan, choose_transition, native_frames, plan_timeline, resample

SETTINGS = Transitions()
KINDS = st.sampled_from(["crossfade", "cut", "fade"])


@st.composite
def edits(draw):
    slots = tuple(draw(st.lists(st.integers(1, 150), min_size=1, max_size=12)))
    transitions = tuple(draw(KINDS) for _ in slots[1:])
    return slots, transitions, draw(st.sampled_from([8, 12, 24, 25, 30]))


def video_model(native_fps=8, max_frames=16, frame_multiple=1):
    return VideoModelSpec(
        kind="video",
        name="test",
        family="animatediff",
        licence="Apache-2.0",
        vram_gb=0,
        sizes={"9:16": (72, 128)},
        num_inference_steps=4,
        guidance_scale=1.0,
        references=0,
        native_fps=native_fps,
        max_frames=max_frames,
        frame_multiple=frame_multiple,
    )


@given(edits())
def test_every_edit_has_exactly_as_many_frames_as_its_slots(edit):
    slots, transitions, fps = edit
    timeline = plan_timeline(slots, transitions, SETTINGS, fps)
    plan = list(blend_plan(timeline))
    assert timeline.frames == len(plan) == sum(slots)


@given(edits())
def test_every_clip_is_used_from_its_first_to_its_last_frame_once_and_in_order(edit):
    slots, transitions, fps = edit
    timeline = plan_timeline(slots, transitions, SETTINGS, fps)
    used: dict[int, list[int]] = {index: [] for index in range(len(slots))}
    for layers in blend_plan(timeline):
        for layer in layers:
            used[layer.segment].append(layer.frame)
    for index, segment in enumerate(timeline.segments):
        assert used[index] == list(range(segment.clip_frames))


@given(edits())
def test_the_weights_of_a_frame_add_up_to_one_except_in_a_dip_to_black(edit):
    slots, transitions, fps = edit
    for layers in blend_plan(plan_timeline(slots, transitions, SETTINGS, fps)):
        total = sum(layer.weight for layer in layers)
        assert total == pytest.approx(1.0) or ("fade" in transitions and len(layers) == 1 and 0 <= total < 1)


def test_a_crossfade_overlaps_half_a_second_around_the_boundary_and_never_shows_one_scene_alone():
    timeline = plan_timeline((72, 72), ("crossfade",), SETTINGS, 24)
    assert [segment.clip_frames for segment in timeline.segments] == [78, 78]
    plan = list(blend_plan(timeline))
    assert [len(layers) for layers in plan] == [1] * 66 + [2] * 12 + [1] * 66
    rising = [layers[1].weight for layers in plan[66:78]]
    assert rising == pytest.approx([(step + 1) / 13 for step in range(12)])


def test_a_fade_dips_to_black_at_the_boundary_without_overlap():
    timeline = plan_timeline((72, 72), ("fade",), SETTINGS, 24)
    assert [segment.clip_frames for segment in timeline.segments] == [72, 72]
    weights = [layers[0].weight for layers in blend_plan(timeline)]
    assert weights[71] == weights[72] == 0.0
    assert weights[62] == 0.9 and weights[61] == 1.0
    assert weights[81] == 0.9 and weights[82] == 1.0


def test_a_cut_needs_no_handles():
    timeline = plan_timeline((10, 20), ("cut",), SETTINGS, 24)
    assert [segment.clip_frames for segment in timeline.segments] == [10, 20]


def test_a_short_slot_shortens_its_crossfade_and_a_slot_of_one_frame_makes_it_a_cut():
    short = plan_timeline((72, 4, 72), ("crossfade", "crossfade"), SETTINGS, 24)
    assert [segment.clip_frames for segment in short.segments] == [74, 8, 74]
    single = plan_timeline((72, 1), ("crossfade",), SETTINGS, 24)
    assert [segment.clip_frames for segment in single.segments] == [72, 1]


@pytest.mark.parametrize(("slots", "transitions"), [((10, 10), ()), ((10,), ("cut",)), ((10, 0), ("cut",))])
def test_slots_and_transitions_that_do_not_fit_are_refused(slots, transitions):
    with pytest.raises(ValueError, match="do not make a timeline"):
        plan_timeline(slots, transitions, SETTINGS, 24)


@pytest.mark.parametrize(
    ("score", "transition"),
    [
        (100, "crossfade"),
        (85, "crossfade"),
        (84.9, "cut"),
        (70, "cut"),
        (69.9, "fade"),
        (0, "fade"),
        (None, "cut"),
    ],
)
def test_the_transition_follows_the_cohesors_score(score, transition):
    assert choose_transition(score, SETTINGS) == transition


def test_native_frames_cover_the_slot_at_the_models_own_rate():
    assert native_frames(24, 24, video_model()).num_frames == 9
    assert native_frames(1, 24, video_model()).num_frames == 1


def test_more_frames_than_the_model_makes_re_times_the_clip():
    length = native_frames(120, 24, video_model())
    assert (length.num_frames, length.retimed) == (16, True)


def test_frame_counts_obey_the_models_multiple():
    wan = video_model(native_fps=16, max_frames=81, frame_multiple=4)
    assert native_frames(78, 24, wan).num_frames == 53
    longest = native_frames(2000, 24, wan)
    assert (longest.num_frames, longest.retimed) == (81, True)


@given(
    st.integers(1, 400),
    st.integers(8, 30),
    st.integers(4, 30),
    st.integers(1, 129),
    st.sampled_from([1, 4, 8]),
)
def test_native_counts_are_always_allowed_and_cover_the_need_unless_re_timed(count, fps, native, most, step):
    length = native_frames(count, fps, video_model(native, most, step))
    assert 1 <= length.num_frames <= most
    assert (length.num_frames - 1) % step == 0
    assert length.retimed or (length.num_frames - 1) / native >= (count - 1) / fps - 1e-9


def moving(count):
    frames = np.zeros((count, 4, 4, 3), np.uint8)
    for number in range(count):
        frames[number] = number * 10
    return frames


def test_as_many_frames_as_asked_for_pass_through_untouched():
    frames = moving(9)
    assert np.array_equal(resample(frames, 9), frames)


def test_slow_motion_blends_neighbours_evenly_between_the_first_and_the_last_frame():
    values = resample(moving(3), 5)[:, 0, 0, 0]
    assert values.tolist() == [0, 5, 10, 15, 20]


def test_surplus_frames_are_dropped_without_blending():
    values = resample(moving(9), 4)[:, 0, 0, 0]
    assert values.tolist() == [0, 30, 50, 80]


@given(st.integers(1, 25), st.integers(1, 60))
def test_re_timing_keeps_the_first_and_the_last_frame(native, count):
    frames = moving(native)
    result = resample(frames, count)
    assert len(result) == count
    assert np.array_equal(result[0], frames[0])
    assert count == 1 or np.array_equal(result[-1], frames[-1])
