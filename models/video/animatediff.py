"""Family `animatediff`: motion modules over a Stable Diffusion UNet, started from a keyframe, with IP-Adapter.

The keyframe enters as in PIA (arXiv 2312.13964): the motion adapter brings a `conv_in` of nine channels, which are the
noisy latents (4), and what each frame is told of the keyframe (5, see `held` and `followed`). Motion adapters without
one (plain AnimateDiff) cannot start from a picture and are refused. The camera move is folded into the prompt as words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import MotionAdapter, PIAPipeline, StableDiffusionPipeline, UNetMotionModel
from diffusers.pipelines.deprecated.pia.pipeline_pia import prepare_mask_coef_by_statistics
from PIL import Image
from torch.nn import functional as F

from models.diffusion.calls import Lane, Progress, Recent, check_size, decode_covering, tokens_of, unread_note
from models.diffusion.latents import encode
from models.diffusion.loading import LOCAL, Loras, check_loras, loading, part, renew_scheduler, scheduler
from models.diffusion.memory import SECOND_TRY, frugal, twice
from models.diffusion.noise import draw_batch, noise_sha256, step_generator
from models.diffusion.placement import exact, free_hooks, place, quantised
from models.diffusion.references import ReferenceAdapter, check_references
from models.errors import InvalidRequest
from models.interfaces import VideoRequest, VideoResult, Watcher
from models.spec import VideoModelSpec
from models.video.camera import camera_words
from models.video.camera import followed as moved_views
from models.video.frames import check_frames, to_uint8

SMALL_MOTION = 0
"""PIA's `motion_scale`: mask 1, 0.9, 0.85, 0.85, 0.85, then 0.8. The weights of this family are trained with it."""

Told = Callable[[Any, Image.Image, str, int], torch.Tensor]
"""From a diffusers pipeline, the keyframe, the camera's move and the number of frames to (1, 5, frames, h, w)."""


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


TOLD: dict[Literal["held", "followed"], Told] = {"held": held, "followed": followed}


REMEMBERED_TEXTS = 64


class KeyframePipeline(PIAPipeline):  # type: ignore[misc]
    """Stock PIA, except that `image` is what each frame is told: the stock class draws its own from the VAE."""

    def prepare_masked_condition(
        self, image: torch.Tensor, batch_size: int, num_channels_latents: int, num_frames: int, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask (n, 1, frames, h, w) and keyframe latents (n, 4, frames, h, w); n is 2 under guidance, else 1."""
        told = image.expand(2 if self.do_classifier_free_guidance else 1, -1, -1, -1, -1)
        return told[:, :1], told[:, 1:]


class AnimateDiff:
    """VideoModel over a PIA-type motion adapter."""

    def __init__(self, spec: VideoModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the parts `main` (a Stable Diffusion folder), `motion_adapter` and, with references, `ip_adapter`.

        Raises WeightsError, and InvalidRequest for a motion adapter that takes no keyframe.
        """
        self._spec = spec
        with loading(spec) as dtype:
            motion = MotionAdapter.from_pretrained(part(spec, folders, "motion_adapter"), dtype=dtype, **LOCAL)
            if not motion.config.conv_in_channels:
                raise InvalidRequest(
                    f"model {spec.name!r}: a clip must start from its keyframe, and this motion adapter takes none;"
                    " use a PIA-type motion adapter (`conv_in_channels: 9` in its config.json)"
                )
            self._longest = min(spec.max_frames, motion.config.motion_max_seq_length)
            self._pipeline = _pipeline(spec, part(spec, folders, "main"), motion, dtype)
            self._pipeline.scheduler = scheduler(spec, self._pipeline.scheduler)
            self._adapter = self._load_adapter(folders)
            self._loras = Loras(self._pipeline, spec, folders)
            place(self._pipeline, spec, device)
        self._pipeline.set_progress_bar_config(disable=True)
        self._texts: Recent[torch.Tensor] = Recent(REMEMBERED_TEXTS)
        self._lane = Lane(spec.name)

    def generate(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        """Make one clip of exactly `num_frames` frames that starts from `first_frame`.

        Raises InvalidRequest (size, frame count, camera move, references, a last frame), Cancelled, InferenceFailed.
        """
        self._check(request)
        with self._lane.turn(watcher, request.num_inference_steps):
            return twice(
                lambda: self._make(request, watcher),
                lambda: self._make_sparingly(request, watcher),
                self._forget,
                f"{request.num_frames} frames of {request.width}x{request.height}",
            )

    def stats(self) -> dict[str, dict[str, int]]:
        """Hits, misses and entries of what is remembered: `texts` and `references`."""
        return {"texts": self._texts.stats()} | ({"references": self._adapter.stats()} if self._adapter else {})

    def _make_sparingly(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        # A deterministic call keeps its bits: only what was freed is new.
        with nullcontext() if request.deterministic else frugal(self._pipeline.vae):
            result = self._make(request, watcher)
        return replace(result, notes=(*result.notes, SECOND_TRY))

    def _forget(self) -> None:
        self._texts.clear()
        if self._adapter:
            self._adapter.forget()

    def _make(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        pipeline = self._pipeline
        progress = Progress(watcher, self._adapter.before_step if self._adapter else None)
        factor = pipeline.vae_scale_factor
        noise = draw_batch([request.noise], 4, request.height // factor, request.width // factor, request.num_frames)
        renew_scheduler(pipeline)
        try:
            with exact(pipeline, request.deterministic), self._loras.use(request.loras):
                inputs = self._condition(request)
                progress.encoded()
                frames = pipeline(
                    **inputs,
                    latents=noise.to(pipeline._execution_device, pipeline.unet.dtype),
                    num_frames=request.num_frames,
                    width=request.width,
                    height=request.height,
                    num_inference_steps=request.num_inference_steps,
                    guidance_scale=request.guidance_scale,
                    generator=step_generator(request.noise),
                    callback_on_step_end=progress,
                    output_type="np",
                ).frames
        finally:
            free_hooks(pipeline)
            if self._adapter:
                self._adapter.release()
        seconds, timings = progress.finish()
        notes = unread_note(pipeline.tokenizer, self._prompt(request))
        return VideoResult(to_uint8(frames[0]), noise_sha256(noise), seconds, timings, notes)

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        pipeline = self._pipeline
        guided = request.guidance_scale > 1
        if request.first_frame is None:
            raise InvalidRequest(f"model {self._spec.name!r} starts a clip from its keyframe; give first_frame")
        keyframe = decode_covering(request.first_frame, "the first frame", request.width, request.height)
        inputs: dict[str, Any] = {
            "image": TOLD[self._spec.keyframe](pipeline, keyframe, request.camera, request.num_frames),
            "prompt_embeds": self._embed(self._prompt(request)),
        }
        if guided:
            inputs["negative_prompt_embeds"] = self._embed(request.negative_prompt)
        if self._adapter:
            inputs["ip_adapter_image_embeds"] = self._adapter.begin(request.references, request.adapter, guided)
        return inputs

    def _prompt(self, request: VideoRequest) -> str:
        """The camera's words last, as in captions; first when the text encoder would cut them off there."""
        words = camera_words(self._spec, request.camera)
        text = f"{request.prompt}, {words}"
        tokenizer = self._pipeline.tokenizer
        return text if tokens_of(tokenizer, text) <= tokenizer.model_max_length else f"{words}, {request.prompt}"

    def _embed(self, text: str) -> torch.Tensor:
        pipeline = self._pipeline
        key = f"{self._loras.key}\n{text}"
        return self._texts.get(key, lambda: pipeline.encode_prompt(text, pipeline._execution_device, 1, False)[0])

    def _check(self, request: VideoRequest) -> None:
        spec = self._spec
        spec.check_pixels(request.width, request.height, request.num_frames)
        check_loras(spec, request.loras)
        check_size(spec.name, request.width, request.height, spec.size_multiple, self._pipeline.vae_scale_factor)
        check_frames(spec, request.num_frames, spec.frame_multiple, self._longest)
        check_references(spec, request)
        camera_words(spec, request.camera)
        if request.last_frame:
            raise InvalidRequest(f"model {spec.name!r} cannot end on a given frame; leave out last_frame")

    def _load_adapter(self, folders: Mapping[str, Path]) -> ReferenceAdapter | None:
        spec = self._spec
        if not spec.references:
            return None
        folder = part(spec, folders, "ip_adapter")
        return ReferenceAdapter(self._pipeline, folder, spec.adapter_weight_name, spec.image_encoder, spec.references)


def _pipeline(spec: VideoModelSpec, folder: Path, motion: Any, dtype: torch.dtype) -> KeyframePipeline:
    still = StableDiffusionPipeline.from_pretrained(
        folder,
        dtype=dtype,
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
        **quantised(spec),
        **LOCAL,
    )
    # The motion UNet copies what it needs: neither the still UNet nor the adapter stays in memory.
    return KeyframePipeline(
        vae=still.vae,
        text_encoder=still.text_encoder,
        tokenizer=still.tokenizer,
        unet=UNetMotionModel.from_unet2d(still.unet, motion),
        scheduler=still.scheduler,
    )
