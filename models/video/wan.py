"""Family `wan`: Wan image-to-video (first frame, and a last frame where the weights were trained for one).

Covers Wan 2.1 I2V and FLF2V (with a CLIP image encoder), 2.2 A14B (two transformers, none) and 2.2 TI2V-5B (which takes
no last frame). No IP-Adapter exists for it: references reach the clip through its keyframe.
"""

from __future__ import annotations

from typing import Any

from diffusers import WanImageToVideoPipeline

from models.errors import InvalidRequest
from models.image.pixels import decode_covering
from models.interfaces import VideoRequest
from models.video.wan_engine import WanEngine


class Wan(WanEngine):
    """VideoModel over WanImageToVideoPipeline."""

    def _stock(self) -> Any:
        return WanImageToVideoPipeline

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        size = request.width, request.height
        given = [("image", "first frame", request.first_frame), ("last_image", "last frame", request.last_frame)]
        return {key: decode_covering(frame, f"the {name}", *size) for key, name, frame in given if frame}

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        spec, transformer = self._spec, self._transformer()
        if not request.first_frame:
            raise InvalidRequest(f"model {spec.name!r} starts a clip from its keyframe; give first_frame")
        if request.last_frame and not (spec.last_frame and self._takes_last_frame()):
            raise InvalidRequest(f"model {spec.name!r} cannot end on a given frame; leave out last_frame")
        if not request.last_frame and transformer.config.pos_embed_seq_len is not None:
            raise InvalidRequest(f"model {spec.name!r} goes from a first to a last frame; give last_frame too")

    def _takes_last_frame(self) -> bool:
        """Wan 2.1 FLF2V and 2.2 A14B do; 2.1 I2V has no place for a second image, and TI2V-5B would ignore it."""
        config = self._transformer().config
        if config.image_dim is None:
            return not self._pipeline.config.expand_timesteps
        return config.pos_embed_seq_len is not None
