"""Image requests on a diffusers model: from noise, from an image or its latents, or inside a mask.

A family's pipelines share one set of weights, one reference adapter and one lock: text to image first, then image to
image and inpainting in a family that has them.
"""

from __future__ import annotations

from math import ceil, lcm
from typing import Any, ClassVar

import torch

from models.diffusion.engine import CallOutput, DiffusionEngine
from models.diffusion.inputs import check_mask_shape, cut_prompt_note, decode_mask, decode_whole, fit_note, whole_cells
from models.diffusion.latents import encode, pack, unpack
from models.errors import InvalidRequest
from models.interfaces import ImageRequest, ImageResult, StartLatents
from models.spec import ImageModelSpec


class ImageEngine(DiffusionEngine[ImageRequest, ImageResult]):
    """What the image families have in common.

    `start` and `inpaint` exclude each other. The strength decides how many of the `num_inference_steps` run, and
    adapter begin and end count those that run.
    """

    prompt_tokens: ClassVar[int | None] = None
    """What the text encoder reads; None: what its tokenizer says."""
    _spec: ImageModelSpec

    def _check(self, request: ImageRequest) -> None:
        self._spec.check_pixels(request.width, request.height)
        super()._check(request)
        if request.start and request.inpaint:
            raise InvalidRequest("a request has both a start image and an inpainting; give one of them")
        if request.inpaint:
            check_mask_shape(request.inpaint)
        refusal = self._spec.attention_refusal
        if refusal and (request.keep_attention is not None or request.attention_bank is not None):
            raise InvalidRequest(f"attention cannot be shared: {refusal}; leave out keep_attention and attention_bank")
        if request.keep_attention is not None and request.attention_bank is not None:
            raise InvalidRequest("a picture writes an attention bank or reads one: leave out one of the two")
        if self._steps(request) < 1:
            strength, steps = _strength(request), request.num_inference_steps
            raise InvalidRequest(
                f"strength {strength!r} of {steps} steps runs no step;"
                f" use at least {ceil(1000 / steps) / 1000:.3f}{' or more steps' if strength else ''}"
            )

    def _steps(self, request: ImageRequest) -> int:
        return int(request.num_inference_steps * _strength(request))

    def _latent_shape(self, request: ImageRequest) -> tuple[int, int, int]:
        return self._grid.channels, request.height // self._grid.side, request.width // self._grid.side

    def _task(self, request: ImageRequest, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        noise = self._on_device(noise)
        size = {"width": request.width, "height": request.height}
        if request.inpaint:
            clean = self._clean(decode_whole(request.inpaint.image, "the image to inpaint", **size))
            mask = whole_cells(decode_mask(request.inpaint.mask, "the mask", **size), self._grid.side)
            # The masked image matters to denoisers that see it as channels; as latents it costs no encoding.
            start = {"image": clean, "mask_image": mask, "masked_image_latents": clean, "latents": noise}
            _, _, inpainting = self._pipelines
            return inpainting, {**size, **start, "strength": request.inpaint.strength}
        if request.start and request.start.strength < 1.0:
            start = {"image": self._start(request), "latents": noise}
            _, image_to_image, _ = self._pipelines
            return image_to_image, {**size, **start, "strength": request.start.strength}
        return self._pipeline, {**size, "latents": self._packed(noise)}

    def _start(self, request: ImageRequest) -> torch.Tensor:
        """Clean latents that the request starts from, a batch of one."""
        if isinstance(request.start, StartLatents):
            latents = unpack(request.start.data, self._latent_shape(request))[None]
            # Laid out as the VAE lays them out, or some CPUs' convolutions round the last bit in another way.
            return self._on_device(latents.contiguous(memory_format=torch.channels_last))
        if request.start is None:
            raise ValueError("the request starts from nothing")
        return self._clean(decode_whole(request.start.image, "the start image", request.width, request.height))

    def _clean(self, image: Any) -> torch.Tensor:
        """Clean latents of an image, as the denoiser takes them."""
        return encode(self._pipeline.vae, self._pipeline.image_processor.preprocess(image))

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as the text-to-image pipeline takes them; packed into tokens in families that do so."""
        return latents

    def _unpacked(self, latents: torch.Tensor, request: ImageRequest) -> torch.Tensor | None:
        """The opposite of `_packed`; None in a family that could not start from such latents."""
        return latents

    def _result(self, request: ImageRequest, output: CallOutput) -> ImageResult:
        kept = None
        if request.keep_latents and output.latents is not None:
            kept = self._unpacked(output.latents, request)
        return ImageResult(
            output.pixels,
            output.noise_sha256,
            output.seconds,
            output.timings,
            (*self._notes(request), *self._fit_note(request)),
            None if kept is None else pack(kept[0]),
            self._attention_bank(),
        )

    def _attention_bank(self) -> bytes | None:
        """The bank that the call has written."""
        return None

    def _notes(self, request: ImageRequest) -> tuple[str, ...]:
        """What is not done as asked, in plain words."""
        tokenizer = self._pipeline.tokenizer
        notes = cut_prompt_note(tokenizer, self._as_read(request.prompt), self.prompt_tokens)
        if not self._guided(request):
            return notes
        negative = self._as_read(request.negative_prompt)
        return notes + cut_prompt_note(tokenizer, negative, self.prompt_tokens, "the negative prompt")

    def _as_read(self, text: str) -> str:
        """`text` with what a family's pipeline puts around it before it is cut."""
        return text

    def _fit_note(self, request: ImageRequest) -> tuple[str, ...]:
        given = request.inpaint or request.start
        if given is None or isinstance(given, StartLatents):
            return ()
        step = lcm(self._spec.size_multiple, self._grid.multiple)
        return fit_note(given.image, "the image", request.width, request.height, step)

    def _amount(self, request: ImageRequest, count: int = 1) -> str:
        return f"{count} image{'s' if count > 1 else ''} of {request.width}x{request.height}"


def steps_rounded_up(request: ImageRequest) -> int:
    """Denoising steps of a family whose stock pipelines run, of a strength between two counts, the higher one."""
    steps = request.num_inference_steps
    return steps - int(max(steps - min(steps * _strength(request), steps), 0))


def _strength(request: ImageRequest) -> float:
    within = request.inpaint or request.start
    return within.strength if within else 1.0


def negative_prompt_note(request: ImageRequest) -> str:
    """The note of a call without guidance that was given a negative prompt."""
    return (
        f"the negative prompt {request.negative_prompt[:40]!r} had no effect: it works through guidance, and this call"
        " has none; say in the prompt what to show instead"
    )
