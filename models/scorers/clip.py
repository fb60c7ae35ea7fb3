"""Family `clip`: pictures and texts as unit vectors of one space, by the stock `CLIPModel` and processor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from models.diffusion.loading import LOCAL, loading
from models.interfaces import Pixels
from models.spec import ScorerModelSpec
from models.weights import read_manifest

BATCH = 16
"""Frames encoded at once: bounds the memory, whatever a clip's length."""
WEIGHTS_FILE = "model.safetensors"


class ClipEncoder:
    """A CLIP encoder on the folder `main`, as `quality.score.Encoder` wants one. Its calls block."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        folder = folders["main"]
        self.name = spec.name
        self.fidelity: Literal["proxy", "toy"] = spec.fidelity
        self.weights_sha256 = read_manifest(folder).files[WEIGHTS_FILE].sha256
        self.dtype = spec.dtype
        self.device = device
        with loading(spec) as dtype:
            model: Any = CLIPModel.from_pretrained(folder, dtype=dtype, **LOCAL)
            self._processor: Any = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
            self._tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = model.to(device).eval()
        self._tokens = int(model.config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def images(self, frames: Iterable[Pixels]) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape (frames, width)."""
        rows = [self._embed(batch) for batch in _batches(frames)]
        if not rows:
            return np.zeros((0, self._model.config.projection_dim), np.float32)
        return np.concatenate(rows)

    @torch.inference_mode()
    def text(self, text: str) -> tuple[npt.NDArray[np.float32], bool]:
        """A vector of length 1, shape (width,), and whether the text was cut to what the model reads."""
        whole = len(self._tokenizer(text)["input_ids"])
        encoded = self._tokenizer(text, truncation=True, max_length=self._tokens, return_tensors="pt")
        pooled = self._model.text_model(**encoded.to(self.device)).pooler_output
        return _unit(self._model.text_projection(pooled))[0], whole > self._tokens

    def _embed(self, batch: list[Image.Image]) -> npt.NDArray[np.float32]:
        pixels = self._processor(images=batch, return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.device, getattr(torch, self.dtype))
        return _unit(self._model.visual_projection(self._model.vision_model(pixel_values=pixels).pooler_output))


def _batches(frames: Iterable[Pixels]) -> Iterator[list[Image.Image]]:
    pictures = (Image.fromarray(frame) for frame in frames)
    while batch := list(islice(pictures, BATCH)):
        yield batch


def _unit(rows: torch.Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = torch.nn.functional.normalize(rows.float(), dim=-1).cpu().numpy()
    return found
