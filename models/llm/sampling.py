"""Choosing the next token: grammar mask, temperature, nucleus, one draw from a generator of the call's own.

Runs inside transformers' `generate` as a logits processor that leaves one token standing, so that greedy search picks
it: `generate`'s own sampling would draw from the global random state, which other threads share. Knows no model.
"""

from __future__ import annotations

import torch

from models.llm.grammar import GrammarMask


class Sampler:
    """Draws tokens for one answer; the same seed and logits give the same tokens on every device."""

    def __init__(
        self, seed: int, temperature: float, top_p: float, forbidden: list[int], mask: GrammarMask | None
    ) -> None:
        """`temperature` 0 is greedy. `forbidden` token ids are never chosen. `mask` is None for free text."""
        self._generator = torch.Generator().manual_seed(seed)
        self._temperature = temperature
        self._top_p = top_p
        self._forbidden = forbidden
        self._mask = mask

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits of shape (1, vocabulary) in; zero for the chosen token and minus infinity elsewhere out."""
        logits = scores.detach().to("cpu", torch.float32, copy=True)
        logits[:, self._forbidden] = float("-inf")
        if self._mask is not None:
            self._mask.apply(logits)
        token = self._choose(logits[0])
        if self._mask is not None:
            self._mask.accept(token)
        only = torch.full_like(scores, float("-inf"))
        only[0, token] = 0.0
        return only

    def _choose(self, logits: torch.Tensor) -> int:
        """Nucleus sampling: the likeliest tokens whose mass before them is below top_p (Holtzman et al., 2020)."""
        if self._temperature == 0.0:
            return int(logits.argmax())
        probabilities, tokens = torch.softmax(logits / self._temperature, dim=-1).sort(descending=True, stable=True)
        before = probabilities.cumsum(0) - probabilities
        nucleus = torch.where(before < self._top_p, probabilities, 0.0)
        return int(tokens[torch.multinomial(nucleus, 1, generator=self._generator)])
