"""Family `clip`: pictures and texts as unit vectors of one space, by the stock `CLIPModel` and processor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from models.diffusion.loading import LOCAL, loading
from models.scorers.backbone import Backbone
from models.spec import ScorerModelSpec


class ClipEncoder(Backbone):
    """A CLIP encoder on the folder `main`, as `quality.stream.TextBackbone` wants one."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        super().__init__(spec, folders, device)
        folder = folders["main"]
        with loading(spec) as dtype:
            model: Any = CLIPModel.from_pretrained(folder, dtype=dtype, **LOCAL)
            self._processor: Any = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
            self._tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = model.to(device).eval()
        self._tokens = int(model.config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape (frames, width), of frames (frames, 3, height, width).

        uint8 frames go through the model's own processor; float ones are what it takes.
        """
        if batch.dtype == torch.uint8:
            frames = list(batch.cpu().numpy())
            batch = self._processor(images=frames, input_data_format="channels_first", return_tensors="pt")[
                "pixel_values"
            ]
        pixels = batch.to(self.device, getattr(torch, self.dtype))
        return _unit(self._model.visual_projection(self._model.vision_model(pixel_values=pixels).pooler_output))

    @torch.inference_mode()
    def text(self, text: str) -> tuple[npt.NDArray[np.float32], bool]:
        """A vector of length 1, shape (width,), and whether the text was cut to what the model reads."""
        whole = len(self._tokenizer(text)["input_ids"])
        encoded = self._tokenizer(text, truncation=True, max_length=self._tokens, return_tensors="pt")
        pooled = self._model.text_model(**encoded.to(self.device)).pooler_output
        return _unit(self._model.text_projection(pooled))[0], whole > self._tokens


def _unit(rows: torch.Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = torch.nn.functional.normalize(rows.float(), dim=-1).cpu().numpy()
    return found
