"""Family `helios`: clips made window by window, each from the latents of what came before; and so also clip after clip.

A window is 33 frames (9 latent frames). The pipeline looks back on the last 19 latent frames, finely on the newest and
coarsely on the oldest, and on the first frame of all, as its anchor. A clip can begin with a picture (`first_frame`),
or go on from the kept latents of another clip (`continues`): those 19 frames and the anchor. No picture is encoded or
decoded in between, and its first frame follows on the other's last one. No IP-Adapter exists for it. The camera move is
folded into the prompt as words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import HeliosPipeline
from torch.nn import functional as F

from models.diffusion.engine import CallOutput, LatentGrid, SoundOutput, TextEmbedding
from models.diffusion.inputs import decode_whole
from models.diffusion.latents import execution_device, unpack_all
from models.diffusion.loading import load_pipeline
from models.diffusion.noise import step_generator
from models.errors import InvalidRequest
from models.interfaces import EncodedImage, VideoRequest, VideoResult
from models.video.engine import VideoEngine, check_given_frames

WINDOW = 9
"""Latent frames that are made at a time."""
HISTORY = (16, 2, 1)
"""Latent frames that are looked back on: coarsely, finely, and the newest one."""
GIVEN_NOISE = 0.111, 0.135
"""Between which shares of noise the authors mix into a given picture."""


class Windows(HeliosPipeline):  # type: ignore[misc]
    """Stock pipeline that starts its windows from the noise given as `latents`, and shows all that it made.

    The stock class draws noise itself, and its callback sees the window at work only.
    """

    def __call__(self, *, latents: torch.Tensor, callback_on_step_end: Any, **kwargs: Any) -> Any:
        """The stock call. After each window the callback sees the anchor and all windows so far, in one tensor."""
        self._noises = iter(torch.split(latents, WINDOW, dim=2))
        anchor: torch.Tensor | None = kwargs["image_latents"]
        made: list[torch.Tensor] = []

        def shown(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if index + 1 == pipeline.num_timesteps:
                made.append(tensors["latents"])
            first = made[0][:, :, :1] if anchor is None and made else anchor
            known = {} if first is None else {"latents": torch.cat([first.to(tensors["latents"]), *made], dim=2)}
            changes: dict[str, Any] = callback_on_step_end(pipeline, index, timestep, known)
            return changes

        return super().__call__(callback_on_step_end=shown, **kwargs)

    def prepare_latents(self, *args: Any, dtype: torch.dtype, device: torch.device, **kwargs: Any) -> torch.Tensor:
        """The noise of the next window."""
        noise: torch.Tensor = next(self._noises)
        return noise.to(device, dtype)


class Helios(VideoEngine):
    """VideoModel over HeliosPipeline, from the part `main`. Clips have 4k + 1 frames."""

    cached_texts = 32
    continues = True
    prompt_tokens = 512
    """What the stock pipeline's call encodes; its `encode_prompt` alone would take 226."""

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        return load_pipeline(Windows, self._spec, folders, {"default": dtype, "vae": torch.float32})

    def _latent_grid(self) -> LatentGrid:
        pipeline = self._pipeline
        side: int = pipeline.vae_scale_factor_spatial
        multiple = side * pipeline.transformer.config.patch_size[-1]
        return LatentGrid(pipeline.vae.config.z_dim, side, multiple, pipeline.vae_scale_factor_temporal)

    def _encode_text(self, text: str) -> TextEmbedding:
        options = {"do_classifier_free_guidance": False, "max_sequence_length": self.prompt_tokens}
        return (self._pipeline.encode_prompt(text, **options)[0],)

    def _latent_shape(self, request: VideoRequest) -> tuple[int, int, int, int]:
        channels, height, width, _ = super()._latent_shape(request)
        return channels, height, width, WINDOW * self._windows(request)

    def _steps(self, request: VideoRequest) -> int:
        return request.num_inference_steps * self._windows(request)

    def _windows(self, request: VideoRequest) -> int:
        """How many windows make the clip: each has 33 frames, and of all together 4k + 1 are given."""
        count = 1
        while (self._frames(count) - 1) // self._grid.frames * self._grid.frames + 1 < request.num_frames:
            count += 1
        return count

    def _frames(self, windows: int) -> int:
        return windows * ((WINDOW - 1) * self._grid.frames + 1)

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        given: dict[str, Any] = {"image_latents": None}
        if request.first_frame:
            given["image_latents"], given["fake_image_latents"] = self._noised_picture(request, request.first_frame)
        elif request.continues:
            channels, height, width, _ = self._latent_shape(request)
            shapes = {"latents": (channels, sum(HISTORY), height, width), "anchor": (channels, 1, height, width)}
            tensors = unpack_all(request.continues, shapes)
            # As the pipeline itself goes on from one window to the next: without noise.
            given["video_latents"], given["image_latents"] = (
                tensors[name][None].to(self._pipeline._execution_device) for name in ("latents", "anchor")
            )
        return {
            **given,
            "history_sizes": list(HISTORY),
            "num_latent_frames_per_chunk": WINDOW,
            "add_noise_to_image_latents": False,
            "add_noise_to_video_latents": False,
            "max_sequence_length": self.prompt_tokens,
        }

    def _noised_picture(self, request: VideoRequest, frame: EncodedImage) -> list[torch.Tensor]:
        """The latents of the first frame, and those of a clip's end in which it stands still, with a little noise.

        As the stock call makes them, but for noise that does not depend on the device and the posterior's mode.
        """
        pipeline, vae = self._pipeline, self._pipeline.vae
        picture = decode_whole(frame, "the first frame", request.width, request.height)
        pixels = pipeline.video_processor.preprocess(picture)[:, :, None]
        config, generator, noised = vae.config, step_generator(request.noise), []
        for count in (1, self._frames(1)):
            still = pixels.expand(-1, -1, count, -1, -1).to(execution_device(vae), vae.dtype)
            latents = vae.encode(still).latent_dist.mode()[:, :, -1:].float().cpu()
            mean, deviation = (torch.tensor(config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std"))
            least, most = GIVEN_NOISE
            share = least + (most - least) * torch.rand(1, generator=generator)
            noise = torch.randn(latents.shape, generator=generator)
            noised.append((share * noise + (1 - share) * (latents - mean) / deviation).to(pipeline._execution_device))
        return noised

    def _clean_latents(
        self, request: VideoRequest, latents: torch.Tensor, sound: SoundOutput | None
    ) -> dict[str, torch.Tensor]:
        anchor, made = torch.split(latents[0].float().cpu(), [1, latents.shape[2] - 1], dim=1)
        # A clip that ends within a window is continued from what it shows of it.
        unseen = self._frames(self._windows(request)) - request.num_frames
        seen = made[:, : made.shape[1] - unseen // self._grid.frames]
        looked_back_on = sum(HISTORY)
        if request.continues:
            _, height, width, _ = self._latent_shape(request)
            shapes = {"latents": (len(made), looked_back_on, height, width), "anchor": (len(made), 1, height, width)}
            seen = torch.cat([unpack_all(request.continues, shapes)["latents"], seen], dim=1)
        missing = max(looked_back_on - seen.shape[1], 0)
        return {"latents": F.pad(seen, (0, 0, 0, 0, missing, 0))[:, -looked_back_on:], "anchor": anchor}

    def _result(self, request: VideoRequest, output: CallOutput) -> VideoResult:
        return super()._result(request, replace(output, pixels=output.pixels[: request.num_frames]))

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        check_given_frames(self._spec, request)
        if request.first_frame and request.continues:
            raise InvalidRequest(
                "a clip that goes on from another one begins where that ends; leave out first_frame or continues"
            )
