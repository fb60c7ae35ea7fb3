"""TransNetV2 against its formulas: histograms and neighbours; and what must not change its result."""

import numpy as np
import pytest
import torch

from models.scorers.transnetv2 import REACH, TransNetV2, histograms, layout, neighbours
from tests.support.published_weights import loaded, published


@pytest.fixture(scope="module")
def tiny():
    described = layout(width=2, hidden=8)
    return loaded(TransNetV2(2, 8), described, published(described))


def clip(count, seed=0):
    return torch.randint(0, 256, (count, 27, 48, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_histograms_count_eight_steps_of_each_channel():
    frames = clip(3)
    found = histograms(frames[None])[0]
    for number, frame in enumerate(frames.numpy()):
        by_hand = np.histogramdd(frame.reshape(-1, 3), bins=8, range=[(0, 256)] * 3)[0].ravel()
        np.testing.assert_allclose(found[number].numpy(), by_hand / np.linalg.norm(by_hand), atol=1e-6)


def test_a_frame_is_compared_with_those_before_and_after_it_in_its_window():
    features = torch.randn(1, 7, 5, generator=torch.Generator().manual_seed(1))
    found = neighbours(features)[0]
    assert found.shape == (7, 2 * REACH + 1)
    for frame in range(7):
        for step in range(-REACH, REACH + 1):
            other = frame + step
            wanted = float(features[0, frame] @ features[0, other]) if 0 <= other < 7 else 0.0
            assert float(found[frame, step + REACH]) == pytest.approx(wanted, abs=1e-6)


@torch.inference_mode()
def test_the_batch_changes_nothing(tiny):
    windows = torch.stack([clip(60, seed) for seed in range(2)])
    alone = torch.cat([tiny(windows[:1]), tiny(windows[1:])])
    torch.testing.assert_close(tiny(windows), alone, atol=1e-6, rtol=1e-6)
