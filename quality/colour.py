"""Colours as people tell them apart: sRGB to CIELAB, the CIEDE2000 difference, and the main colours of a picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality.stream import Pixels

Lab = npt.NDArray[np.float64]
"""Shape (..., 3): L* 0..100, a*, b*, for the white of D65."""

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""IEC 61966-2-1."""
_WHITE = _TO_XYZ.sum(axis=1)
COLOURS = 3
"""Main colours of a picture: a product's body, its fittings and its highlights."""
ROUNDS = 12
MOST_PIXELS = 4096


def lab(pixels: Pixels) -> Lab:
    """CIELAB of sRGB pixels 0..255, shape (..., 3)."""
    share = pixels.astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(one: Lab, other: Lab) -> npt.NDArray[np.float64]:
    """The CIEDE2000 difference of colours: 0 the same, about 1 just seen, 100 black to white. Shapes broadcast.

    Formula: Sharma, Wu, Dalal, "The CIEDE2000 Color-Difference Formula", Color Research and Application 30, 2005, with
    kL = kC = kH = 1.
    """
    l1, a1, b1 = (one[..., place] for place in range(3))
    l2, a2, b2 = (other[..., place] for place in range(3))
    mean_chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1 = np.degrees(np.arctan2(b1, stretch * a1)) % 360
    h2 = np.degrees(np.arctan2(b2, stretch * a2)) % 360
    grey = c1 * c2 == 0
    turn = np.where(grey, 0.0, (h2 - h1 + 180) % 360 - 180)
    turn = np.where(~grey & (h2 - h1 == 180), 180.0, turn)
    lightness, chroma = l2 - l1, c2 - c1
    hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    total = h1 + h2
    apart = np.abs(h1 - h2) > 180
    mean_h = np.where(grey, total, np.where(apart, np.where(total < 360, total + 360, total - 360), total) / 2)
    weight = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * weight
    bend = 30 * np.exp(-(((mean_h - 275) / 25) ** 2))
    rotation = -np.sin(np.radians(2 * bend)) * 2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    l_part, c_part, h_part = lightness / s_l, chroma / s_c, hue / s_h
    found: npt.NDArray[np.float64] = np.sqrt(
        np.maximum(l_part**2 + c_part**2 + h_part**2 + rotation * c_part * h_part, 0.0)
    )
    return found


class Palette(NamedTuple):
    """The main colours of a picture, the largest first."""

    colours: Lab
    """Shape (colours, 3)."""
    shares: npt.NDArray[np.float64]
    """Of the pixels, shape (colours,), sum 1."""


def palette(colours: Lab) -> Palette:
    """The main colours of `colours`, shape (pixels, 3) with at least one: k-means in CIELAB, k = COLOURS.

    Deterministic: it starts from the mean and then always from the colour that is farthest from those it has.
    """
    some = colours[:: -(-len(colours) // MOST_PIXELS)]
    centres = some.mean(axis=0)[None]
    nearest = ((some - centres[0]) ** 2).sum(axis=1)
    for _ in range(COLOURS - 1):
        centres = np.vstack([centres, some[int(nearest.argmax())]])
        nearest = np.minimum(nearest, ((some - centres[-1]) ** 2).sum(axis=1))
    for _ in range(ROUNDS):
        belongs = ((some[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.array(
            [some[belongs == place].mean(axis=0) if (belongs == place).any() else centre
             for place, centre in enumerate(centres)]
        )  # fmt: skip
    counts = np.bincount(belongs, minlength=COLOURS)
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    return Palette(centres[order], counts[order] / len(some))


def palette_difference(one: Palette, other: Palette) -> float:
    """How far each main colour is from the nearest one of the other palette, by share, the mean of both directions."""
    apart = ciede2000(one.colours[:, None], other.colours[None])
    there, back = one.shares @ apart.min(axis=1), other.shares @ apart.min(axis=0)
    return float((there + back) / 2)
