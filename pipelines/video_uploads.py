"""Videos of strangers: looked at before a scorer decodes them. Container, codec, size and length from the header alone.

What it does not protect against: a bug inside the decoder. Knows no score.
"""

from __future__ import annotations

import io
from typing import Any

from pipelines.errors import BadInput

CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4")
MAX_PIXELS = 4096 * 2304
"""One frame."""
MAX_SECONDS = 120.0
MAX_FRAMES = 120 * 60


def check_video(data: bytes, name: str) -> None:
    """Raises BadInput unless `data` is an MP4 with one video stream that can be scored in bounded time."""
    import av

    try:
        with av.open(io.BytesIO(data), format="mp4") as container:
            _check(container, name)
    except av.FFmpegError as error:
        raise BadInput(f"video {name!r} is not an MP4 file, or is damaged: save it again as H.264 MP4") from error


def _check(container: Any, name: str) -> None:
    streams = container.streams.video
    if len(streams) != 1:
        raise BadInput(f"video {name!r} has {len(streams)} video streams: give a file with exactly one")
    stream = streams[0]
    if stream.codec_context.name not in CODECS:
        known = ", ".join(CODECS)
        raise BadInput(f"video {name!r} is coded as {stream.codec_context.name!r}: convert it to one of {known}")
    if stream.width * stream.height > MAX_PIXELS:
        raise BadInput(f"video {name!r} is {stream.width}x{stream.height}: scale it down to at most 4096x2304")
    seconds = float(container.duration or 0) / 1_000_000
    if seconds > MAX_SECONDS or stream.frames > MAX_FRAMES:
        raise BadInput(f"video {name!r} has {seconds:.0f} s and {stream.frames} frames: at most {MAX_SECONDS:.0f} s")
