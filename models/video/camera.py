"""Camera moves as words, for models that learn them from captions."""

from __future__ import annotations

from models.errors import InvalidRequest
from models.spec import CameraMove, VideoModelSpec

CAMERA_WORDS: dict[CameraMove, str] = {
    "static": "static camera",
    "push_in": "camera pushes in",
    "pull_back": "camera pulls back",
    "pan_left": "camera pans left",
    "pan_right": "camera pans right",
    "tilt_up": "camera tilts up",
    "tilt_down": "camera tilts down",
    "orbit": "camera orbits the product",
}


def camera_words(spec: VideoModelSpec, move: str) -> str:
    """The words for `move`. Raises InvalidRequest when the model does not know it."""
    for known in spec.camera_moves:
        if known == move:
            return CAMERA_WORDS[known]
    raise InvalidRequest(
        f"model {spec.name!r} does not know the camera move {move!r}; it knows {', '.join(spec.camera_moves)}"
    )
