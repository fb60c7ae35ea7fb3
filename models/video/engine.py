"""Video requests on a diffusers model: a clip of exactly the wanted frames, with the camera move said in the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from math import lcm
from pathlib import Path
from typing import Any, ClassVar

import torch

from models.diffusion.engine import CallOutput, DiffusionEngine, SoundOutput
from models.diffusion.inputs import cut_prompt_note, fit_note
from models.diffusion.latents import begin_within, pack, unpack
from models.errors import InvalidRequest
from models.interfaces import Audio, VideoRequest, VideoResult
from models.spec import LOWPASSES_CONDITION, VideoModelSpec
from models.video.camera import camera_words
from models.video.first_frame import CoarseFirst


class VideoEngine(DiffusionEngine[VideoRequest, VideoResult]):
    """What the video families have in common."""

    prompt_tokens: ClassVar[int | None] = None
    """What the text encoder reads; None: what its tokenizer says."""
    starts_from_latents: ClassVar[bool] = False
    """Whether a clip can start from the clean latents of another one, and so keeps its own when asked."""
    continues: ClassVar[bool] = False
    """Whether a clip can go on from the latents of another one, and so keeps its own when asked."""
    _spec: VideoModelSpec

    def __init__(self, spec: VideoModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """As `DiffusionEngine`."""
        super().__init__(spec, folders, device)
        self._early = CoarseFirst()
        self._stepwise = (*self._stepwise, self._early)

    def _check(self, request: VideoRequest) -> None:
        spec = self._spec
        spec.check_pixels(request.width, request.height, request.num_frames)
        super()._check(request)
        check_frames(spec, request.num_frames, lcm(spec.frame_multiple, self._grid.frames), self._longest())
        camera_words(spec, request.camera)
        if request.start and not self.starts_from_latents:
            raise InvalidRequest(f"model {spec.name!r} cannot start a clip from latents; leave out start")
        if request.continues and not self.continues:
            raise InvalidRequest(f"model {spec.name!r} cannot go on from another clip; leave out continues")
        if request.cond_lowpass_until and spec.family not in LOWPASSES_CONDITION:
            raise InvalidRequest(
                f"model {spec.name!r} of the family {spec.family!r} cannot look at a coarse first frame in early steps;"
                " leave out cond_lowpass_until"
            )
        if self._steps(request) < 1:
            raise InvalidRequest(
                f"strength {request.start and request.start.strength!r} of {request.num_inference_steps} steps runs no"
                " step; use a higher strength or more steps"
            )

    def _steps(self, request: VideoRequest) -> int:
        return int(request.num_inference_steps * (request.start.strength if request.start else 1.0))

    def _longest(self) -> int:
        """The most frames that a clip may have."""
        return self._spec.max_frames

    def _prompt(self, request: VideoRequest) -> str:
        return f"{request.prompt}, {camera_words(self._spec, request.camera)}"

    def _latent_shape(self, request: VideoRequest) -> tuple[int, int, int, int]:
        grid = self._grid
        frames = (request.num_frames - 1) // grid.frames + 1
        return grid.channels, request.height // grid.side, request.width // grid.side, frames

    def _task(self, request: VideoRequest, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        size = {"width": request.width, "height": request.height, "num_frames": request.num_frames}
        if request.start and request.start.strength < 1.0:
            clean = self._start(request, request.start.data, tuple(noise.shape[1:]))[None]
            steps, of = self._steps(request), request.num_inference_steps
            noise = begin_within(self._pipeline.scheduler, clean, noise, steps, of, **self._schedule(of))
        return self._pipeline, {**size, "latents": noise}

    def _start(self, request: VideoRequest, data: bytes, shape: tuple[int, ...]) -> torch.Tensor:
        """The clean latents to start from, of the `shape` of the start noise."""
        return unpack(data, shape)

    def _schedule(self, steps: int) -> dict[str, Any]:
        """What the pipeline gives its scheduler's `set_timesteps` beside the number of steps."""
        return {}

    def _result(self, request: VideoRequest, output: CallOutput) -> VideoResult:
        kept = None
        if request.keep_latents and (self.starts_from_latents or self.continues) and output.latents is not None:
            kept = pack(**self._clean_latents(request, output.latents, output.sound))
        notes = (*self._notes(request), *self._fit_notes(request))
        if request.keep_latents and kept is None:
            notes = (*notes, "no latents were kept: this model could not start from them")
        audio = None if output.sound is None else self._audio(request, output.sound)
        return VideoResult(output.pixels, output.noise_sha256, output.seconds, output.timings, notes, kept, audio)

    def _clean_latents(
        self, request: VideoRequest, latents: torch.Tensor, sound: SoundOutput | None
    ) -> dict[str, torch.Tensor]:
        """The latents of a call that kept them, by name, in latent cells."""
        return {"latents": latents[0]}

    def _audio(self, request: VideoRequest, sound: SoundOutput) -> Audio:
        """What is heard, exactly as long as the frames. Only of families whose pipeline makes sound."""
        raise NotImplementedError(f"{type(self).__name__} makes no sound")

    def _notes(self, request: VideoRequest) -> tuple[str, ...]:
        """What is not done as asked, in plain words."""
        tokenizer, limit = self._pipeline.tokenizer, self.prompt_tokens
        notes = cut_prompt_note(tokenizer, self._prompt(request), limit)
        if not self._guided(request):
            return notes
        return notes + cut_prompt_note(tokenizer, request.negative_prompt, limit, "the negative prompt")

    def _fit_notes(self, request: VideoRequest) -> tuple[str, ...]:
        step = lcm(self._spec.size_multiple, self._grid.multiple)
        frames = ("the first frame", request.first_frame), ("the last frame", request.last_frame)
        return tuple(
            note
            for name, frame in frames
            if frame is not None
            for note in fit_note(frame, name, request.width, request.height, step)
        )

    def _amount(self, request: VideoRequest, count: int = 1) -> str:
        frames = count * request.num_frames
        return f"{frames} frame{'s' if frames > 1 else ''} of {request.width}x{request.height}"


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
