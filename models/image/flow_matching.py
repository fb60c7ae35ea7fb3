"""Image families whose stock pipelines look at pictures beside the prompt, but take neither a strength nor a mask.

Both are done by the scheduler of the call: it begins later, from noised clean latents, and keeps the clean ones outside
the mask after every step. So start image, kept latents, mask and references work together, in one pipeline.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from PIL import Image

from models.diffusion.inputs import decode_mask, decode_whole, whole_cells
from models.diffusion.latents import begin_within, keep_outside
from models.image.engine import ImageEngine, steps_rounded_up
from models.interfaces import ImageRequest, Inpaint


class FlowMatchingEngine(ImageEngine):
    """An ImageEngine that starts and repaints through the scheduler."""

    @abstractmethod
    def _shift(self, tokens: int, steps: int) -> float:
        """The shift `mu` that the pipeline gives its scheduler for a picture of `tokens` tokens in `steps` steps."""

    def _pipeline_for(self, request: ImageRequest) -> Any:
        """The pipeline that serves the request."""
        return self._pipeline

    def _tokens(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as the scheduler sees them in every step."""
        return self._packed(latents)

    def _steps(self, request: ImageRequest) -> int:
        return steps_rounded_up(request)

    def _task(self, request: ImageRequest, noise: torch.Tensor) -> tuple[Any, dict[str, Any]]:
        noise, pipeline = self._on_device(noise), self._pipeline_for(request)
        begun, size = noise, {"width": request.width, "height": request.height}
        if request.inpaint or (request.start and request.start.strength < 1.0):
            picture = canvas(request.inpaint, request.width, request.height) if request.inpaint else None
            clean = self._on_device(self._clean(picture) if picture else self._start(request))
            steps, of = self._steps(request), request.num_inference_steps
            if steps < of:
                tokens = request.width * request.height // self._grid.multiple**2
                schedule = {"sigmas": np.linspace(1.0, 1 / of, of), "mu": self._shift(tokens, of)}
                begun = begin_within(pipeline.scheduler, clean, noise, steps, of, **schedule)
            if request.inpaint:
                mask = decode_mask(request.inpaint.mask, "the mask", request.width, request.height)
                keep_outside(pipeline.scheduler, *map(self._tokens, (clean, noise, self._cells(mask))))
        return pipeline, {**size, "latents": self._packed(begun)}

    def _cells(self, mask: Image.Image) -> torch.Tensor:
        """1 in the latent cells that `mask` touches, 0 in the others, in every channel."""
        side = self._grid.side
        touched = np.asarray(whole_cells(mask, side))[::side, ::side] > 0
        cells = torch.from_numpy(touched).expand(1, self._grid.channels, *touched.shape)
        return self._on_device(cells.contiguous())


def canvas(inpaint: Inpaint, width: int, height: int) -> Image.Image:
    """The whole picture to inpaint, at `width` x `height`."""
    return decode_whole(inpaint.image, "the image to inpaint", width, height)
