"""Frames that a video model can make and take, and decoded clips as uint8 frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.errors import InvalidRequest
from models.interfaces import Frames, VideoRequest
from models.spec import VideoModelSpec


def check_frames(spec: VideoModelSpec, num_frames: int, multiple: int, longest: int) -> None:
    """Raises InvalidRequest unless `num_frames` is `multiple` * k + 1 (any count when 1) and at most `longest`."""
    if num_frames > longest:
        raise InvalidRequest(
            f"{num_frames} frames are too many for model {spec.name!r}, which makes at most {longest};"
            " ask for a shorter clip"
        )
    if (num_frames - 1) % multiple:
        below = (num_frames - 1) // multiple * multiple + 1
        above = below + multiple
        near = f"{below} or {above}" if above <= longest else f"{below}"
        raise InvalidRequest(
            f"model {spec.name!r} makes {multiple}k + 1 frames, not {num_frames}; ask for {near} and cut the rest"
        )


def check_given_frames(spec: VideoModelSpec, request: VideoRequest) -> None:
    """Raises InvalidRequest for a first frame that is missing, and for given frames that the model does not take."""
    if request.first_frame is None and spec.first_frame == "required":
        raise InvalidRequest(f"model {spec.name!r} makes clips from a first frame; give first_frame")
    if request.first_frame and spec.first_frame == "unused":
        raise InvalidRequest(
            f"model {spec.name!r} cannot start from a given frame; leave out first_frame, or choose a model that can"
        )
    if request.last_frame and not spec.last_frame:
        raise InvalidRequest(f"model {spec.name!r} cannot end on a given frame; leave out last_frame")
    if request.first_frame and request.last_frame and request.num_frames == 1:
        raise InvalidRequest("a clip of 1 frame cannot have both a first and a last frame; give one of them")


def to_uint8(frames: npt.NDArray[np.float32]) -> Frames:
    """Frames in 0..1 to 0..255."""
    return (frames * 255).round().astype(np.uint8)
