"""Family `siglip`: pictures and texts as unit vectors of one space, by the stock `SiglipModel`.

SigLIP 2 (Tschannen et al., arXiv 2502.14786) at a fixed resolution has the classes of SigLIP; its picture encoder has
93 M parameters. It reads 64 tokens and more languages than CLIP. Published on the hub in the layout that is loaded
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedTokenizerFast, SiglipImageProcessorPil, SiglipModel

from models.diffusion.loading import loading
from models.scorers.backbone import Backbone
from models.scorers.stock import POSITION_TABLES, picked, processed, stock, unit
from models.spec import ScorerModelSpec


class SiglipEncoder(Backbone):
    """A SigLIP encoder on the folder `main`, as `quality.stream.TextBackbone` wants one."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        super().__init__(spec, folders, device)
        folder = folders["main"]
        self._model = stock(SiglipModel, spec, folder, device, surplus=POSITION_TABLES)
        with loading(spec):
            self._processor: Any = SiglipImageProcessorPil.from_pretrained(folder, local_files_only=True)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(picked(folders, "tokenizer"), local_files_only=True)
        self._tokenizer: Any = tokenizer
        self._tokens = int(self._model.config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape (frames, width), of frames (frames, 3, height, width).

        uint8 frames go through the model's own processor; float ones are what it takes.
        """
        if batch.dtype == torch.uint8:
            batch = processed(self._processor, batch)
        pixels = batch.to(self.device, getattr(torch, self.dtype))
        return unit(self._model.vision_model(pixel_values=pixels).pooler_output)

    @torch.inference_mode()
    def text(self, text: str) -> tuple[npt.NDArray[np.float32], bool]:
        """A vector of length 1, shape (width,), and whether the text was cut to what the model reads.

        It was trained on lower-case texts that are padded to its whole length, and its vector is that of the last
        token.
        """
        whole = len(self._tokenizer(text.lower())["input_ids"])
        encoded = self._tokenizer(
            text.lower(), truncation=True, padding="max_length", max_length=self._tokens, return_tensors="pt"
        )
        pooled = self._model.text_model(input_ids=encoded["input_ids"].to(self.device)).pooler_output
        return unit(pooled)[0], whole > self._tokens
