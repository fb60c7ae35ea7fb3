"""RAFT against its formulas, written as loops; and what must not change its result."""

import math

import pytest
import torch
import torch.nn.functional as F

from models.scorers import raft
from models.scorers.raft import LEVELS, RADIUS, Raft, correlation_of, enlarged, grid

SIDE = 2 * RADIUS + 1


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(1)
    return Raft(8).eval()


def images(count, height=128, width=136, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def looked_up_by_hand(first, second, at):
    """One cell's comparisons: each level, then each step in x, then each step in y."""
    channels = first.shape[0]
    found = []
    for level in range(LEVELS):
        size = 2**level
        rows, columns = second.shape[1] // size, second.shape[2] // size
        means = torch.zeros(channels, rows, columns)
        for row in range(rows):
            for column in range(columns):
                block = second[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
                means[:, row, column] = block.mean(dim=(1, 2))
        for step_x in range(-RADIUS, RADIUS + 1):
            for step_y in range(-RADIUS, RADIUS + 1):
                x, y = at[0] / size + step_x, at[1] / size + step_y
                value = 0.0
                for column in (math.floor(x), math.floor(x) + 1):
                    for row in (math.floor(y), math.floor(y) + 1):
                        if 0 <= column < columns and 0 <= row < rows:
                            weight = (1 - abs(x - column)) * (1 - abs(y - row))
                            value += weight * float(first @ means[:, row, column]) / channels**0.5
                found.append(value)
    return torch.tensor(found)


ALL = 4 * 16 * 17 * (16 * 17 + 8 * 8 + 4 * 4 + 2 * 2)
"""Bytes of every level between two images of 16 by 17 cells."""


@pytest.mark.parametrize("limit", [ALL, ALL - 1, 4 * 16 * 17 * 20, 0], ids=["kept", "finest computed", "two", "none"])
def test_a_comparison_is_the_bilinear_mean_of_dot_products(limit, monkeypatch):
    monkeypatch.setattr(raft, "VOLUME_BYTES", {"cpu": limit})
    monkeypatch.setattr(raft, "PIECE", 3 * 17)
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(2, 1, 6, 16, 17, generator=generator)
    matched = grid(first) + torch.randn(1, 2, 16, 17, generator=generator) * 3
    found = correlation_of(first, second)(matched)
    assert found.shape == (1, LEVELS * SIDE * SIDE, 16, 17)
    for row, column in ((0, 0), (7, 9), (15, 16)):
        by_hand = looked_up_by_hand(first[0, :, row, column], second[0], matched[0, :, row, column].tolist())
        torch.testing.assert_close(found[0, :, row, column], by_hand, atol=1e-5, rtol=1e-5)


def test_each_fine_pixel_is_a_convex_combination_of_nine_cells():
    generator = torch.Generator().manual_seed(3)
    flow, weights = torch.randn(1, 2, 3, 4, generator=generator), torch.randn(1, 9 * 64, 3, 4, generator=generator)
    found = enlarged(flow, weights)
    assert found.shape == (1, 2, 24, 32)
    shares = weights.view(9, 8, 8, 3, 4).softmax(dim=0)
    for y, x in ((0, 0), (9, 20), (23, 31)):
        row, column = y // 8, x // 8
        by_hand = torch.zeros(2)
        for number in range(9):
            near_row, near_column = row + number // 3 - 1, column + number % 3 - 1
            if 0 <= near_row < 3 and 0 <= near_column < 4:
                by_hand += shares[number, y % 8, x % 8, row, column] * 8 * flow[0, :, near_row, near_column]
        torch.testing.assert_close(found[0, :, y, x], by_hand)


def test_a_flow_that_is_equal_everywhere_stays_equal_inside():
    flow = torch.tensor([1.5, -0.5]).view(1, 2, 1, 1).expand(1, 2, 5, 6)
    inside = enlarged(flow, torch.randn(1, 9 * 64, 5, 6))[..., 8:-8, 8:-8]
    torch.testing.assert_close(inside, (8 * flow[:, :, :1, :1]).expand_as(inside))


@torch.inference_mode()
def test_neither_the_batch_nor_the_way_of_comparing_changes_the_flow(tiny, monkeypatch):
    first, second = images(3), images(3, seed=1)
    together = tiny(first, second)
    assert together.shape == (3, 2, 128, 136)
    largest = float(together.abs().max())
    alone = torch.cat([tiny(first[n : n + 1], second[n : n + 1]) for n in range(3)])
    torch.testing.assert_close(alone, together, atol=1e-6 * largest, rtol=1e-6)
    for limit in (raft.VOLUME_BYTES["cuda"], 0):
        monkeypatch.setattr(raft, "VOLUME_BYTES", {"cpu": limit})
        torch.testing.assert_close(tiny(first, second), together, atol=1e-6 * largest, rtol=1e-6)


@torch.inference_mode()
def test_matches_anywhere_or_nowhere_are_looked_up_alike_in_a_kept_and_in_a_computed_volume(monkeypatch):
    generator = torch.Generator().manual_seed(4)
    first, second = torch.randn(2, 1, 6, 24, 17, generator=generator)
    far = torch.rand(1, 2, 24, 17, generator=generator) * 80 - 30
    whole = grid(first).clone()
    whole[0, :, 5, 5], whole[0, :, 9, 9] = torch.nan, torch.inf
    for matched in (far, whole, grid(first) - 1000, far.round()):
        found = []
        for limit in (2**20, 0):
            monkeypatch.setattr(raft, "VOLUME_BYTES", {"cpu": limit})
            look_up = correlation_of(first, second)
            look_up(far.flip(3))  # what it leaves must not be read
            found.append(look_up(matched))
        torch.testing.assert_close(*found, atol=1e-6, rtol=1e-6, equal_nan=True)


@torch.inference_mode()
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_by_strips_is_that_of_the_whole(stride):
    conv = raft._Strips(5, 7, 3, stride=stride, padding=1)
    x = torch.randn(2, 5, 2 * raft._Strips.ROWS + 11, 20, generator=torch.Generator().manual_seed(6))
    whole = F.conv2d(x, conv.weight, conv.bias, stride, padding=1)
    torch.testing.assert_close(conv(x), whole, atol=1e-6, rtol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("side", [8, 64, 120])
def test_pictures_on_which_the_coarsest_level_would_vanish_are_refused(tiny, side):
    with pytest.raises(ValueError, match="at least 128 pixels"):
        tiny(images(1, side, 136), images(1, side, 136, seed=1))


@torch.inference_mode()
def test_flow_is_finite_from_the_least_side_on(tiny):
    assert tiny(images(1, 128, 128), images(1, 128, 128, seed=1)).isfinite().all()
