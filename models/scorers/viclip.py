"""ViCLIP: clips and texts as unit vectors of one space (Wang et al., InternVid, arXiv 2307.06942), ViT-L/14, 427 M.

CLIP's picture encoder, with a position in time added to every patch, and attention among the patches of all 8 frames
together. VBench's overall consistency and temporal style are its cosines. The text encoder is CLIP's own, for 32
tokens: the stock class of transformers.

Published as `ViClip-InternVid-10M-FLT.pth` (OpenGVLab/ViCLIP on the hub, whose card says MIT and asks for agreement).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from models.conversion import Layout, Piece
from models.diffusion.loading import loading
from models.scorers.backbone import Backbone, load_network
from models.scorers.clip import piece_of
from models.scorers.stock import picked, unit
from models.spec import ScorerModelSpec


class Sizes(NamedTuple):
    """How large the network is; as published by default, and others serve tests."""

    width: int = 1024
    blocks: int = 24
    heads: int = 16
    patch: int = 14
    side: int = 224
    frames: int = 8
    vector: int = 768
    text: CLIPTextConfig = CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_attention_heads=12,
        max_position_embeddings=32,
        projection_dim=768,
        hidden_act="quick_gelu",
        eos_token_id=49407,
    )


class ViClip(nn.Module):
    """Both encoders."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.patches = nn.Conv3d(
            3, sizes.width, (1, sizes.patch, sizes.patch), (1, sizes.patch, sizes.patch), bias=False
        )
        self.summary = nn.Parameter(torch.zeros(sizes.width))
        self.place = nn.Parameter(torch.zeros((sizes.side // sizes.patch) ** 2 + 1, sizes.width))
        self.time = nn.Parameter(torch.zeros(1, sizes.frames, sizes.width))
        self.before = nn.LayerNorm(sizes.width)
        self.blocks = nn.ModuleList([_Block(sizes.width, sizes.heads) for _ in range(sizes.blocks)])
        self.after = nn.LayerNorm(sizes.width)
        self.projection = nn.Parameter(torch.zeros(sizes.width, sizes.vector))
        self.temperature = nn.Parameter(torch.zeros(()))
        """Of its training; nothing here uses it."""
        self.text = CLIPTextModelWithProjection(sizes.text)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Vectors, (n, vector), of clips (n, frames, 3, side, side), normalised as CLIP's pictures."""
        found = self.patches(clips.transpose(1, 2))  # (n, width, frames, rows, columns)
        count, width = found.shape[:2]
        spread = found.flatten(3).permute(0, 3, 2, 1)  # (n, places, frames, width)
        spread = spread + self.place[1:, None] + self.time
        tokens = spread.reshape(count, -1, width)
        first = (self.summary + self.place[0]).expand(count, 1, width)
        state = self.before(torch.cat([first, tokens], dim=1))
        for block in self.blocks:
            state = block(state)
        vectors: torch.Tensor = self.after(state[:, 0]) @ self.projection
        return vectors


class _Block(nn.Module):
    """A transformer block that normalises before attention and before its two layers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.layers_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        count, length, width = state.shape
        three = self.project(self.attention_norm(state)).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = three.permute(2, 0, 3, 1, 4)
        read = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        state = state + self.out(read.transpose(1, 2).reshape(count, length, width))
        wide = self.widen(self.layers_norm(state))
        changed: torch.Tensor = state + self.narrow(wide * torch.sigmoid(1.702 * wide))
        return changed


def unfilled(sizes: Sizes) -> ViClip:
    """The network with room for its weights: drawing 427 M random ones first would take longer than loading."""
    with torch.device("meta"):
        network = ViClip(sizes)
    network.to_empty(device="cpu")
    # 0, 1, 2 …: a table that the stock class makes itself, and no weight.
    network.text.text_model.embeddings.position_ids = torch.arange(sizes.text.max_position_embeddings)[None]
    return network


class ViClipEncoder(Backbone):
    """ViCLIP on the folders `main` and `tokenizer` (CLIP's), as `quality.stream.TextBackbone` wants one."""

    window = 8
    batch = 1
    sizes = Sizes()

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        super().__init__(spec, folders, device)
        self._model = load_network(spec, folders["main"], device, lambda state: unfilled(self.sizes))
        with loading(spec):
            self._tokenizer: Any = CLIPTokenizer.from_pretrained(picked(folders, "tokenizer"), local_files_only=True)
        self._tokens = int(self.sizes.text.max_position_embeddings)

    @torch.inference_mode()
    def features(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape (clips, width), of clips (clips, 8, 3, 224, 224)."""
        return unit(self._model(batch.to(getattr(torch, self.dtype))))

    @torch.inference_mode()
    def text(self, text: str) -> tuple[npt.NDArray[np.float32], bool]:
        """A vector of length 1, shape (width,), and whether the text was cut to what the model reads."""
        whole = len(self._tokenizer(text)["input_ids"])
        encoded = self._tokenizer(text, truncation=True, max_length=self._tokens, return_tensors="pt")
        return unit(self._model.text(**encoded.to(self.device)).text_embeds)[0], whole > self._tokens


# --- published layout -------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """The names of its authors' code, for the published size."""
    return {"ViClip-InternVid-10M-FLT.pth": layout(Sizes())}


def layout(sizes: Sizes) -> Layout:
    """Where each tensor of `ViClip(sizes)` is published; the text encoder has the names of OpenAI's CLIP."""
    with torch.device("meta"):
        tensors = ViClip(sizes).state_dict()
    return Layout({name: _piece(name, tuple(tensor.shape), sizes) for name, tensor in tensors.items()})


def _piece(name: str, shape: tuple[int, ...], sizes: Sizes) -> Piece:
    if name.startswith("text."):
        found = piece_of(name.removeprefix("text."), shape, {"text_model": int(sizes.text.hidden_size)})
        return Piece(f"text_encoder.{found.key}", found.shape, found.take)
    if name in _OUTSIDE:
        return Piece(_OUTSIDE[name], shape)
    _, number, module, leaf = name.split(".")
    block = f"vision_encoder.transformer.resblocks.{number}"
    if module == "project":
        return Piece(f"{block}.attn.in_proj_{leaf}", shape)
    return Piece(f"{block}.{_INSIDE[module]}.{leaf}", shape)


_OUTSIDE = {
    "patches.weight": "vision_encoder.conv1.weight",
    "summary": "vision_encoder.class_embedding",
    "place": "vision_encoder.positional_embedding",
    "time": "vision_encoder.temporal_positional_embedding",
    "before.weight": "vision_encoder.ln_pre.weight",
    "before.bias": "vision_encoder.ln_pre.bias",
    "after.weight": "vision_encoder.ln_post.weight",
    "after.bias": "vision_encoder.ln_post.bias",
    "projection": "vision_encoder.proj",
    "temperature": "temp",
}
_INSIDE = {
    "attention_norm": "ln_1",
    "layers_norm": "ln_2",
    "out": "attn.out_proj",
    "widen": "mlp.c_fc",
    "narrow": "mlp.c_proj",
}
"""Published module by own module, in a block."""
