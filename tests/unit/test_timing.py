import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import BadInput
from pipelines.timing import BEATS, plan_slots

frameworks = st.sampled_from(sorted(BEATS))
durations = st.integers(9, 60)
rates = st.sampled_from((8, 16, 24, 25, 30))


def check(slots, duration, fps):
    assert sum(slot.frames for slot in slots) == duration * fps
    assert all(math.ceil(1.5 * fps) <= slot.frames <= 5 * fps for slot in slots)
    assert [slot.scene_number for slot in slots] == list(range(1, len(slots) + 1))


@given(frameworks, durations, rates)
def test_default_slots_fill_every_duration_exactly_with_shots_of_allowed_length(framework, duration, fps):
    slots = plan_slots(framework, duration, fps)
    check(slots, duration, fps)
    assert list(dict.fromkeys(slot.purpose for slot in slots)) == list(BEATS[framework])


@given(frameworks, durations, rates, st.integers(2, 20))
def test_an_asked_number_of_scenes_is_met_exactly_or_refused_with_its_bounds(framework, duration, fps, count):
    total = duration * fps
    possible = count * math.ceil(1.5 * fps) <= total <= count * 5 * fps
    if possible:
        slots = plan_slots(framework, duration, fps, count)
        assert len(slots) == count
        check(slots, duration, fps)
        assert slots[-1].purpose.endswith("Action")
    else:
        with pytest.raises(BadInput, match=rf"num_scenes: {count} cannot fill {duration} s: .* give \d+ to \d+"):
            plan_slots(framework, duration, fps, count)


@pytest.mark.parametrize("framework", sorted(BEATS))
def test_a_fifteen_second_ad_has_one_scene_per_beat(framework):
    slots = plan_slots(framework, 15, 8)
    assert [slot.frames for slot in slots] == [24, 32, 40, 24]
    assert tuple(slot.purpose for slot in slots) == BEATS[framework]


def test_a_long_beat_is_split_into_equal_shots():
    desire = [slot.frames for slot in plan_slots("AIDA", 60, 24) if slot.purpose == "Desire"]
    assert len(desire) == 6
    assert max(desire) - min(desire) <= 1


def test_fewer_scenes_than_beats_join_neighbouring_beats():
    assert [slot.purpose for slot in plan_slots("AIDA", 9, 24, 2)] == [
        "Attention + Interest",
        "Desire + Action",
    ]
