"""Family `clip`: pictures and texts as unit vectors of one space, by the stock `CLIPModel` and processor.

CLIP (Radford et al., arXiv 2103.00020). From the hub, or from OpenAI's own TorchScript files by `admint models
convert`; those hold no tokenizer, which is then a weight part of its own (`tokenizer`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from models.conversion import Layout, Piece
from models.diffusion.loading import loading
from models.scorers.backbone import Backbone
from models.scorers.stock import POSITION_TABLES, picked, processed, stock, unit
from models.spec import ScorerModelSpec

_NOT_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Entries of OpenAI's files that describe the network."""


class ClipEncoder(Backbone):
    """A CLIP encoder on the folder `main`, as `quality.stream.TextBackbone` wants one."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        super().__init__(spec, folders, device)
        folder = folders["main"]
        self._model = stock(CLIPModel, spec, folder, device, surplus=POSITION_TABLES)
        with loading(spec):
            self._processor: Any = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
            self._tokenizer: Any = CLIPTokenizer.from_pretrained(picked(folders, "tokenizer"), local_files_only=True)
        self._tokens = int(self._model.config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape (frames, width), of frames (frames, 3, height, width).

        uint8 frames go through the model's own processor; float ones are what it takes.
        """
        if batch.dtype == torch.uint8:
            batch = processed(self._processor, batch)
        pixels = batch.to(self.device, getattr(torch, self.dtype))
        return unit(self._model.visual_projection(self._model.vision_model(pixel_values=pixels).pooler_output))

    @torch.inference_mode()
    def text(self, text: str) -> tuple[npt.NDArray[np.float32], bool]:
        """A vector of length 1, shape (width,), and whether the text was cut to what the model reads."""
        whole = len(self._tokenizer(text)["input_ids"])
        encoded = self._tokenizer(text, truncation=True, max_length=self._tokens, return_tensors="pt")
        pooled = self._model.text_model(**encoded.to(self.device)).pooler_output
        return unit(self._model.text_projection(pooled))[0], whole > self._tokens


# --- OpenAI's layout --------------------------------------------------------------------------------------------------


def config_b32() -> CLIPConfig:
    """ViT-B/32: 151 M parameters, vectors of 512."""
    return _config(512, {"hidden_size": 512, "heads": 8}, {"hidden_size": 768, "heads": 12, "layers": 12, "patch": 32})


def config_l14() -> CLIPConfig:
    """ViT-L/14: 428 M parameters, vectors of 768."""
    return _config(
        768, {"hidden_size": 768, "heads": 12}, {"hidden_size": 1024, "heads": 16, "layers": 24, "patch": 14}
    )


def _config(width: int, text: dict[str, int], vision: dict[str, int]) -> CLIPConfig:
    shared = {"projection_dim": width, "hidden_act": "quick_gelu"}
    return CLIPConfig(
        projection_dim=width,
        text_config={
            **shared,
            "hidden_size": text["hidden_size"],
            "intermediate_size": 4 * text["hidden_size"],
            "num_attention_heads": text["heads"],
            "eos_token_id": 49407,
        },
        vision_config={
            **shared,
            "hidden_size": vision["hidden_size"],
            "intermediate_size": 4 * vision["hidden_size"],
            "num_attention_heads": vision["heads"],
            "num_hidden_layers": vision["layers"],
            "patch_size": vision["patch"],
        },
    )


def layouts_b32() -> dict[str, Layout]:
    """The names of OpenAI's code, for ViT-B/32."""
    return {"ViT-B-32.pt": layout(config_b32())}


def layouts_l14() -> dict[str, Layout]:
    """The names of OpenAI's code, for ViT-L/14."""
    return {"ViT-L-14.pt": layout(config_l14())}


def layout(config: CLIPConfig) -> Layout:
    """Where each tensor of the stock class is published; queries, keys and values are one tensor there."""
    with torch.device("meta"):
        tensors = CLIPModel(config).state_dict()
    widths = {"text_model": config.text_config.hidden_size, "vision_model": config.vision_config.hidden_size}
    pieces = {name: piece_of(name, tuple(tensor.shape), widths) for name, tensor in tensors.items()}
    side = int(config.vision_config.image_size)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "resample": 3,
    }
    files = {"config.json": config.to_json_string(), "preprocessor_config.json": json.dumps(processor, indent=1) + "\n"}
    return Layout(pieces, _NOT_WEIGHTS.__contains__, files=files)


def piece_of(name: str, shape: tuple[int, ...], widths: Mapping[str, int]) -> Piece:
    """The published tensor of one of the stock class. `widths`: of the text's and the picture's transformer."""
    if name in _TURNED:
        return Piece(_TURNED[name], shape[::-1], _turned)
    if name in _OUTSIDE:
        return Piece(_OUTSIDE[name], shape)
    tower, _, rest = name.partition(".encoder.layers.")
    number, rest = rest.split(".", 1)
    module, _, leaf = rest.rpartition(".")
    block = f"{'visual.' if tower == 'vision_model' else ''}transformer.resblocks.{number}"
    if module in _INSIDE:
        return Piece(f"{block}.{_INSIDE[module]}.{leaf}", shape)
    width = widths[tower]
    start = width * ("q_proj", "k_proj", "v_proj").index(module.removeprefix("self_attn."))
    return Piece(f"{block}.attn.in_proj_{leaf}", (3 * width, *shape[1:]), _rows(start, width))


def _rows(start: int, count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda whole: whole[start : start + count]


def _turned(whole: torch.Tensor) -> torch.Tensor:
    return whole.T


_TURNED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
"""Matrices that OpenAI's code multiplies from the right."""
_OUTSIDE = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
_INSIDE = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
"""Published module by module of the stock class, in a block."""
