"""Pictures and videos of strangers: checked before they are decoded; pictures are turned upright and written again.

Nothing of a received picture's bytes is kept: no EXIF or GPS, no colour profile, no tail after the picture. A bug in
the decoders themselves is not guarded against here: the HTTP gateway decodes in a limited child process for that.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipelines.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


MAX_BYTES = 10 * 1024 * 1024
MAX_PIXELS = 40_000_000
MIN_SIDE = 16
MAX_SIDE = 2048
"""Longer pictures are scaled down to it: every image encoder here looks at 224 to 1024 pixels."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_reference(data: bytes, name: str) -> bytes:
    """A PNG of the picture in `data`: upright (EXIF orientation), RGB on white, without metadata, at most 2048 long.

    JPEG, PNG and WebP are recognised by content; `name` only serves the message. Size and frame count are read from the
    header before anything is decoded. An animation is refused rather than cut to a frame that the user did not choose.
    Raises BadInput, one line that names the file and the remedy.
    """
    return _encode(_decode(data, name, _on_white))


def read_mask(data: bytes, name: str) -> bytes:
    """A grey PNG of the mask in `data`, white = repaint, under the same checks as a reference.

    Where parts of the file are transparent it is a mask as OpenAI's clients draw it: these are repainted. Raises
    BadInput.
    """
    return _encode(_decode(data, name, _holes_white))


def _sniff(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def _decode(data: bytes, name: str, convert: Callable[[Picture], Picture]) -> Picture:
    from PIL import Image, ImageOps

    if len(data) > MAX_BYTES:
        raise BadInput(f"reference image {name!r} is {len(data) / 2**20:.1f} MB: give one of at most 10 MB")
    kind = _sniff(data)
    if kind is None:
        raise BadInput(f"reference image {name!r} is not a JPEG, PNG or WebP file: convert it to one of these")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged metadata, which is dropped anyway
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                _check_header(image, name)
                image.load()
                upright = ImageOps.exif_transpose(image)
                return convert(upright)
    except (BadInput, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise BadInput(_too_many_pixels(name)) from None
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more on hostile files; whatever
        # it is, the picture cannot be used, and nothing else happens in this block.
        raise BadInput(f"reference image {name!r} is damaged or cut off: save it again as PNG or JPEG") from error


def _check_header(image: Picture, name: str) -> None:
    """Refuse a picture by its size and frame count, before it is decoded: only the header has been read so far."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadInput(_too_many_pixels(name))
    if min(width, height) < MIN_SIDE:
        raise BadInput(f"reference image {name!r} is {width}x{height} pixels: each side must have at least {MIN_SIDE}")
    # A JPEG with several pictures is a photo with its preview or depth map (MPO): the first one is the photo.
    if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
        raise BadInput(f"reference image {name!r} is an animation: save the frame you want as a still PNG or JPEG")


def _too_many_pixels(name: str) -> str:
    return f"reference image {name!r} has more than {MAX_PIXELS // 10**6} megapixels: scale it down first"


def _on_white(image: Picture) -> Picture:
    """RGB; transparent parts on white, as product cut-outs are meant to be seen."""
    from PIL import Image

    if _has_alpha(image):
        cut_out = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), cut_out).convert("RGB")
    if image.mode.startswith("I;16"):
        # convert("RGB") clips 16-bit grey to white; keep the upper eight bits instead.
        image = image.point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


def _holes_white(image: Picture) -> Picture:
    """Grey; where parts of the picture are transparent, white marks them and nothing else."""
    if _has_alpha(image):
        holes = image.convert("RGBA").getchannel("A").point(lambda opacity: 255 if opacity < 128 else 0)
        if holes.getbbox():
            return holes
    return _on_white(image).convert("L")


def _has_alpha(image: Picture) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _encode(image: Picture) -> bytes:
    import numpy as np

    from pipelines.media import encode_png

    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return encode_png(np.asarray(image))


CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4")
MAX_VIDEO_PIXELS = 4096 * 2304
"""Of one frame."""
MAX_SECONDS = 120.0
MAX_FRAMES = 120 * 60


def check_video(data: bytes, name: str) -> None:
    """Raises BadInput unless `data` is an MP4 with one video stream that can be scored in bounded time."""
    import av

    try:
        with av.open(io.BytesIO(data), format="mp4") as container:
            _check_stream(container, name)
    except av.FFmpegError as error:
        raise BadInput(f"video {name!r} is not an MP4 file, or is damaged: save it again as H.264 MP4") from error


def _check_stream(container: Any, name: str) -> None:
    streams = container.streams.video
    if len(streams) != 1:
        raise BadInput(f"video {name!r} has {len(streams)} video streams: give a file with exactly one")
    stream = streams[0]
    if stream.codec_context.name not in CODECS:
        known = ", ".join(CODECS)
        raise BadInput(f"video {name!r} is coded as {stream.codec_context.name!r}: convert it to one of {known}")
    if stream.width * stream.height > MAX_VIDEO_PIXELS:
        raise BadInput(f"video {name!r} is {stream.width}x{stream.height}: scale it down to at most 4096x2304")
    seconds = float(container.duration or 0) / 1_000_000
    if seconds > MAX_SECONDS or stream.frames > MAX_FRAMES:
        raise BadInput(f"video {name!r} has {seconds:.0f} s and {stream.frames} frames: at most {MAX_SECONDS:.0f} s")
