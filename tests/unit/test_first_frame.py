"""The image condition of a clip: coarse in the first steps, whole from then on."""

import pytest
import torch

from models.video.first_frame import CoarseFirst, coarse

WHOLE = torch.randn(2, 5, 3, 10, 20, generator=torch.Generator().manual_seed(1))


def test_fine_detail_goes_and_what_is_coarse_stays():
    fine = torch.ones(10, 20)
    fine[::2] = -1
    ramp = torch.linspace(-1, 1, 20).expand(10, 20)
    condition = torch.stack([fine, fine, ramp])[None, :, None].expand(1, 3, 2, 10, 20)
    seen = coarse(condition, 2)
    assert torch.equal(seen[:, 0], condition[:, 0]), "the mask stays as it is"
    assert float(seen[:, 1].abs().mean()) < 0.1
    assert float((seen[:, 2] - condition[:, 2])[..., 3:-3].abs().max()) < 0.05


def test_frames_and_items_are_filtered_one_by_one():
    seen = coarse(WHOLE, 4)
    assert seen.shape == WHOLE.shape
    assert torch.equal(seen[1:, :, 2:], coarse(WHOLE[1:, :, 2:], 4))


@pytest.mark.parametrize(("until", "steps", "early"), [(0.1, 10, 1), (0.2, 10, 2), (0.15, 12, 2), (0.01, 4, 1)])
def test_the_first_share_of_the_steps_sees_the_coarse_condition(until, steps, early):
    held = CoarseFirst()
    seen = held.begin(WHOLE, 4, until)
    was = []
    for done in range(steps):
        if done:
            held.before_step(done, steps)
        was.append(torch.equal(seen, WHOLE))
    assert was == [False] * early + [True] * (steps - early)


def test_without_a_share_the_condition_is_the_whole_one_itself():
    assert CoarseFirst().begin(WHOLE, 4, 0.0) is WHOLE
