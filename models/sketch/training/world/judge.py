"""Reads setting, hour, colour and shape back from a picture by classical means: the family must not grade itself.

Setting and hour are those of the nearest scenes of a bank, by what surrounds the product. Colour and shape together are
the product's outline that raises the likelihood of the pixels most, under colour histograms of products and of that
setting at that hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from models.sketch.training.world.canvas import Array
from models.sketch.training.world.products.catalogue import SIDE as VIEW_SIDE
from models.sketch.training.world.products.catalogue import seen
from models.sketch.training.world.render import draft_layers
from models.sketch.training.world.shading import Stand, placed
from models.sketch.training.world.spec import COLOURS, SETTINGS, SHAPES, TIMES, sample_spec

BANK = 1200
"""Scenes that the judge is built from."""
SIDE = 64
"""Pixels of the square that is read."""
SCALES = tuple(float(s) for s in np.geomspace(0.4, 0.95, 8))
TURNS = (-0.3, 0.0, 0.3)
"""Views that are tried, and that the bank shows: each costs a tenth of a second to look at."""
BINS = (12, 24, 24)
CLIP = 2.5
"""Bound of one pixel's log likelihood ratio, so that no small patch decides."""
RIM = 0.35
"""Share of the band around the product that counts against an outline if it looks like the product."""
COARSE = 2
"""Outlines are first tried at half the size."""
FINALISTS = 4
"""Colours that outlines are tried with."""


@dataclass(frozen=True)
class Verdict:
    setting: str
    time: str
    colour: str
    shape: str
    centre: tuple[float, float]
    """Of the product, in half short sides from the middle of the picture."""


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The central square, made small: the same part of the world in every aspect."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = picture[top : top + side, left : left + side]
    return np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _surroundings(square: NDArray[np.uint8]) -> Array:
    """Coarse colours and their spread in cells of the square without its middle, where the product is."""
    lab = cv2.cvtColor(square, cv2.COLOR_RGB2LAB).astype(np.float32)
    mean = cv2.resize(lab, (8, 8), interpolation=cv2.INTER_AREA)
    spread = np.sqrt(np.maximum(cv2.resize(lab * lab, (8, 8), interpolation=cv2.INTER_AREA) - mean * mean, 0))
    keep = np.ones((8, 8), bool)
    keep[2:7, 2:6] = False
    return np.concatenate([mean[keep].ravel(), 0.7 * spread[keep].ravel()])


def _cells(square: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Index of each pixel's histogram cell in Lab."""
    lab = cv2.cvtColor(square, cv2.COLOR_RGB2LAB).astype(np.int64)
    scaled = lab * np.array(BINS) // 256
    return np.asarray((scaled[..., 0] * BINS[1] + scaled[..., 1]) * BINS[2] + scaled[..., 2], np.int64)


def _log_density(counts: Array) -> Array:
    """A smoothed histogram as log densities."""
    cube = counts.reshape(BINS)
    for axis in range(3):
        cube = 0.5 * cube + 0.25 * (np.roll(cube, 1, axis) + np.roll(cube, -1, axis))
    return np.asarray(np.log(cube.ravel() / max(float(cube.sum()), 1) + 1e-5), np.float32)


@dataclass(frozen=True)
class _Outline:
    shape: str
    body: Array
    """Coverage of the coloured parts, less a share of the rim around the product, which should be background."""
    fittings: Array
    """Coverage of lids, soles, cases: whatever is never in the product's colour."""
    small: tuple[Array, Array]
    """Both at the coarse size."""


class Judge:
    """Built from scenes of the training split; the same one for the same seed."""

    def __init__(self, seed: int = 99, bank: int = BANK) -> None:
        rng = np.random.default_rng(seed)
        size = BINS[0] * BINS[1] * BINS[2]
        counts: dict[tuple[str, str], Array] = {}
        features, names = [], []
        for _ in range(bank):
            spec = sample_spec(rng)
            spec = replace(spec, turn=TURNS[int(rng.integers(len(TURNS)))])
            picture, cover = draft_layers(spec)
            square = _square(picture)
            index, covered = _cells(square), _square_cover(cover)
            fitting = covered[..., 0] - covered[..., 1]
            for name, where in (
                (spec.colour, covered[..., 1] > 0.9),
                (spec.setting, covered[..., 0] < 0.1),
                ("fitting", fitting > 0.9),
            ):
                total = counts.setdefault((name, spec.time), np.zeros(size, np.float32))
                total += np.bincount(index[where], minlength=size)
            features.append(_surroundings(square))
            names.append((spec.setting, spec.time))
        empty = np.ones(size, np.float32)
        self._density = {
            (name, time): _log_density(counts.get((name, time), empty))
            for name in (*COLOURS, *SETTINGS, "fitting")
            for time in TIMES
        }
        self._names = np.array(names)
        self._project = _discriminants(np.stack(features), self._names)
        self._bank = np.stack(features) @ self._project
        self._outlines = list(_outlines())

    def surroundings(self, picture: NDArray[np.uint8]) -> tuple[str, str]:
        """Setting and time of day: the vote of the nearest scenes, nearer ones weighing more."""
        distance = np.linalg.norm(self._bank - _surroundings(_square(picture)) @ self._project, axis=1)
        near = np.argsort(distance)[:7]
        weight = 1 / (distance[near] + 1e-3)
        votes = self._names[near]
        setting = max(SETTINGS, key=lambda s: float(weight[votes[:, 0] == s].sum()))
        time = max(TIMES, key=lambda t: float(weight[(votes[:, 1] == t)].sum()))
        return setting, time

    def judge(self, picture: NDArray[np.uint8]) -> Verdict:
        """Best outline over the likeliest colours; then the colour that explains the pixels in it best, unbounded."""
        setting, time = self.surroundings(picture)
        index = _cells(_square(picture))
        ground = self._density[setting, time][index]
        fitting = np.clip(self._density["fitting", time][index] - ground, -CLIP, CLIP)
        ratios = {c: np.clip(self._density[c, time][index] - ground, -CLIP, CLIP) for c in COLOURS}
        likely = sorted(COLOURS, key=lambda c: -float(_middle(ratios[c])))[:FINALISTS]
        outline, place = self._search(fitting, {c: ratios[c] for c in likely})
        height, width = outline.body.shape
        centre = ((place[0] + width / 2) / (SIDE / 2) - 1, (place[1] + height / 2) / (SIDE / 2) - 1)
        return Verdict(setting, time, self._colour(index, outline, place, time), outline.shape, centre)

    def _search(self, fitting: Array, ratios: dict[str, Array]) -> tuple[_Outline, tuple[int, int]]:
        """Every outline at the coarse size, then the best of all and of each shape at the full one."""
        small = SIDE // COARSE
        coarse = {c: cv2.resize(r, (small, small), interpolation=cv2.INTER_AREA) for c, r in ratios.items()}
        coarse_fit = cv2.resize(fitting, (small, small), interpolation=cv2.INTER_AREA)
        tried = []
        for outline in self._outlines:
            fit = cv2.matchTemplate(_padded(coarse_fit), outline.small[1], cv2.TM_CCORR)
            for colour, ratio in coarse.items():
                score = cv2.minMaxLoc(cv2.matchTemplate(_padded(ratio), outline.small[0], cv2.TM_CCORR) + fit)[1]
                tried.append((score, outline, colour))
        tried.sort(key=lambda entry: -entry[0])
        best, found = -np.inf, (self._outlines[0], (0, 0))
        first = {shape: next(entry for entry in tried if entry[1].shape == shape) for shape in SHAPES}
        for _, outline, colour in [*tried[:12], *first.values()]:
            fit = cv2.matchTemplate(_padded(fitting), outline.fittings, cv2.TM_CCORR)
            both = cv2.matchTemplate(_padded(ratios[colour]), outline.body, cv2.TM_CCORR) + fit
            _, score, _, place = cv2.minMaxLoc(both)
            if score > best:
                edge = (_padded(fitting).shape[0] - SIDE) // 2
                best, found = score, (outline, (int(place[0]) - edge, int(place[1]) - edge))
        return found

    def _colour(self, index: NDArray[np.int64], outline: _Outline, place: tuple[int, int], time: str) -> str:
        height, width = outline.body.shape
        rows, columns = (
            slice(max(place[1], 0), max(place[1] + height, 0)),
            slice(max(place[0], 0), max(place[0] + width, 0)),
        )
        under = index[rows, columns]
        top, left = max(-place[1], 0), max(-place[0], 0)
        inside = outline.body[top : top + under.shape[0], left : left + under.shape[1]] > 0.9
        return max(COLOURS, key=lambda c: float(self._density[c, time][under[inside]].sum()))


def _middle(ratio: Array) -> float:
    """How much of a colour there is where products stand."""
    blurred = cv2.GaussianBlur(ratio, (0, 0), 5)
    return float(blurred.max())


def _padded(ratio: Array) -> Array:
    """Room for products that the frame cuts; nothing is known there."""
    edge = ratio.shape[0] // 8
    return np.asarray(cv2.copyMakeBorder(ratio, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=0), np.float32)


def _square_cover(cover: Array) -> Array:
    height, width = cover.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.asarray(
        cv2.resize(cover[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32
    )


def _outlines() -> Iterable[_Outline]:
    """Every product in a few views at every scale, cropped to itself and its rim."""
    for shape in SHAPES:
        for turn in TURNS:
            view = seen(shape, turn)
            for scale in SCALES:
                room = VIEW_SIDE
                _, _, form, share, _ = placed(view, Stand(room / 2, room / 2, scale * SIDE))
                whole = cv2.copyMakeBorder(form[..., 0], 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=0)
                coloured = form[..., 0] * np.clip(share[..., 1] + share[..., 2], 0, 1)
                coloured = cv2.copyMakeBorder(coloured, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=0)
                rim = np.clip(cv2.dilate(whole, np.ones((7, 7), np.uint8)) - whole, 0, 1)
                body = np.asarray(coloured - RIM * rim, np.float32)
                fittings = np.asarray(whole - coloured, np.float32)
                if max(body.shape) > SIDE + SIDE // 4 - 2:
                    continue
                half = (max(1, body.shape[1] // COARSE), max(1, body.shape[0] // COARSE))
                small = [cv2.resize(a, half, interpolation=cv2.INTER_AREA) for a in (body, fittings)]
                yield _Outline(shape, body, fittings, (small[0], small[1]))


def _discriminants(features: Array, names: NDArray[np.str_]) -> Array:
    """Linear discriminants of (setting, time): directions that tell groups apart, with unit spread within groups."""
    groups = np.array([f"{s} {t}" for s, t in names])
    centred = features.astype(np.float64).copy()
    means = []
    for group in np.unique(groups):
        inside = groups == group
        mean = centred[inside].mean(0)
        means.append(mean)
        centred[inside] -= mean
    within = centred.T @ centred / len(features)
    within += 0.08 * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    spread = (np.stack(means) - np.mean(means, 0)) @ whiten
    _, _, directions = np.linalg.svd(spread, full_matrices=False)
    return np.asarray(whiten @ directions.T, np.float32)
