"""A scoring call as plain data, and how it is carried out: file in, a score per dimension out.

What every scorer shares, in this process or in a replica.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from models.interfaces import Pixels, Plain, Watcher
from pipelines.media import DECODER, clip_rate, decode_image, stream_clip
from pipelines.uploaded_videos import uploaded_frames
from quality.registry import measure
from quality.score import Encoder, Score, Shot


class ScoreRequest(Plain):
    """One file and what to measure of it."""

    data: bytes
    media: Literal["image", "video"] = "video"
    """An MP4, or a PNG, JPEG or WebP picture."""
    times: tuple[float, ...] | None = None
    """Of a video of a stranger: when each frame is shown, in seconds, as `check_video` found. None: a file of our own,
    at a constant rate."""
    dimensions: tuple[str, ...]
    prompt: str | None = None
    """What it was asked to show."""


KEPT_BYTES = 256 * 1024 * 1024
"""A stranger's video whose frames take no more is decoded once, not once per dimension."""


def score_file(request: ScoreRequest, encoder: Encoder | None, watcher: Watcher) -> tuple[Score, ...]:
    """One score per dimension, in order. `watcher` hears of every dimension, and of every frame that one looks at.

    Raises UnknownDimension, Cancelled from `watcher`, InferenceFailed.
    """
    source = _Source(request)
    done, total = 0, len(request.dimensions)

    def frames() -> Iterator[Pixels]:
        for frame in source.frames():
            watcher.step(done, total)
            yield frame

    shot = Shot(frames, DECODER, source.rate(), request.prompt, encoder, request.times)
    scores = []
    for name in request.dimensions:
        watcher.step(done, total)
        scores.append(measure(name, shot))
        done += 1
    return tuple(scores)


class _Source:
    """The frames of the file of a request."""

    def __init__(self, request: ScoreRequest) -> None:
        self._request = request
        self._kept: list[Pixels] | None = None

    def rate(self) -> float:
        """Frames per second, in the mean."""
        times = self._request.times
        if self._request.media == "image":
            return 24.0
        if times is None:
            return clip_rate(self._request.data)
        return (len(times) - 1) / times[-1] if times[-1] > 0 else 24.0

    def frames(self) -> Iterable[Pixels]:
        if self._request.media == "image":
            return [decode_image(self._request.data)]
        if self._request.times is None:
            return stream_clip(self._request.data)
        return self._kept or self._uploaded()

    def _uploaded(self) -> Iterator[Pixels]:
        kept: list[Pixels] = []
        size = 0
        for frame in uploaded_frames(self._request.data):
            size += frame.nbytes
            if size <= KEPT_BYTES:
                kept.append(frame)
            yield frame
        if size <= KEPT_BYTES:
            self._kept = kept
