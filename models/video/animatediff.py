"""Family `animatediff`: motion modules over a Stable Diffusion UNet, started from a keyframe, with IP-Adapter.

The keyframe enters as in PIA (arXiv 2312.13964): for a VAE of C latent channels the motion adapter brings a `conv_in`
of 1 + 2C channels, which are the noisy latents (C) and the keyframe condition of each frame (1 + C, see `held` and
`followed`). Motion adapters without one (plain AnimateDiff) cannot start from a picture and are refused. The camera
move is folded into the prompt as words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import MotionAdapter, PIAPipeline, StableDiffusionPipeline, UNetMotionModel
from diffusers.pipelines.deprecated.pia.pipeline_pia import prepare_mask_coef_by_statistics
from PIL import Image
from torch import nn
from torch.nn import functional as F

from models.diffusion.engine import LatentGrid, TextEmbedding
from models.diffusion.inputs import count_tokens, decode_whole
from models.diffusion.latents import encode
from models.diffusion.loading import LOCAL, load_pipeline, part, variant
from models.diffusion.references import ReferenceAdapter
from models.errors import InvalidRequest
from models.interfaces import VideoRequest
from models.video.camera import camera_words
from models.video.camera import followed as moved_views
from models.video.engine import VideoEngine

SMALL_MOTION = 0
"""PIA's `motion_scale`: mask 1, 0.9, 0.85, 0.85, 0.85, then 0.8. The weights of this family are trained with it."""

KeyframeCondition = Callable[[Any, Image.Image, str, int], torch.Tensor]
"""From a diffusers pipeline, the keyframe, the camera's move and the number of frames to (1, 1 + C, frames, h, w)."""


def held(pipeline: Any, keyframe: Image.Image, camera: str, num_frames: int) -> torch.Tensor:
    """The keyframe's latents in every frame; the move plays no part."""
    latents = encode(pipeline.vae, pipeline.video_processor.preprocess(keyframe)).unsqueeze(2)
    coefficients = prepare_mask_coef_by_statistics(num_frames, 0, SMALL_MOTION)
    mask = latents.new_tensor(coefficients).view(1, 1, -1, 1, 1).expand(1, 1, -1, *latents.shape[-2:])
    return torch.cat([mask, latents.expand(-1, -1, num_frames, -1, -1)], dim=1)


def followed(pipeline: Any, keyframe: Image.Image, camera: str, num_frames: int) -> torch.Tensor:
    """The latents of the keyframe as the camera sees it in each frame, zero where it runs past the keyframe's edge."""
    views, known = moved_views(np.asarray(keyframe), camera, num_frames)
    pixels = torch.cat([pipeline.video_processor.preprocess(Image.fromarray(view)) for view in views])
    latents = encode(pipeline.vae, pixels)
    mask = F.avg_pool2d(torch.from_numpy(known)[:, None], pipeline.vae_scale_factor).to(latents)
    return torch.cat([mask, latents * mask], dim=1).transpose(0, 1).unsqueeze(0)


CONDITIONS: dict[Literal["held", "followed"], KeyframeCondition] = {"held": held, "followed": followed}
"""By the `keyframe` of the model's description."""


class KeyframePipeline(PIAPipeline):  # type: ignore[misc]
    """Stock PIA, except that `image` is the finished keyframe condition: the stock class draws its own from the VAE."""

    def prepare_masked_condition(
        self, image: torch.Tensor, batch_size: int, num_channels_latents: int, num_frames: int, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask (n, 1, frames, h, w) and keyframe latents (n, C, frames, h, w); n is 2 under guidance, else 1."""
        condition = image.expand(2 if self.do_classifier_free_guidance else 1, -1, -1, -1, -1)
        return condition[:, :1], condition[:, 1:]


class AnimateDiff(VideoEngine):
    """VideoModel over a PIA-type motion adapter.

    The parts are `main` (a Stable Diffusion folder), `motion_adapter` and, with references, `ip_adapter`.
    """

    starts_from_latents = True
    _adapter: ReferenceAdapter | None

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        unused = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
        motion_files = variant(self._spec, "motion_adapter")
        motion = MotionAdapter.from_pretrained(
            part(self._spec, folders, "motion_adapter"), dtype=dtype, **motion_files, **LOCAL
        )
        still = load_pipeline(
            StableDiffusionPipeline, self._spec, folders, dtype, requires_safety_checker=False, **unused
        )
        self._check_motion(motion, still.vae.config.latent_channels)
        # The motion UNet copies what it needs: neither the still UNet nor the adapter stays in memory.
        return KeyframePipeline(
            vae=still.vae,
            text_encoder=still.text_encoder,
            tokenizer=still.tokenizer,
            unet=motion_unet(still.unet, motion),
            scheduler=still.scheduler,
        )

    def _check_motion(self, motion: MotionAdapter, channels: int) -> None:
        has, wanted = motion.config.conv_in_channels, 1 + 2 * channels
        if not has:
            raise InvalidRequest(
                f"model {self._spec.name!r}: a clip must start from its keyframe, and this motion adapter takes none;"
                f" use a PIA-type motion adapter (`conv_in_channels: {wanted}` in its config.json)"
            )
        if has != wanted:
            raise InvalidRequest(
                f"model {self._spec.name!r}: this motion adapter has `conv_in_channels: {has}`, but the VAE in `main`"
                f" has {channels} latent channels, which need {wanted}; use a motion adapter trained with that VAE"
            )

    def _load_adapter(self, folders: Mapping[str, Path]) -> ReferenceAdapter:
        return ReferenceAdapter.of(self._spec, folders, self._pipeline)

    def _latent_grid(self) -> LatentGrid:
        pipeline = self._pipeline
        return LatentGrid(pipeline.vae.config.latent_channels, pipeline.vae_scale_factor, pipeline.vae_scale_factor)

    def _longest(self) -> int:
        longest: int = self._pipeline.unet.config.motion_max_seq_length
        return min(super()._longest(), longest)

    def _encode_text(self, text: str) -> TextEmbedding:
        return (self._pipeline.encode_prompt(text, self._pipeline._execution_device, 1, False)[0],)

    def _prompt(self, request: VideoRequest) -> str:
        """The camera's words last, as in captions; first when the text encoder would cut them off there."""
        text, tokenizer = super()._prompt(request), self._pipeline.tokenizer
        if count_tokens(tokenizer, text) <= tokenizer.model_max_length:
            return text
        return f"{camera_words(self._spec, request.camera)}, {request.prompt}"

    def _task(self, request: VideoRequest, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        return super()._task(request, self._on_device(noise))

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        if request.first_frame is None:
            raise ValueError("a clip of this family has a first frame")
        keyframe = decode_whole(request.first_frame, "the first frame", request.width, request.height)
        condition = CONDITIONS[self._spec.keyframe]
        whole = condition(self._pipeline, keyframe, request.camera, request.num_frames)
        seen = self._early.begin(whole, self._grid.channels, request.cond_lowpass_until)
        inputs: dict[str, Any] = {"image": seen}
        if self._adapter:
            guided = self._guided(request)
            inputs["ip_adapter_image_embeds"] = self._adapter.begin(request.references, request.adapter, guided)
        return inputs

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        if request.first_frame is None:
            raise InvalidRequest(f"model {self._spec.name!r} starts a clip from its keyframe; give first_frame")
        if request.last_frame:
            raise InvalidRequest(f"model {self._spec.name!r} cannot end on a given frame; leave out last_frame")


def motion_unet(still: Any, motion: MotionAdapter) -> Any:
    """The UNet of a PIA-type pipeline: `still` with the motion modules and the wider `conv_in` of `motion`.

    The first C input channels, of the noisy latents, have the weights of `still`; the 1 + C of the keyframe condition
    those of `motion`. diffusers 0.42.1 does the same for C = 4 only; so it joins the two without a `conv_in` here.
    """
    channels, wider = still.conv_in.in_channels, motion.conv_in
    motion.register_to_config(conv_in_channels=None)
    joined = UNetMotionModel.from_unet2d(still, motion)
    narrow = joined.conv_in
    joined.conv_in = nn.Conv2d(
        wider.in_channels, narrow.out_channels, narrow.kernel_size, padding=narrow.padding
    ).to(narrow.weight)  # fmt: skip
    weight = torch.cat([still.conv_in.weight, wider.weight[:, channels:]], dim=1)
    joined.conv_in.load_state_dict({"weight": weight, "bias": still.conv_in.bias})
    joined.register_to_config(in_channels=wider.in_channels)
    return joined
