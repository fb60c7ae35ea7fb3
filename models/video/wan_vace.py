"""Family `wan-vace`: Wan VACE (arXiv 2503.07598), which takes reference images beside a first and a last frame.

Given frames enter as a video with a mask: black keeps a frame, white makes it, and frames to be made are grey.
References become latent frames before the clip's and are cut off at the end; their noise is drawn after the clip's, so
that a reference does not change the noise of the clip. They are looked at, not weighed (`native_references`).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import WanVACEPipeline
from PIL import Image

from models.errors import InvalidRequest
from models.image.native_references import reference_images, reference_notes, used_references
from models.image.pixels import decode_covering
from models.interfaces import VideoRequest
from models.video.frames import check_given_frames
from models.video.wan_engine import WanEngine

GREY = (128, 128, 128)
KEEP, MAKE = 0, 255


class WanVACE(WanEngine):
    """VideoModel over WanVACEPipeline."""

    def _stock(self) -> Any:
        return WanVACEPipeline

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        references = reference_images(request.references, request.adapter)
        return {"reference_images": list(references.values()) or None} | _given_frames(request)

    def _latent_shape(self, request: VideoRequest) -> tuple[int, int, int, int]:
        channels, height, width, frames = super()._latent_shape(request)
        return channels, height, width, frames + _references(request)

    def _start(self, noise: torch.Tensor, request: VideoRequest) -> torch.Tensor:
        return noise.roll(_references(request), dims=2)

    def _notes(self, request: VideoRequest) -> tuple[str, ...]:
        return (*super()._notes(request), *reference_notes(request.references, request.adapter))

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        check_given_frames(self._spec, request)
        references = _references(request)
        clip = super()._latent_shape(request)[-1]
        if references > clip:
            # diffusers 0.42.1 makes the references' mask from the clip's first latent frames.
            least = (references - 1) * self._pipeline.vae_scale_factor_temporal + 1
            raise InvalidRequest(
                f"{request.num_frames} frames are too few for {references} references; ask for at least {least}"
            )


def _references(request: VideoRequest) -> int:
    return len(used_references(request.references, request.adapter))


def _given_frames(request: VideoRequest) -> dict[str, Any]:
    """`video` and `mask` of the frames that the request gives; none when it gives none."""
    size = request.width, request.height
    given = {
        index: decode_covering(frame, f"the {name} frame", *size)
        for index, name, frame in ((0, "first", request.first_frame), (-1, "last", request.last_frame))
        if frame
    }
    if not given:
        return {}
    video = [Image.new("RGB", size, GREY)] * request.num_frames
    mask = [Image.new("L", size, MAKE)] * request.num_frames
    for index, frame in given.items():
        video[index], mask[index] = frame, Image.new("L", size, KEEP)
    return {"video": video, "mask": mask}
