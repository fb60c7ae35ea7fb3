"""Coherence of an ad across its scenes: is it the same product, the same character, the same look?

A scene counts only if it shows what was asked for: its alignment to its own prompt must reach a minimum, because scenes
that are wrong in the same way are alike too. How many were left out is in every score. A similarity of features tells a
wrong shape and hardly a wrong colour, and follows people's ratings badly (DINO 7.5 Spearman·100 on VideoFeedback): read
the alignment, `product_colour` and `product_keypoints` beside it.

Vectors are DINOv2's (arXiv 2304.07193), whose first token is the picture's and whose others are its patches'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from quality.preprocessing import embedded
from quality.score import Metric, NoValue, Score
from quality.stream import Pixels, Shot, Stream

LOOK = Stream("dinov2_base", "i2v.dino")
PRODUCT = Metric("admint.product_similarity", "dinov2_first_and_reference@1", "proxy", (-1, 1))
CHARACTER = Metric("admint.character_similarity", "dinov2_first_and_reference@1", "proxy", (-1, 1))
STYLE = Metric("admint.style_similarity", "dinov2_gram@1", "proxy", (-1, 1))
BOUNDARY = Metric("admint.boundary_similarity", "dinov2_boundary@1", "proxy", (-1, 1))
GAP_DECAY = Metric("admint.gap_decay", "dinov2_gap@1", "proxy", (-2, 2))
ENTITIES: Mapping[str, Metric] = {"product": PRODUCT, "character": CHARACTER}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SceneLook:
    """What is compared of one scene."""

    scene_number: int
    alignment: float | None
    """How well the scene shows what was asked for, on the scale of the minimum; None: nobody judged it."""
    pictures: tuple[Pixels, ...]
    """Of the entity: its crops from this scene's frames. Of the style: whole frames."""


@dataclass(frozen=True)
class Boundary:
    """A cut after which the next scene goes on where the last one ended."""

    after_scene: int
    last: Pixels
    first: Pixels
    """Of the next scene."""


def entity_similarity(
    role: str, scenes: Sequence[SceneLook], references: Sequence[Pixels], minimum: float, shot: Shot
) -> Score:
    """`admint.product_similarity` or `admint.character_similarity`: the mean cosine of the first scene that counts to
    each later one, and of every reference to each scene that counts; the worst pair is in the note.

    `role` is a key of ENTITIES. A scene's vector is the mean of its pictures' vectors at length 1. `shot` is the whole
    ad, with the backbone.
    """
    metric = ENTITIES[role]

    def measured() -> Score:
        counted, left_out = _counted(scenes, minimum)
        vectors = [_scene_vector(scene, shot) for scene in counted]
        pairs = [(f"scenes {counted[0].scene_number} and {scene.scene_number}", float(vectors[0] @ vector))
                 for scene, vector in zip(counted[1:], vectors[1:], strict=True)]  # fmt: skip
        for number, reference in enumerate(_summaries(references, shot), start=1):
            pairs += [
                (f"reference {number} and scene {scene.scene_number}", float(reference @ vector))
                for scene, vector in zip(counted, vectors, strict=True)
            ]
        return _score(metric, pairs, len(counted), left_out, shot)

    return _or_reason(metric, measured, shot)


def style_similarity(scenes: Sequence[SceneLook], minimum: float, shot: Shot) -> Score:
    """`admint.style_similarity`: the mean cosine of the Gram matrices of all pairs of scenes that count.

    The Gram matrix of a picture is P'P over its patches' unit vectors P, which tells textures and colours and not
    where they are; of a scene it is the mean over its pictures.
    """

    def measured() -> Score:
        counted, left_out = _counted(scenes, minimum)
        grams = [_gram(scene, shot) for scene in counted]
        pairs = [
            (f"scenes {one.scene_number} and {other.scene_number}", float((a * b).sum()))
            for (one, a), (other, b) in combinations(zip(counted, grams, strict=True), 2)
        ]
        return _score(STYLE, pairs, len(counted), left_out, shot)

    return _or_reason(STYLE, measured, shot)


def boundary_similarity(boundaries: Sequence[Boundary], shot: Shot) -> Score:
    """`admint.boundary_similarity`: the mean cosine of the last frame before and the first frame after each cut at
    which the next scene is to go on. Other cuts are wanted changes and do not count."""

    def measured() -> Score:
        pairs = []
        for cut in boundaries:
            before, after = _summaries((cut.last, cut.first), shot)
            pairs.append((f"the cut after scene {cut.after_scene}", float(before @ after)))
        return _score(BOUNDARY, pairs, 2 * len(boundaries), [], shot)

    if not boundaries:
        return BOUNDARY.none("no scene goes on where the one before ended", shot, LOOK)
    return _or_reason(BOUNDARY, measured, shot)


def gap_decay(scenes: Sequence[SceneLook], minimum: float, shot: Shot) -> Score:
    """`admint.gap_decay`: by how much the similarity of two scenes changes with each scene between them.

    The slope of the least-squares line through (scenes apart, cosine) over all pairs that count: 0 for an entity that
    stays, below 0 for one that drifts away. Needs pairs of at least two distances. The mean by distance is in the note.
    """

    def measured() -> Score:
        counted, left_out = _counted(scenes, minimum)
        vectors = [_scene_vector(scene, shot) for scene in counted]
        apart: dict[int, list[float]] = {}
        for (one, a), (other, b) in combinations(zip(counted, vectors, strict=True), 2):
            apart.setdefault(abs(other.scene_number - one.scene_number), []).append(float(a @ b))
        if len(apart) < 2:
            raise NoValue(f"needs scenes at two distances that show what was asked for{_told(left_out)}")
        gaps = np.array([gap for gap, values in apart.items() for _ in values], np.float64)
        values = np.array([value for own in apart.values() for value in own], np.float64)
        centred = gaps - gaps.mean()
        slope = float(centred @ values / (centred @ centred))
        curve = ", ".join(f"{np.mean(apart[gap]):.4f} at {gap}" for gap in sorted(apart))
        note = f"mean cosine by scenes apart: {curve}{_told(left_out)}"
        return GAP_DECAY.value(slope, shot, len(counted), stream=LOOK, note=note)

    return _or_reason(GAP_DECAY, measured, shot)


# --- what they share ---


def _counted(scenes: Sequence[SceneLook], minimum: float) -> tuple[list[SceneLook], list[int]]:
    """The scenes that show what was asked for, in order, and the numbers of the others. Raises NoValue for none."""
    counted = [
        scene
        for scene in sorted(scenes, key=lambda scene: scene.scene_number)
        if scene.pictures and scene.alignment is not None and scene.alignment >= minimum
    ]
    left_out = sorted({scene.scene_number for scene in scenes} - {scene.scene_number for scene in counted})
    if not counted:
        raise NoValue(f"none of {len(scenes)} scenes was seen to show what was asked for (least alignment {minimum:g})")
    return counted, left_out


def _score(
    metric: Metric, pairs: Sequence[tuple[str, float]], pictures: int, left_out: Sequence[int], shot: Shot
) -> Score:
    """The mean over the pairs. Raises NoValue without a pair."""
    if not pairs:
        raise NoValue(f"needs two scenes that show what was asked for, or a reference{_told(left_out)}")
    named, worst = min(pairs, key=lambda pair: pair[1])
    note = f"worst {worst:.4f}, {named}; {len(pairs)} pairs{_told(left_out)}"
    return metric.value(float(np.mean([value for _, value in pairs])), shot, pictures, stream=LOOK, note=note)


def _told(left_out: Sequence[int]) -> str:
    if not left_out:
        return "; no scene left out"
    return f"; {len(left_out)} left out, below the least alignment or not judged: {', '.join(map(str, left_out))}"


def _or_reason(metric: Metric, measured: Callable[[], Score], shot: Shot) -> Score:
    if LOOK.backbone not in shot.backbones:
        told = shot.missing.get(LOOK.backbone) or f"this deployment has no {LOOK.backbone!r} model"
        return metric.none(told, shot, LOOK)
    try:
        return measured()
    except NoValue as error:
        return metric.none(str(error), shot, LOOK)


def _summaries(pictures: Sequence[Pixels], shot: Shot) -> Floats:
    """Vectors of pictures, shape (pictures, width)."""
    if not pictures:
        return np.zeros((0, 0))
    return embedded(shot.backbones[LOOK.backbone], LOOK.preprocessing, pictures)[:, 0].astype(np.float64)


def _scene_vector(scene: SceneLook, shot: Shot) -> Floats:
    mean: Floats = _summaries(scene.pictures, shot).mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _gram(scene: SceneLook, shot: Shot) -> Floats:
    """The mean Gram matrix of a scene's pictures, at length 1."""
    total: Floats = np.zeros((1, 1))
    for picture in scene.pictures:
        patches = embedded(shot.backbones[LOOK.backbone], LOOK.preprocessing, [picture])[0, 1:].astype(np.float64)
        total = total + patches.T @ patches / len(patches)
    return total / max(float(np.linalg.norm(total)), 1e-12)
