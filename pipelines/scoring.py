"""A scoring call as plain data, and how it is carried out: file in, a score per dimension out.

What every scorer shares, in this process or in a replica.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from models.errors import InferenceFailed
from models.interfaces import Pixels, Plain, Reference, Watcher
from pipelines.media import DECODER, clip_rate, clip_sound, decode_image, stream_clip
from pipelines.uploaded_videos import uploaded_frames, uploaded_sound
from quality.asked import NOTHING, Asked, Sound
from quality.engine import measure
from quality.registry import UNAVAILABLE, check_dimension, of_name
from quality.score import Score
from quality.stream import Model, Shot
from quality.stream import Reference as ShownReference


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
    asked: Asked = NOTHING
    """What else it was asked to be."""
    references: tuple[Reference, ...] = ()
    """Pictures that it was to look like: bytes that this project wrote, as `pipelines.uploads` leaves them."""
    series: bool = False
    """Whether scores say what each is the mean of, frame by frame."""


def backbones_of(dimensions: Iterable[str]) -> tuple[str, ...]:
    """Names of the backbones that the dimensions need, in the order of first need. Raises UnknownDimension."""
    needed: dict[str, None] = {}
    for name in dimensions:
        check_dimension(name)
        if name not in UNAVAILABLE:
            needed |= {stream.backbone: None for stream in of_name(name).NEEDS}
    return tuple(needed)


def score_file(
    request: ScoreRequest, backbones: Mapping[str, Model], watcher: Watcher, missing: Mapping[str, str] | None = None
) -> tuple[Score, ...]:
    """One score per dimension, in order; the file is decoded once. `watcher` hears of every frame.

    `missing` says why a backbone is not among `backbones`. Raises UnknownDimension, Cancelled from `watcher`,
    InferenceFailed when the file cannot be decoded.
    """
    is_image = request.media == "image"
    fps, count = 24.0, 1 if is_image else None
    if not is_image and request.times is None:  # the header of a stranger's file is not read in this process
        fps, count = clip_rate(request.data)
    sound, why = _sound(request)
    shot = Shot(
        decoder=DECODER,
        medium="keyframe" if is_image else "clip",
        fps=fps,
        times=request.times,
        frame_count=count if request.times is None else len(request.times),
        prompt=request.prompt,
        references=tuple(ShownReference(decode_image(one.image.data), one.role) for one in request.references),
        asked=request.asked,
        sound=sound,
        without_sound=why,
        source_sha256=hashlib.sha256(request.data).hexdigest(),
        backbones=backbones,
        missing=missing or {},
    )
    total = shot.frame_count or 0

    def frames() -> Iterator[Pixels]:
        watcher.step(0, total)
        for number, frame in enumerate(_frames(request), start=1):
            watcher.step(number, total)
            yield frame

    scores = measure(request.dimensions, frames(), shot)
    return tuple(score if request.series else score.model_copy(update={"series": None}) for score in scores)


def _sound(request: ScoreRequest) -> tuple[Sound | None, str | None]:
    """The sound track, where a dimension hears it; or why it could not be read."""
    if request.media == "image" or "ad.loudness" not in request.dimensions:
        return None, None
    try:
        audio = clip_sound(request.data) if request.times is None else uploaded_sound(request.data)
    except InferenceFailed as error:
        return None, str(error)
    return (None if audio is None else Sound(audio.samples.T, audio.sample_rate)), None


def _frames(request: ScoreRequest) -> Iterable[Pixels]:
    if request.media == "image":
        return [decode_image(request.data)]
    if request.times is None:
        return stream_clip(request.data)
    return uploaded_frames(request.data)
