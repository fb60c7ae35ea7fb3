"""MUSIQ against its formulas: patches, places, standardised kernels; and what must not change its result."""

import pytest
import torch
import torch.nn.functional as F

from models.scorers import musiq
from models.scorers.musiq import Musiq, layout, patches_of, same
from tests.support.published_weights import loaded, published


@pytest.fixture(scope="module")
def tiny():
    described = layout(width=64, blocks=2)
    return loaded(Musiq(64, 2), described, published(described))


def pyramid(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, 3, *size, generator=generator) * 2 - 1 for size in ((126, 224), (216, 384), (50, 70))]


def test_patches_lie_row_by_row_with_the_lack_filled_on_both_sides():
    picture = torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(1))
    patches, position = patches_of(picture)
    assert patches.shape == (1, 2 * 3, 3, 32, 32)
    whole = torch.zeros(3, 64, 96)
    whole[:, 7:57, 13:83] = picture[0]  # 14 rows and 26 columns lack
    for number in range(6):
        row, column = divmod(number, 3)
        own = whole[:, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        torch.testing.assert_close(patches[0, number], own, atol=0, rtol=0)
    assert position.tolist() == [0, 3, 6, 50, 53, 56]  # floor(10 * row / 2) * 10 + floor(10 * column / 3)


def test_places_run_over_the_whole_grid_in_order():
    for patches in (1, 7, 12, 26, 60):
        _, position = patches_of(torch.zeros(1, 3, 32, 32 * patches))
        assert position.tolist() == [10 * column // patches for column in range(patches)]


@pytest.mark.parametrize(
    ("length", "side", "stride", "lack"), [(32, 7, 2, (2, 3)), (16, 3, 2, (0, 1)), (8, 3, 1, (1, 1))]
)
def test_padding_is_that_of_tensorflow(length, side, stride, lack):
    padded = same(torch.ones(1, 1, length, length), side, stride)
    assert padded.shape[-1] == length + sum(lack)
    assert padded[0, 0, length // 2].tolist() == [0.0] * lack[0] + [1.0] * length + [0.0] * lack[1]


def test_a_kernel_is_used_with_mean_0_and_deviation_1():
    conv = musiq._StandardConv(3, 4, 3)
    x = torch.rand(1, 3, 8, 8)
    kernel = conv.weight.detach().clone()
    for number in range(4):
        kernel[number] -= kernel[number].mean()
        kernel[number] /= kernel[number].pow(2).mean().sqrt() + 1e-5
    with torch.no_grad():
        found = conv(x)
    torch.testing.assert_close(found, F.conv2d(F.pad(x, (1, 1, 1, 1)), kernel), atol=1e-5, rtol=1e-5)
    with torch.no_grad():  # so that scale and offset of what was trained do not count
        conv.weight.mul_(3).add_(1)
        torch.testing.assert_close(conv(x), found, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_neither_the_batch_nor_the_pieces_change_a_score(tiny, monkeypatch):
    pictures = pyramid(3)
    together = tiny(pictures)
    assert together.shape == (3,)
    assert len(set(together.tolist())) == 3
    alone = torch.cat([tiny([level[n : n + 1] for level in pictures]) for n in range(3)])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=1e-6)
    monkeypatch.setattr(musiq, "PIECE", 5)
    torch.testing.assert_close(tiny(pictures), together, atol=1e-6, rtol=1e-6)


@torch.inference_mode()
def test_every_size_and_every_place_counts(tiny):
    pictures = pyramid(1)
    before = float(tiny(pictures))
    for level in range(3):
        changed = [each.clone() for each in pictures]
        changed[level][..., :20, :20] *= -1
        assert abs(float(tiny(changed)) - before) > 1e-5
    turned = [each.flip(-1) for each in pictures]
    assert abs(float(tiny(turned)) - before) > 1e-5


@torch.inference_mode()
def test_a_padded_token_that_is_masked_would_change_nothing(tiny):
    """The published code fills the smaller sizes up to a fixed count of masked tokens; here there are none."""
    block, x = tiny.blocks[0], torch.randn(1, 5, 64)
    y = block.attention_norm(torch.cat([x, torch.randn(1, 4, 64)], dim=1))
    query, key, value = (part(y) for part in (block.query, block.key, block.value))
    mask = torch.tensor([0.0] * 5 + [-1e3] * 4)
    attended = ((query @ key.transpose(1, 2)) / 8 + mask).softmax(dim=-1) @ value
    by_hand = x + block.out(attended[:, :5])
    torch.testing.assert_close(block(x), by_hand + block.layers(block.layers_norm(by_hand)), atol=1e-5, rtol=1e-5)
