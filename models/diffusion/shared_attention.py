"""Consistent attention: the pictures of one ad look at tokens of one of them, so that what they show stays alike.

After StoryDiffusion (arXiv 2405.01434): in the UNet's up blocks, the keys and values of self-attention are those of the
picture itself and of a random part of another picture's tokens at the same step; not in the first step, which decides
the layout. Here the other picture is drawn once and writes its tokens into a bank, which the others read: they do not
wait for each other, and each can be drawn again alone with the same bits.

A bank holds what its layers' keys and values are made from (half of what both would take), in float16, and no more than
BANK_BYTES: `tokens_of` says how many tokens of each layer fit. Which ones, follows from a seed, the step and the layer.
The layers are hooked during a call that writes or reads only: any other call is as if there were no banks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from models.errors import InvalidRequest

BANK_BYTES = 128 * 2**20
"""The most that the tokens of one bank take."""
SHARE = 0.5
"""Of a layer's tokens that a bank holds, where that fits."""
FIRST_STEP = 1
"""The first step that is written and read."""


def up_attentions(unet: nn.Module) -> tuple[nn.Module, ...]:
    """The self-attentions of the UNet's up blocks, in the order in which they run."""
    return tuple(
        module for name, module in unet.named_modules() if name.startswith("up_blocks.") and name.endswith(".attn1")
    )


def tokens_of(count: int, width: int, layers: int, rows: int, steps: int) -> int:
    """Tokens that a bank holds of a layer with `count` tokens of `width` values, at each of its `steps`.

    `rows` is 2 under guidance, else 1. Every layer has the same share of BANK_BYTES, of 2 bytes a value.
    """
    fitting = BANK_BYTES // (2 * max(1, steps - FIRST_STEP) * rows * layers * width)
    return min(int(count * SHARE), fitting)


class SharedAttention:
    """The up blocks' self-attentions of one UNet. Not for concurrent calls: `begin`, then `before_step`, `release`."""

    def __init__(self, unet: nn.Module) -> None:
        self._layers = up_attentions(unet)
        self._hooks: list[Any] = []
        self._bank: dict[str, torch.Tensor] = {}
        self._seed: int | None = None
        self._step = self._steps = 0
        self._of = 0

    def begin(self, keep: int | None, bank: bytes | None, steps: int, rows: int) -> None:
        """Write a bank with tokens drawn by the seed `keep`, or read `bank`, or neither, in the next call's `steps`.

        `rows` is 2 for a call under guidance, else 1. Raises InvalidRequest for a bank that does not fit.
        """
        self._seed, self._bank = keep, {}
        self._step, self._steps, self._of = 0, steps, steps
        if bank is not None:
            self._bank, self._of = _opened(bank, self._layers, rows)
        if keep is not None or bank is not None:
            self._hooks = [
                layer.register_forward_pre_hook(self._hook_of(index), with_kwargs=True)
                for index, layer in enumerate(self._layers)
            ]

    def before_step(self, done: int, total: int) -> None:
        """Step `done` of `total` comes."""
        self._step, self._steps = done, total

    def release(self) -> None:
        """No layer is hooked any more; what was written stays until `written`."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def written(self) -> bytes | None:
        """The bank that the last call wrote, a safetensors file; None when it wrote none."""
        if self._seed is None:
            return None
        data: bytes = save(self._bank)
        self._seed, self._bank = None, {}
        return data

    def _hook_of(self, layer: int) -> Any:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            own: torch.Tensor = args[0] if args else kwargs["hidden_states"]
            # Counted from the end: a picture that starts from another one runs the last steps only.
            key = f"{self._of - self._steps + self._step}.{layer}"
            if self._seed is not None:
                if self._step >= FIRST_STEP:
                    self._bank[key] = self._drawn(own, key, self._seed)
                return None
            shared = self._bank.get(key)
            if shared is None:
                return None
            return args, {**kwargs, "encoder_hidden_states": torch.cat([own, shared.to(own)], dim=1)}

        return hook

    def _drawn(self, own: torch.Tensor, key: str, seed: int) -> torch.Tensor:
        rows, count, width = own.shape
        digest = hashlib.sha256(f"attention:{seed}:{key}".encode()).digest()
        generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        kept = tokens_of(count, width, len(self._layers), rows, self._of)
        places = torch.randperm(count, generator=generator)[:kept].sort().values
        return own[:, places.to(own.device)].to("cpu", torch.float16)


def _opened(bank: bytes, layers: Sequence[Any], rows: int) -> tuple[dict[str, torch.Tensor], int]:
    """The tensors of `bank` by step and layer, and how many steps its picture had."""
    try:
        tensors: dict[str, torch.Tensor] = load(bank)
        steps = max(int(key.partition(".")[0]) for key in tensors) + 1
        for key, tensor in tensors.items():
            width = layers[int(key.partition(".")[2])].query_dim
            if tensor.shape[::2] != (rows, width):
                raise InvalidRequest(
                    f"the attention bank holds {tensor.shape[0]} rows of {tensor.shape[2]} values in layer {key},"
                    f" this call {rows} of {width}; use one of the same model, with or without guidance as here"
                )
    except (SafetensorError, ValueError, IndexError) as error:
        raise InvalidRequest(f"the attention bank cannot be read ({error}); give what `keep_attention` left") from error
    return tensors, steps
