"""Family `wan-text`: Wan text-to-video (2.1, 2.2 A14B with its two transformers, and 2.2 TI2V-5B from text).

The keyframe of a scene does not reach its clip: consistency comes from the words, the seeds and LoRAs alone.
"""

from __future__ import annotations

from typing import Any

from diffusers import WanPipeline

from models.errors import InvalidRequest
from models.interfaces import VideoRequest
from models.video.wan_engine import WanEngine


class WanText(WanEngine):
    """VideoModel over WanPipeline."""

    def _stock(self) -> Any:
        return WanPipeline

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        return {}

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        for name in ("first_frame", "last_frame"):
            if getattr(request, name):
                raise InvalidRequest(
                    f"model {self._spec.name!r} makes clips from text alone; leave out {name}, or choose a model of the"
                    " family wan, wan-vace or ltx"
                )
