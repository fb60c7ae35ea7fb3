"""Silero VAD: whether somebody speaks, in every 32 ms of a sound.

The magnitudes of a short Fourier transform, four convolutions over a window's 36 ms, a recurrent layer that remembers
the windows before, and one probability: 0.24 M parameters beside the transform's table. For 16,000 samples a second.

Published by the Silero team (github.com/snakers4/silero-vad, MIT) inside of their PyPI package `silero-vad`. Of its
TorchScript file, which is what the package runs, only the tensors are read, and its code is not used; the safetensors
beside it (6.2.3) holds an earlier training, whose probabilities are up to 0.07 away on noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from models.conversion import WEIGHTS_FILE, Layout, Piece
from models.manifest import read_manifest
from models.scorers.backbone import Scorer, load_network
from models.spec import ScorerModelSpec

Mono = npt.NDArray[np.float32]
State = tuple[torch.Tensor, torch.Tensor]
WINDOW, BEFORE = 512, 64
"""Samples of a window, and those before it that are seen with it."""
SPECTRUM, HOP = 256, 128
"""Samples of a Fourier transform, and from one to the next."""
BINS = SPECTRUM // 2 + 1
WIDTH = 128
CONVOLUTIONS = ((BINS, WIDTH, 1), (WIDTH, 64, 2), (64, 64, 2), (64, WIDTH, 1))
"""Channels before and after each, and its stride."""


class SileroVad(nn.Module):
    """The network."""

    def __init__(self) -> None:
        super().__init__()
        self.transform = nn.Conv1d(1, 2 * BINS, SPECTRUM, HOP, bias=False)
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(before, after, 3, stride, padding=1) for before, after, stride in CONVOLUTIONS]
        )
        self.memory = nn.LSTM(WIDTH, WIDTH)
        self.answer = nn.Linear(WIDTH, 1)

    def forward(self, windows: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Probability of speech in each of consecutive windows, (n,), and what the next ones go on from.

        `windows`: (n, BEFORE + WINDOW) samples as -1..1; `state` is of the windows before, None: these are the first.
        """
        mirrored = F.pad(windows[:, None], (0, SPECTRUM // 4), mode="reflect")
        real, imaginary = self.transform(mirrored).split(BINS, dim=1)
        x = (real.square() + imaginary.square()).sqrt()
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
        remembered, state = self.memory(x[..., 0], state)
        return torch.sigmoid(self.answer(torch.relu(remembered)))[:, 0], state


class SileroSpeech(Scorer):
    """When somebody speaks, as `quality.readers.SpeechDetector` wants it. Its calls block."""

    batch = 256
    """Windows at once, 8 s: bounds the memory, whatever the length of the sound."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device`, offline, from safetensors only. Raises WeightsError."""
        folder = folders["main"]
        super().__init__(spec, read_manifest(folder).files[WEIGHTS_FILE].sha256, device)
        self._network = load_network(spec, folder, device, lambda state: SileroVad())

    @torch.inference_mode()
    def speech(self, pieces: Iterable[Mono]) -> Mono:
        """Probability of speech in each 512 samples of a sound, (windows,); the last one is filled up with silence.

        `pieces` are the sound in order, each (samples,) as -1..1 at 16,000 samples a second, taken as they are needed.
        """
        state: State | None = None
        found = [np.zeros(0, np.float32)]
        for samples in _batches(pieces, self.batch):
            windows = torch.from_numpy(samples).to(self.device, getattr(torch, self.dtype))
            likely, state = self._network(windows.unfold(0, BEFORE + WINDOW, WINDOW), state)
            found.append(likely.float().cpu().numpy())
        return np.concatenate(found)


def _batches(pieces: Iterable[Mono], windows: int) -> Iterator[Mono]:
    """The samples of up to so many windows, with the BEFORE samples before them: silence before the first."""
    held, size = np.zeros(BEFORE, np.float32), windows * WINDOW
    for piece in pieces:
        held = np.concatenate([held, piece])
        while len(held) >= BEFORE + size:
            yield held[: BEFORE + size]
            held = held[size:]
    if rest := len(held) - BEFORE:
        yield np.concatenate([held, np.zeros(-rest % WINDOW, np.float32)])


# --- published layout -------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Layout]:
    """The names of the authors' TorchScript file."""
    return {"silero_vad.jit": layout()}


def layout() -> Layout:
    """Where each tensor of `SileroVad` is published."""
    with torch.device("meta"):
        own = SileroVad().state_dict()
    modules = {"memory": "decoder.rnn", "answer": "decoder.decoder.2"}
    modules |= {f"convolutions.{number}": f"encoder.{number}.reparam_conv" for number in range(len(CONVOLUTIONS))}
    pieces = {"transform.weight": Piece("_model.stft.forward_basis_buffer", tuple(own["transform.weight"].shape))}
    for name, tensor in own.items():
        module, _, leaf = name.rpartition(".")
        if module == "transform":
            continue
        key = f"_model.{modules[module]}.{leaf.removesuffix('_l0')}"
        if name == "answer.weight":  # there a convolution over one place
            pieces[name] = Piece(key, (*tensor.shape, 1), lambda weight: weight[..., 0])
        else:
            pieces[name] = Piece(key, tuple(tensor.shape))
    return Layout(pieces, _is_ignored)


def _is_ignored(key: str) -> bool:
    """The network for 8,000 samples a second, and what the last call left."""
    return key.startswith("_model_8k.") or key in ("_state", "_context")
