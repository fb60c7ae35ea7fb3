"""Timing: framework, duration and frame rate in, one slot per scene out, in frames. A pure function.

Scene count, purposes and lengths come from here and never from a model. Beat lengths follow the table of
the design's product reference (section 6.1; AIDA, PAS and BAB at 9, 15, 30 and 60 s), linear between its
columns. Handles of clips for crossfades are added where the clips are made.
"""

from __future__ import annotations

import math
from itertools import combinations, pairwise

from models.interfaces import Plain
from pipelines.brief import Framework
from pipelines.errors import BadInput

MIN_SHOT_SECONDS, MAX_SHOT_SECONDS = 1.5, 5.0

BEATS: dict[Framework, tuple[str, ...]] = {
    "AIDA": ("Attention", "Interest", "Desire", "Action"),
    "PAS": ("Problem", "Agitate", "Solve", "Action"),
    "BAB": ("Before", "After", "Bridge", "Action"),
}
_COLUMNS = (9, 15, 30, 60)
_SECONDS: dict[Framework, tuple[tuple[int, ...], ...]] = {
    "AIDA": ((2, 2, 3, 2), (3, 4, 5, 3), (4, 8, 12, 6), (5, 18, 27, 10)),
    "PAS": ((2, 2, 3, 2), (3, 4, 5, 3), (5, 7, 12, 6), (8, 14, 28, 10)),
    "BAB": ((2, 2, 3, 2), (3, 4, 5, 3), (6, 8, 10, 6), (12, 16, 22, 10)),
}


class SceneSlot(Plain):
    """Place of one scene on the delivery timeline."""

    scene_number: int
    purpose: str
    """Stage of the framework; `Attention + Interest` when one scene serves two."""
    frames: int


def plan_slots(
    framework: Framework, duration_seconds: int, fps: int, num_scenes: int | None = None
) -> tuple[SceneSlot, ...]:
    """Slots in order; their frames add up to `duration_seconds * fps` exactly and each is 1.5 to 5 s long.

    Without `num_scenes` every beat is one scene, or as many equal ones as it takes to stay within 5 s.
    Raises BadInput when `num_scenes` cannot fill the duration with such scenes.
    """
    beats = _beat_seconds(framework, duration_seconds)
    purposes = _default_scenes(beats) if num_scenes is None else _counted_scenes(beats, num_scenes)
    low, high = math.ceil(MIN_SHOT_SECONDS * fps), math.floor(MAX_SHOT_SECONDS * fps)
    total = duration_seconds * fps
    count = len(purposes)
    if not count * low <= total <= count * high:
        fewest, most = math.ceil(total / high), total // low
        raise BadInput(
            f"{num_scenes!r} cannot fill {duration_seconds} s: a scene lasts {MIN_SHOT_SECONDS} "
            f"to {MAX_SHOT_SECONDS} s, so give {fewest} to {most} scenes, or leave the number out",
            "num_scenes",
        )
    frames = _whole_frames([seconds * fps for _, seconds in purposes], total, low, high)
    return tuple(
        SceneSlot(scene_number=number, purpose=purpose, frames=length)
        for number, ((purpose, _), length) in enumerate(zip(purposes, frames, strict=True), start=1)
    )


def retimed(frames: tuple[int, ...], total: int, fps: int) -> tuple[int, ...]:
    """Lengths of scenes that fill `total` frames exactly, in proportion to what they were, each 1.5 to 5 s long.

    Raises BadInput when so few scenes cannot fill it.
    """
    low, high = math.ceil(MIN_SHOT_SECONDS * fps), math.floor(MAX_SHOT_SECONDS * fps)
    if len(frames) * high < total:
        raise BadInput(
            f"{len(frames)} scenes cannot fill {total / fps:g} s, because a scene lasts {MAX_SHOT_SECONDS:g} s "
            f"at most: "
            f"keep {math.ceil(total / high)} or more"
        )
    scale = total / sum(frames)
    return tuple(_whole_frames([length * scale for length in frames], total, low, high))


Timed = tuple[str, float]
"""A purpose and its seconds."""


def _beat_seconds(framework: Framework, duration: int) -> list[Timed]:
    left = max(i for i, column in enumerate(_COLUMNS[:-1]) if column <= duration)
    share = (duration - _COLUMNS[left]) / (_COLUMNS[left + 1] - _COLUMNS[left])
    rows = zip(_SECONDS[framework][left], _SECONDS[framework][left + 1], strict=True)
    seconds = [before + share * (after - before) for before, after in rows]
    return list(zip(BEATS[framework], seconds, strict=True))


def _default_scenes(beats: list[Timed]) -> list[Timed]:
    return _split(beats, [math.ceil(seconds / MAX_SHOT_SECONDS - 1e-9) for _, seconds in beats])


def _counted_scenes(beats: list[Timed], count: int) -> list[Timed]:
    if count < len(beats):
        return _merged(beats, count)
    shots = [1] * len(beats)
    while sum(shots) < count:
        longest = max(range(len(beats)), key=lambda i: beats[i][1] / shots[i])
        shots[longest] += 1
    return _split(beats, shots)


def _split(beats: list[Timed], shots: list[int]) -> list[Timed]:
    return [
        (purpose, seconds / count) for (purpose, seconds), count in zip(beats, shots, strict=True) for _ in range(count)
    ]


def _merged(beats: list[Timed], count: int) -> list[Timed]:
    """Neighbouring beats joined into `count` scenes, so that the longest one is as short as it can be."""

    def joined(cuts: tuple[int, ...]) -> list[Timed]:
        groups = [beats[a:b] for a, b in pairwise((0, *cuts, len(beats)))]
        return [(" + ".join(p for p, _ in group), sum(s for _, s in group)) for group in groups]

    options = (joined(cuts) for cuts in combinations(range(1, len(beats)), count - 1))
    return min(options, key=lambda scenes: max(seconds for _, seconds in scenes))


def _whole_frames(ideal: list[float], total: int, low: int, high: int) -> list[int]:
    """Integers within [low, high] that sum to `total`, each as near to its ideal as the bounds allow."""
    frames = [min(max(round(length), low), high) for length in ideal]
    while (missing := total - sum(frames)) != 0:
        step = 1 if missing > 0 else -1
        free = [i for i, length in enumerate(frames) if low <= length + step <= high]
        furthest = max(free, key=lambda i: step * (ideal[i] - frames[i]))
        frames[furthest] += step
    return frames
