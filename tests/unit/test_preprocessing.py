"""What frames become before a backbone sees them, against direct formulas, and against Pillow where that is meant."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from quality.preprocessing import CLIP, IMAGENET, PREPROCESSINGS, matrix_resized, preprocess

WIDE, TALL, SMALL = (96, 171), (203, 120), (40, 30)
BY_PILLOW = [("vbench.clip224.pil", 224, CLIP), ("i2v.dino.pil", 256, IMAGENET)]
FLOATS = ("vbench.clip224", "vbench.dino224", "i2v.dino")
TENSORS = sorted(
    name for name in PREPROCESSINGS if not name.startswith(("hf.", "musiq.", "as_is", "transnetv2", "dinov2"))
)


def frames(size, count=2):
    rng = np.random.default_rng(sum(size))
    return torch.from_numpy(rng.integers(0, 256, (count, 3, *size), dtype=np.uint8))


def cubic(x, a):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def linear(x):
    return max(0.0, 1 - abs(x))


def matrix(before, after, kernel, reach, antialias=False):
    """Resampling of one axis, weight by weight: edges repeated, or left out with antialias."""
    found = np.zeros((after, before))
    scale = before / after
    stretch = max(1.0, scale) if antialias else 1.0
    for row in range(after):
        centre = (row + 0.5) * scale - 0.5
        for place in range(math.floor(centre - reach * stretch), math.ceil(centre + reach * stretch) + 1):
            weight = kernel((place - centre) / stretch)
            if not antialias:
                found[row, min(max(place, 0), before - 1)] += weight
            elif 0 <= place < before:
                found[row, place] += weight
    return found / found.sum(axis=1, keepdims=True)


def resized(pixels, size, kernel, reach, antialias=False):
    down, across = (
        matrix(before, after, kernel, reach, antialias) for before, after in zip(pixels.shape[-2:], size, strict=True)
    )
    return down @ pixels.double().numpy() @ across.T


def furthest(found, expected):
    """The largest difference between two arrays."""
    return float(np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64)).max())


def normalised(pixels, by):
    mean, deviation = (np.array(each).reshape(3, 1, 1) for each in by)
    return (pixels / 255 - mean) / deviation


def shorter_to(size, shorter):
    return tuple(shorter if side == min(size) else int(shorter * side / min(size)) for side in size)


def middle(pixels, side):
    top, left = (round((length - side) / 2) for length in pixels.shape[-2:])
    return pixels[..., top : top + side, left : left + side]


@pytest.mark.parametrize("size", [WIDE, TALL, SMALL, (224, 224), (600, 400)])
def test_clip_frames_of_vbench_are_bicubic_without_antialias_and_not_clamped(size):
    shown = frames(size)
    direct = resized(shown, shorter_to(size, 224), lambda x: cubic(x, -0.75), 2)
    found = preprocess("vbench.clip224", shown.double())
    assert found.shape == (2, 3, 224, 224)
    assert furthest(found, normalised(middle(direct, 224), CLIP)) < 1e-6
    clamped = preprocess("vbench.clip224.uint8", shown.double())
    # A value that lies at a half before rounding may fall to either side: one level of 255.
    expected = normalised(middle(direct.clip(0, 255).round(), 224), CLIP)
    away = np.abs(clamped.numpy() - expected)
    assert (away > 1e-6).mean() < 1e-4 and away.max() < 1 / 255 / 0.26 + 1e-6


@pytest.mark.parametrize("size", [WIDE, TALL, SMALL])
def test_dino_frames_of_vbench_are_bilinear_and_nothing_is_cut(size):
    shown = frames(size)
    found = preprocess("vbench.dino224", shown.double())
    assert found.shape[-2:] == shorter_to(size, 224)
    direct = resized(shown, shorter_to(size, 224), linear, 1)
    assert furthest(found, normalised(direct, IMAGENET)) < 1e-6


@pytest.mark.parametrize("size", [WIDE, TALL, (400, 300)])
def test_dino_frames_of_vbench_i2v_are_antialiased_and_cut(size):
    shown = frames(size)
    direct = resized(shown, shorter_to(size, 256), lambda x: cubic(x, -0.5), 2, antialias=True)
    found = preprocess("i2v.dino", shown.double())
    assert furthest(found, normalised(middle(direct, 224), IMAGENET)) < 1e-6


@pytest.mark.parametrize(("name", "shorter", "by"), BY_PILLOW)
@pytest.mark.parametrize("size", [WIDE, TALL, SMALL, (480, 832), (224, 227)])
def test_frames_by_pillow_are_equal_to_pillow(name, shorter, by, size):
    shown = frames(size, 1)
    height, width = shorter_to(size, shorter)
    picture = Image.fromarray(shown[0].permute(1, 2, 0).numpy()).resize((width, height), Image.Resampling.BICUBIC)
    expected = normalised(middle(np.asarray(picture).transpose(2, 0, 1).astype(np.float64), 224), by)
    assert furthest(preprocess(name, shown)[0], expected) < 1e-6


@pytest.mark.parametrize("size", [WIDE, TALL, SMALL, (480, 832), (224, 227)])
@pytest.mark.parametrize("to", [(224, 224), (224, 398)])
def test_what_a_card_computes_is_equal_to_pillow(to, size):
    shown = frames(size, 1)
    picture = Image.fromarray(shown[0].permute(1, 2, 0).numpy()).resize(to[::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(matrix_resized(shown, to)[0].permute(1, 2, 0).numpy(), np.asarray(picture))


@pytest.mark.parametrize("size", [(480, 832), TALL])
def test_the_processor_of_a_published_clip_is_the_one_by_pillow(size):
    mean, deviation = CLIP
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, resample=3,
        image_mean=list(mean), image_std=list(deviation),
    )  # fmt: skip
    shown = frames(size, 1)
    own = processor(list(preprocess("hf.clip", shown).numpy()), input_data_format="channels_first", return_tensors="pt")
    assert furthest(own["pixel_values"], preprocess("vbench.clip224.pil", shown).numpy()) < 1e-6


def test_small_networks_take_the_whole_frame_from_minus_one_to_one():
    shown = frames(WIDE, 1)
    picture = Image.fromarray(shown[0].permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BICUBIC)
    expected = (np.asarray(picture).transpose(2, 0, 1).astype(np.float64) - 127) / 128
    away = np.abs(preprocess("lite224", shown)[0].numpy() - expected)
    assert away.max() < 2 / 128 + 1e-6 and (away > 1e-6).mean() < 0.01  # a level, of one value in 200


@pytest.mark.parametrize("size", [WIDE, (300, 700)])
def test_the_pyramid_of_vbench_is_bicubic_from_a_frame_of_at_most_512(size):
    shown = frames(size, 1)
    small, middling, whole = preprocess("musiq.vbench", shown.double())
    scale = min(1.0, 512 / max(size))
    kept = tuple(int(scale * side) for side in size)
    direct = resized(shown, kept, linear, 1) / 127.5 - 1
    assert furthest(whole, direct) < 1e-6
    for side, found in ((224, small), (384, middling)):
        smaller = tuple(round(length * side / max(kept)) for length in kept)
        expected = resized(torch.from_numpy(direct), smaller, lambda x: cubic(x, -0.75), 2)
        assert furthest(found, expected) < 1e-6


@pytest.mark.parametrize("size", [WIDE, (300, 700)])
def test_the_pyramid_of_google_is_gaussian(size):
    shown = frames(size, 1)
    small, middling, whole = preprocess("musiq.google", shown)
    direct = shown.double() / 127.5 - 1
    assert furthest(whole, direct.numpy()) < 1e-6

    def bell(x):
        return math.exp(-2 * x * x) if abs(x) < 1.5 else 0.0

    def inside(before, after):
        """Outside of the picture there is nothing: the weights of what is there are brought to 1."""
        centres = (np.arange(after) + 0.5) * before / after
        weights = np.array([[bell(place + 0.5 - centre) for place in range(before)] for centre in centres])
        return weights / weights.sum(axis=1, keepdims=True)

    for side, found in ((224, small), (384, middling)):
        smaller = tuple(round(length * side / max(size)) for length in size)
        down, across = (inside(before, after) for before, after in zip(size, smaller, strict=True))
        assert furthest(found, down @ direct.numpy() @ across.T) < 1e-6


def test_padding_repeats_the_edges_the_smaller_half_first():
    shown = frames((13, 22))
    found = preprocess("pad8", shown)
    assert (found.shape, found.dtype) == ((2, 3, 16, 24), torch.uint8)
    expected = np.pad(shown.numpy(), ((0, 0), (0, 0), (1, 2), (1, 1)), mode="edge")
    assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize("name", FLOATS)
def test_float32_is_within_the_rounding_of_where_a_pixel_lies(name):
    """At pixel 500 float32 places a pixel to 3e-5, so noise, the worst picture, differs by that much (3.5e-5 seen)."""
    shown = frames(WIDE)
    assert furthest(preprocess(name, shown), preprocess(name, shown.double())) < 1e-4


def test_transnetv2_sees_the_whole_frame_small_and_still_8_bit():
    ramp = torch.arange(96, dtype=torch.uint8).expand(2, 3, 54, 96)
    small = preprocess("transnetv2", ramp)
    assert (small.shape, small.dtype) == ((2, 3, 27, 48), torch.uint8)
    inside = small[0, 0, 13, 3:-3].float()
    assert (inside - (2 * torch.arange(3, 45) + 0.5)).abs().max() <= 0.5  # the mean of each two columns, rounded
    both = frames((33, 57), 2)
    assert preprocess("transnetv2", both)[1].equal(preprocess("transnetv2", both[1:])[0])


@pytest.mark.parametrize("name", TENSORS)
def test_every_frame_is_treated_by_itself_and_stays_finite(name):
    shown = frames((33, 57), 9)
    together = preprocess(name, shown)
    assert len(together) == 9 and together.isfinite().all() and together.is_contiguous()
    assert torch.equal(together[6:7], preprocess(name, shown[6:7]))


@pytest.mark.parametrize("name", [*TENSORS, "transnetv2"])
def test_frames_whose_colours_lie_side_by_side_give_the_same_as_planes(name):
    planes = frames((33, 57), 3)
    beside = planes.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(preprocess(name, beside), preprocess(name, planes))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'vbench.clip' is unknown: choose from .*vbench.clip224"):
        preprocess("vbench.clip", frames(SMALL))
