"""Reads setting, colour and shape back from a picture by classical means: the family must not grade itself.

Knows the renderer (palettes, templates, backdrops) and no model. The setting is the nearest backdrop by its coarse
border; colour and shape together are the product template that raises the likelihood of the pixels most, under colour
histograms of bodies and of the setting.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from math import log, radians

import cv2
import numpy as np
from numpy.typing import NDArray

from models.sketch.training.world.drawing import Array
from models.sketch.training.world.render import render_layers
from models.sketch.training.world.spec import COLOURS, SETTINGS, SHAPES, sample_spec
from models.video.camera import PAN, ROLL, TILT, ZOOM

BENCHMARK_MOVES = ("static", "push_in", "pull_back", "pan_left", "pan_right")
_ENLARGE = 4
"""DIS flow needs larger pictures than ours."""
STRIDE = 3
"""Frames per measured step: single frames move by less than the flow resolves (slow zooms read as standing still)."""

_SIGNATURES = {
    "static": (0, 0, 0, 0),
    "push_in": (0, 0, 1, 0),
    "pull_back": (0, 0, -1, 0),
    "pan_left": (1, 0, 0, 0),
    "pan_right": (-1, 0, 0, 0),
    "tilt_up": (0, 1, 0, 0),
    "tilt_down": (0, -1, 0, 0),
    "orbit": (0, 0, 0.2, -1),
}
"""What the picture does over a whole move: right, down, larger, turned; one is a full travel of the camera."""


def travel(frames: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """The clip's motion in the units of the signatures, from frame-to-frame flow and a similarity fit."""
    height, width = frames.shape[1:3]
    grey = [
        cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), None, fx=_ENLARGE, fy=_ENLARGE, interpolation=cv2.INTER_CUBIC)
        for f in frames
    ]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    total = np.eye(3)
    stops = grey[::STRIDE] + ([grey[-1]] if (len(grey) - 1) % STRIDE else [])
    for here, after in itertools.pairwise(stops):
        total = _similarity(dis.calc(here, after, None)) @ total
    centre = np.array([width * _ENLARGE / 2, height * _ENLARGE / 2, 1.0])
    dx, dy = (total @ centre - centre)[:2] / _ENLARGE
    zoom, roll = float(np.hypot(total[0, 0], total[1, 0])), float(np.arctan2(total[1, 0], total[0, 0]))
    zoomed = log(max(zoom, 1e-3)) / log(ZOOM)
    return float(dx / (PAN * width)), float(dy / (TILT * height)), zoomed, roll / radians(ROLL)


def _similarity(flow: NDArray[np.float32]) -> NDArray[np.float64]:
    """The robust similarity that explains most of a flow field."""
    ys, xs = np.mgrid[6 : flow.shape[0] - 6 : 6, 6 : flow.shape[1] - 6 : 6]
    points = np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float32)
    matrix, _ = cv2.estimateAffinePartial2D(points, points + flow[ys.ravel(), xs.ravel()], ransacReprojThreshold=1.0)
    out = np.eye(3)
    if matrix is not None:
        out[:2] = matrix
    return out


def recovered_move(frames: NDArray[np.uint8], among: tuple[str, ...] = BENCHMARK_MOVES) -> str:
    """The move whose signature lies nearest."""
    seen = np.array(travel(frames))
    return min(among, key=lambda m: float(np.abs(seen - np.array(_SIGNATURES[m])).sum()))


SCALES = (0.46, 0.52, 0.58, 0.64, 0.7, 0.76)
SIDE = 64
BINS = (12, 24, 24)
CLIP = 2.5
"""Bound of one pixel's log likelihood ratio, so that no small patch decides."""
BANK = 2400
RIM = 0.35
_FITTING = "fitting"


@dataclass(frozen=True)
class Verdict:
    setting: str
    colour: str
    shape: str
    centre: tuple[float, float]
    """Of the product, in half short sides from the middle of the picture."""


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The central square at 64 pixels: the same part of the world in every aspect."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = picture[top : top + side, left : left + side]
    return np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)


def _border(picture: NDArray[np.uint8]) -> Array:
    """Coarse colours of the central square without its middle, where the product is."""
    coarse = cv2.resize(_square(picture), (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32)
    keep = np.ones((8, 8), bool)
    keep[2:7, 2:6] = False
    return np.asarray(coarse[keep].ravel())


def _cells(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Index of each pixel's histogram cell in Lab."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.int64)
    scaled = lab * np.array(BINS) // 256
    return np.asarray((scaled[..., 0] * BINS[1] + scaled[..., 1]) * BINS[2] + scaled[..., 2], np.int64)


def _log_density(counts: Array) -> Array:
    """A smoothed histogram as log densities."""
    cube = counts.reshape(BINS)
    for axis in range(3):
        cube = 0.5 * cube + 0.25 * (np.roll(cube, 1, axis) + np.roll(cube, -1, axis))
    return np.asarray(np.log(cube.ravel() / cube.sum() + 1e-5), np.float32)


@dataclass(frozen=True)
class _Template:
    shape: str
    body: Array
    """Coverage of the coloured parts, less a share of the rim around the product, which should be background."""
    fittings: Array
    """Coverage of lids, soles, straps' cases: whatever is never in the product's colour."""


class Judge:
    """Built from a few thousand renders of the training split."""

    def __init__(self, seed: int = 99, bank: int = BANK) -> None:
        rng = np.random.default_rng(seed)
        counts = {name: np.zeros(BINS[0] * BINS[1] * BINS[2], np.float32) for name in (*COLOURS, *SETTINGS, _FITTING)}
        borders, names = [], []
        for _ in range(bank):
            spec = sample_spec(rng)
            picture, cover = render_layers(spec)
            index = _cells(picture)
            fitting = cover[..., 0] - cover[..., 1]
            for name, where in (
                (spec.colour, cover[..., 1] > 0.9),
                (spec.setting, cover[..., 0] < 0.1),
                (_FITTING, fitting > 0.9),
            ):
                counts[name] += np.bincount(index[where], minlength=counts[name].size)
            borders.append(_border(picture))
            names.append(spec.setting)
        self._density = {name: _log_density(v) for name, v in counts.items()}
        self._borders, self._names = np.stack(borders), np.array(names)
        self._templates = [_template(shape, scale) for shape in SHAPES for scale in SCALES]

    def setting(self, picture: NDArray[np.uint8]) -> str:
        """Majority among the five nearest backdrops."""
        distance = np.abs(self._borders - _border(picture)).mean(1)
        near = self._names[np.argsort(distance)[:5]]
        return max(SETTINGS, key=lambda s: int((near == s).sum()))

    def judge(self, picture: NDArray[np.uint8]) -> Verdict:
        """Best template over colours; then the colour that explains the pixels under it best, without a bound."""
        setting = self.setting(picture)
        index = _cells(_square(picture))
        ground = self._density[setting][index]
        fitting = np.clip(self._density[_FITTING][index] - ground, -CLIP, CLIP)
        fits = [cv2.matchTemplate(fitting, t.fittings, cv2.TM_CCORR) for t in self._templates]
        best, found = -np.inf, (self._templates[0], (0, 0))
        for name in COLOURS:
            ratio = np.clip(self._density[name][index] - ground, -CLIP, CLIP)
            for template, fit in zip(self._templates, fits, strict=True):
                _, score, _, place = cv2.minMaxLoc(cv2.matchTemplate(ratio, template.body, cv2.TM_CCORR) + fit)
                if score > best:
                    best, found = score, (template, (int(place[0]), int(place[1])))
        template, (left, top) = found
        height, width = template.body.shape
        centre = ((left + width / 2) / (SIDE / 2) - 1, (top + height / 2) / (SIDE / 2) - 1)
        return Verdict(setting, self._colour(index, template, (left, top)), template.shape, centre)

    def _colour(self, index: NDArray[np.int64], template: _Template, place: tuple[int, int]) -> str:
        height, width = template.body.shape
        under = index[place[1] : place[1] + height, place[0] : place[0] + width]
        inside = template.body > 0.9
        return max(COLOURS, key=lambda c: float(self._density[c][under[inside]].sum()))


def _template(shape: str, scale: float) -> _Template:
    """One product at one size, cropped to itself and its rim."""
    spec = sample_spec(np.random.default_rng(0), aspect="1:1")
    spec = replace(spec, shape=shape, scale=scale, x=0.0, ground=0.6, camera="static", setting="studio")
    cover = render_layers(spec)[1]
    rim = _rim(cover[..., 0])
    rows, columns = np.nonzero(cover[..., 0] + rim > 0.02)
    crop = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    body = cover[..., 1] - RIM * rim
    fittings = cover[..., 0] - cover[..., 1]
    return _Template(shape, np.ascontiguousarray(body[crop]), np.ascontiguousarray(fittings[crop]))


def _rim(cover: Array) -> Array:
    """A band around the product: what lies there should not look like it."""
    wide = cv2.dilate(cover, np.ones((7, 7), np.uint8))
    return np.asarray(np.clip(wide - cover, 0, 1), np.float32)
