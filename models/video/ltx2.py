"""Family `ltx2`: LTX-2 and its successors, which make a clip and its sound in one go.

A first and a last frame are taken where given: the first becomes clean tokens of the clip's first latent frame, the
last clean tokens beside the clip at its own time. Both are passed through H.264 first, as in training. Start noise of
the frames, (128, frames, height / 32, width / 32), and of the sound, (8, sound frames, 16), come from the request's
integers; a start from latents (SDEdit) holds for both. No IP-Adapter exists for it: references reach the clip through
its keyframe. The camera move is folded into the prompt as words; what is to be heard is said in the prompt.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import LTX2ConditionPipeline
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition, calculate_shift
from diffusers.pipelines.ltx2.utils import resolve_default_image_crf
from PIL import Image
from torch.nn import functional as F

from models.diffusion.engine import LatentGrid, SoundOutput, TextEmbedding
from models.diffusion.inputs import decode_whole
from models.diffusion.latents import unpack_all
from models.diffusion.loading import load_pipeline
from models.diffusion.noise import draw_sound
from models.errors import InvalidRequest
from models.interfaces import Audio, VideoRequest
from models.video.engine import VideoEngine, check_given_frames

SOUND_GUIDANCE = 7 / 3
"""Guidance of the sound per guidance of the frames: the authors use 7 and 3."""
GUIDANCE = {"stg_scale": 1.0, "modality_scale": 3.0, "guidance_rescale": 0.7}
"""What the authors use beside classifier-free guidance: two more passes of the denoiser per step."""
UNGUIDED = {"stg_scale": 0.0, "modality_scale": 1.0, "guidance_rescale": 0.0}
"""For distilled weights: one pass per step."""


class OwnStart(LTX2ConditionPipeline):  # type: ignore[misc]
    """Stock pipeline that starts from the noise given as `latents` and `audio_latents`, which the stock class takes for
    a clean clip, or from a clean clip with as much of that noise as the first of its steps expects."""

    _callback_tensor_inputs: ClassVar[list[str]] = [*LTX2ConditionPipeline._callback_tensor_inputs, "audio_latents"]

    def __call__(
        self, *, sigmas: list[float], clean: Mapping[str, torch.Tensor] | None, **kwargs: Any
    ) -> tuple[torch.Tensor, ...]:
        """The stock call over `sigmas`; `clean` has latents of the shapes of `latents` and `audio_latents`."""
        self._start_sigmas, self._clean = sigmas, clean
        made: tuple[torch.Tensor, ...] = super().__call__(sigmas=sigmas, **kwargs)
        return made

    def prepare_latents(
        self, *args: Any, latents: torch.Tensor, noise_scale: float, **kwargs: Any
    ) -> tuple[torch.Tensor, ...]:
        """As the stock method, with `latents` for noise."""
        # Without noise, the stock method leaves what is given: the tokens of frames, and nothing elsewhere.
        start, mask, given, coordinates = super().prepare_latents(*args, latents=None, noise_scale=0.0, **kwargs)
        noise = self._tokens(latents).to(start)
        base = noise.shape[1]
        self._first_sigmas = self._noise_of_first_step(start.shape[1])
        if self._clean is not None:
            free = self._tokens(self._clean["latents"]).to(start)
            start[:, :base] = free * (1 - mask[:, :base]) + start[:, :base] * mask[:, :base]
        share = (1 - mask[:, :base]) * self._first_sigmas[0]
        start[:, :base] = noise * share + start[:, :base] * (1 - share)
        return start, mask, given, coordinates

    def _prepare_keyframe_coords(self, *args: Any, pixel_frame_idx: int, **kwargs: Any) -> torch.Tensor:
        """As the stock method, for a last frame at the clip's very end and not where its last latent frame begins."""
        end = pixel_frame_idx + self.vae_temporal_compression_ratio - 1
        coordinates: torch.Tensor = super()._prepare_keyframe_coords(*args, pixel_frame_idx=end, **kwargs)
        return coordinates

    def prepare_audio_latents(
        self, *args: Any, latents: torch.Tensor, dtype: torch.dtype, device: torch.device, **kwargs: Any
    ) -> torch.Tensor:
        """As the stock method, with `latents` for noise."""
        start: torch.Tensor = self._pack_audio_latents(latents)
        if self._clean is not None:
            share = self._first_sigmas[1]
            start = start * share + self._pack_audio_latents(self._clean["audio_latents"]) * (1 - share)
        return start.to(device, dtype)

    def _tokens(self, latents: torch.Tensor) -> torch.Tensor:
        packed: torch.Tensor = self._pack_latents(
            latents, self.transformer_spatial_patch_size, self.transformer_temporal_patch_size
        )
        return packed

    def _noise_of_first_step(self, tokens: int) -> tuple[float, float]:
        """The first of the sigmas for frames and sound, shifted as the stock call shifts them for `tokens` tokens."""
        if self._clean is None:
            return 1.0, 1.0
        names = ("base_image_seq_len", 1024), ("max_image_seq_len", 4096), ("base_shift", 0.95), ("max_shift", 2.05)
        mu = calculate_shift(tokens, *(self.scheduler.config.get(name, default) for name, default in names))
        found = []
        for scheduler in (self.scheduler, self.audio_scheduler or self.scheduler):
            scheduler.set_timesteps(sigmas=self._start_sigmas, mu=mu)
            found.append(float(scheduler.sigmas[0]))
        return found[0], found[1]


class LTX2(VideoEngine):
    """VideoModel over LTX2ConditionPipeline, from the part `main`. Clips have 8k + 1 frames, and sound."""

    cached_texts = 2
    """All layers of the text encoder are kept: 0.4 GB for one text."""
    starts_from_latents = True
    step_tensors = ("latents", "audio_latents")
    text_inputs = ("prompt_embeds", "prompt_attention_mask")
    prompt_tokens = 1024
    """What the stock pipeline's call encodes."""

    def _load(self, folders: Mapping[str, Path], dtype: torch.dtype) -> Any:
        return load_pipeline(OwnStart, self._spec, folders, dtype)

    def _latent_grid(self) -> LatentGrid:
        pipeline = self._pipeline
        side: int = pipeline.vae_spatial_compression_ratio
        multiple = side * pipeline.transformer_spatial_patch_size
        channels: int = pipeline.transformer.config.in_channels
        return LatentGrid(channels, side, multiple, pipeline.vae_temporal_compression_ratio)

    def _encode_text(self, text: str) -> TextEmbedding:
        options = {"do_classifier_free_guidance": False, "max_sequence_length": self.prompt_tokens}
        embedding, mask, *_ = self._pipeline.encode_prompt(text, **options)
        return embedding, mask

    def _condition(self, request: VideoRequest) -> dict[str, Any]:
        # Counted in latent frames.
        given = ((0, "first", request.first_frame), (-1, "last", request.last_frame))
        quality = resolve_default_image_crf(self._pipeline.text_encoder)
        conditions = [
            LTX2VideoCondition(
                recompressed(decode_whole(frame, f"the {name} frame", request.width, request.height), quality),
                index,
                crf=0,
            )
            for index, name, frame in given
            if frame
        ]
        guidance = GUIDANCE if self._guided(request) else UNGUIDED
        # Weights from 2.3 on modulate cross attention, and swap the noise levels of frames and sound there.
        later: bool = self._pipeline.transformer.config.cross_attn_mod
        return {
            "conditions": conditions or None,
            "frame_rate": float(self._spec.native_fps),
            "max_sequence_length": self.prompt_tokens,
            **guidance,
            **{f"audio_{name}": value for name, value in guidance.items()},
            "audio_guidance_scale": request.guidance_scale * SOUND_GUIDANCE if self._guided(request) else 1.0,
            "spatio_temporal_guidance_blocks": [28 if later else 29],
            "use_cross_timestep": later,
        }

    def _task(self, request: VideoRequest, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        channels, frames, bins = self._sound_shape(request)
        steps, of = self._steps(request), request.num_inference_steps
        clean = None
        if request.start and request.start.strength < 1.0:
            shapes = {"latents": tuple(noise.shape[1:]), "audio_latents": (channels, frames, bins)}
            clean = {name: each[None] for name, each in unpack_all(request.start.data, shapes).items()}
        start = {
            "latents": noise,
            "audio_latents": draw_sound(request.noise, channels, bins, frames)[None],
            "clean": clean,
            "sigmas": [float(sigma) for sigma in np.linspace(1.0, 1 / of, of)[of - steps :]],
        }
        size = {"width": request.width, "height": request.height, "num_frames": request.num_frames}
        return self._pipeline, {**size, **start}

    def _sound_shape(self, request: VideoRequest) -> tuple[int, int, int]:
        """Channels, frames and bins of the sound's latents."""
        pipeline = self._pipeline
        per_second = (
            pipeline.audio_sampling_rate
            / pipeline.audio_hop_length
            / float(pipeline.audio_vae_temporal_compression_ratio)
        )
        frames = round(request.num_frames / float(self._spec.native_fps) * per_second)
        bins = pipeline.audio_mel_bins // pipeline.audio_vae_mel_compression_ratio
        return pipeline.audio_latent_channels, frames, bins

    def _clean_latents(
        self, request: VideoRequest, latents: torch.Tensor, sound: SoundOutput | None
    ) -> dict[str, torch.Tensor]:
        _, height, width, frames = self._latent_shape(request)
        # Beside the clip's tokens lie those of a given last frame.
        sizes = self._pipeline.transformer_spatial_patch_size, self._pipeline.transformer_temporal_patch_size
        tokens = latents[:, : frames * height * width]
        kept = {"latents": self._pipeline._unpack_latents(tokens, frames, height, width, *sizes)[0]}
        if sound is not None:
            _, length, bins = self._sound_shape(request)
            kept["audio_latents"] = self._pipeline._unpack_audio_latents(sound.latents, length, num_mel_bins=bins)[0]
        return kept

    def _audio(self, request: VideoRequest, sound: SoundOutput) -> Audio:
        rate: int = self._pipeline.vocoder.config.output_sampling_rate
        length = round(request.num_frames * rate / self._spec.native_fps)
        made = sound.samples.float().cpu()[:, :length]
        # The audio VAE is causal: its sound ends some hundredths of a second before the frames do.
        samples = F.pad(made, (0, length - made.shape[1])).clamp(-1, 1).numpy()
        return Audio(samples, rate)

    def _check(self, request: VideoRequest) -> None:
        super()._check(request)
        least = 2 * self._grid.side  # the decoder pads by reflection, which a single cell has nothing for
        if min(request.width, request.height) < least:
            raise InvalidRequest(
                f"size {request.width}x{request.height} is too small for model {self._spec.name!r}: make each side at"
                f" least {least}"
            )
        if request.num_inference_steps == 1 and self._pipeline.scheduler.config.shift_terminal:
            # The schedule is stretched from its first sigma to its last, which are one then.
            raise InvalidRequest(f"model {self._spec.name!r} needs at least 2 steps; ask for more")
        check_given_frames(self._spec, request)


def recompressed(image: Image.Image, crf: int) -> Image.Image:
    """`image` after H.264 at `crf`, as given frames were in training. The same bits every time.

    diffusers' own such step takes as many threads as the machine has cores, and code of x264 that is not reproducible.
    """
    import av

    exact = ":asm=avx2" if platform.machine() in ("x86_64", "AMD64") else ""
    options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": f"keyint=1{exact}"}
    with io.BytesIO() as file:
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=1, options=options)
            stream.width, stream.height, stream.pix_fmt = image.width, image.height, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
            container.mux(stream.encode())
        file.seek(0)
        with av.open(file) as container:
            picture: Image.Image = next(container.decode(video=0)).to_image()
            return picture
