"""Points of a reference that are found again in a clip: is it this very product, or was its picture pasted?

Both dimensions match XFeat's points (arXiv 2404.19174) of a reference with those of a frame: pairs that are each
other's best and alike enough, and of these the ones that one homography explains (MAGSAC++). `product_keypoints` counts
them against the matches that the reference has with itself; `copy_paste` is the area that they span in the reference.

Points see neither a wrong colour (on 24 rendered pairs the same product elsewhere beat another colour in 6) nor a
product without texture, so product identity is three numbers: read `product_colour` and a similarity beside it.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from quality.preprocessing import embedded
from quality.references import of_references
from quality.score import Metric, NoValue, Score
from quality.stream import Array, Backbone, Block, Pixels, Reference, Shot, Stream

FRAMES = Stream("xfeat", "as_is", "2fps")
ALIKE = 0.82
"""Least cosine of a match, as XFeat's authors use it for pairs of pictures."""
OFF = 3.0
"""Pixels by which a match may miss the homography."""
LEAST_POINTS = 16
"""Of a reference: with fewer, a share of them is chance."""
LEAST_INLIERS, LEAST_SHARE = 12, 0.5
"""Matches, and share of all matches, that one homography must explain. Of 524 pairs of pictures that do not show the
same (204 of another subject in another setting, 40 of another shape, 100 of another pack with print, 100 of a pack and
a scene without it, 80 of another drawing or screenshot) none reaches both; with 12 and 0.45 one did, with 12 and 0.4
three, with 10 and 0.4 eight, by RANSAC too. Of pairs that do, 96 of 100 packs, 66 of 83 drawings and screenshots that
were warped, and 2 of 24 products without texture, of 128 pixels, reach both. What stands behind a product counts too:
of 24 pairs of another product in the same setting, or of the same shape elsewhere, 3 reach both."""
POSITION, DESCRIPTION = slice(0, 2), slice(3, None)
RANK = 2


class Sought:
    """A reference whose points are looked for."""

    def __init__(self, backbone: Backbone, picture: Pixels) -> None:
        self.points = _points(embedded(backbone, FRAMES.preprocessing, [picture])[0])
        self.area = picture.shape[0] * picture.shape[1]
        self.own = len(matches(self.points, self.points))
        """Matches that it has with itself."""


class Search:
    """The points of a reference in one frame after the other: once for both dimensions."""

    def __init__(self, sought: Sought) -> None:
        self.sought = sought
        self._frame = -1
        self._found: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def found(self, frame: int, seen: Array) -> npt.NDArray[np.int64]:
        """Rows of its points that are found again in frame number `frame`, whose points are `seen`."""
        if frame != self._frame:
            self._frame, self._found = frame, inliers(self.sought.points, seen)
        return self._found


def _search(backbone: Backbone, reference: Reference) -> Search:
    return Search(of_references(backbone, "points", [reference], lambda: Sought(backbone, reference.pixels)))


class ProductKeypoints:
    """0 (none found again) to 1 (all): mean over frames. Needs a picture of the product, with texture."""

    METRIC: ClassVar[Metric] = Metric("admint.product_keypoints", "xfeat_inliers@4", "proxy", (0, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (FRAMES,)
    ROLES: ClassVar[tuple[str, ...]] = ("product",)

    def __init__(self, shot: Shot) -> None:
        places = [place for place, one in enumerate(shot.references) if one.role in self.ROLES]
        if not places:
            raise NoValue(f"needs a picture of the {' or '.join(self.ROLES)} as a reference")
        backbone = cast(Backbone, shot.backbones[FRAMES.backbone])
        searches = [shot.once((FRAMES, place), partial(_search, backbone, shot.references[place])) for place in places]
        most = max(len(each.sought.points) for each in searches)
        if most < LEAST_POINTS:
            raise NoValue(
                f"the reference has too little texture: {most} points can be found again, {LEAST_POINTS} are needed"
            )
        self._shot = shot
        self._searches = [each for each in searches if len(each.sought.points) >= LEAST_POINTS]
        self._values: list[float] = []
        self._at: list[int] = []

    def feed(self, block: Block) -> None:
        features = block.features[FRAMES]
        for number, rows in zip(features.frames, features.values, strict=True):
            seen = _points(rows)
            self._values.append(max(self.compared(each.sought, each.found(number, seen)) for each in self._searches))
            self._at.append(number)

    def compared(self, sought: Sought, found: npt.NDArray[np.int64]) -> float:
        """The value of one frame for one reference, of whose points these rows were found."""
        return min(1.0, len(found) / sought.own)

    def score(self) -> Score:
        return self._score(float(np.mean(self._values)) if self._values else None, "least", min)

    def _score(self, raw: float | None, word: str, extreme: object) -> Score:
        if raw is None:
            raise NoValue("needs at least 1 frame")
        note = f"{word} of a frame: {extreme(self._values):.3f}" if callable(extreme) else None
        return self.METRIC.value(
            raw, self._shot, len(self._values), stream=FRAMES, series=self._values, at=self._at, note=note
        )


class CopyPaste(ProductKeypoints):
    """0 (nothing was copied) to 1 (the whole reference stands in a frame): the largest of all frames."""

    METRIC = Metric("admint.copy_paste", "xfeat_area@4", "proxy", (0, 1))
    ROLES = ("product", "character", "style")

    def compared(self, sought: Sought, found: npt.NDArray[np.int64]) -> float:
        import cv2

        if len(found) < 3:
            return 0.0
        hull = cv2.convexHull(np.ascontiguousarray(sought.points[found, POSITION], np.float32))
        share: float = cv2.contourArea(hull) / sought.area
        return min(1.0, share)

    def score(self) -> Score:
        return self._score(max(self._values, default=None), "mean over frames", np.mean)


def _points(rows: Array) -> Array:
    """The rows that are points."""
    return rows[rows[:, RANK] > 0]


def matches(first: Array, second: Array) -> npt.NDArray[np.int64]:
    """Pairs of points that are each other's most alike, shape (pairs, 2), with a cosine of at least ALIKE."""
    if not len(first) or not len(second):
        return np.zeros((0, 2), np.int64)
    cosines = first[:, DESCRIPTION] @ second[:, DESCRIPTION].T
    best, rows = cosines.argmax(axis=1), np.arange(len(first))
    alike = cosines[rows, best]
    # The columns' largest values instead of their places: 0.2 ms of 1024 x 1024, where argmax down a column takes 4.8.
    kept = rows[(alike == cosines.max(axis=0)[best]) & (alike >= ALIKE)]
    _, one_each = np.unique(best[kept], return_index=True)  # of rows that tie for a column, the first
    kept = np.sort(kept[one_each])
    return np.stack([kept, best[kept]], axis=1)


def inliers(first: Array, second: Array) -> npt.NDArray[np.int64]:
    """Rows of `first` whose matches in `second` one homography explains; none below LEAST_INLIERS and LEAST_SHARE."""
    import cv2

    pairs = matches(first, second)
    nothing = np.zeros(0, np.int64)
    if len(pairs) < LEAST_INLIERS:
        return nothing
    start = np.ascontiguousarray(first[pairs[:, 0], POSITION], np.float64)
    end = np.ascontiguousarray(second[pairs[:, 1], POSITION], np.float64)
    # It draws from a generator of its own, so a clip's score stays the same. RANSAC takes 2,000 draws where few matches
    # agree: 27 times this on 268 such pairs, for a median of 2 matches less on pairs that do.
    _, kept = cv2.findHomography(start, end, cv2.USAC_MAGSAC, OFF)
    if kept is None or kept.sum() < max(LEAST_INLIERS, LEAST_SHARE * len(pairs)):
        return nothing
    found: npt.NDArray[np.int64] = pairs[kept[:, 0] > 0, 0]
    return found
