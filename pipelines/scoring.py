"""A scoring call as plain data, and how it is carried out: file in, a score per dimension out.

What every scorer shares, in this process or in a replica.
"""

from __future__ import annotations

from typing import Literal

from models.interfaces import Plain, Watcher
from pipelines.media import DECODER, clip_rate, decode_image, stream_clip
from quality.registry import measure
from quality.score import Encoder, Score, Shot


class ScoreRequest(Plain):
    """One file and what to measure of it."""

    data: bytes
    media: Literal["image", "video"] = "video"
    """An MP4, or a PNG, JPEG or WebP picture, that this project wrote or has checked."""
    dimensions: tuple[str, ...]
    prompt: str | None = None
    """What it was asked to show."""


def score_file(request: ScoreRequest, encoder: Encoder | None, watcher: Watcher) -> tuple[Score, ...]:
    """One score per dimension, in order. `watcher` hears of every dimension. Raises UnknownDimension."""
    shot = _shot(request, encoder)
    scores = []
    for done, name in enumerate(request.dimensions):
        watcher.step(done, len(request.dimensions))
        scores.append(measure(name, shot))
    return tuple(scores)


def _shot(request: ScoreRequest, encoder: Encoder | None) -> Shot:
    if request.media == "image":
        return Shot(lambda: [decode_image(request.data)], DECODER, prompt=request.prompt, encoder=encoder)
    fps = clip_rate(request.data)
    return Shot(lambda: stream_clip(request.data), DECODER, fps, request.prompt, encoder)
