"""A tokenizer's special tokens, and how text of strangers is kept from containing them.

A special token that a user typed ("<image>", an end-of-turn mark) must stay text and not steer the model. Knows no
model and no request.
"""

from __future__ import annotations

import re
from typing import Any


class SpecialTokens:
    """Those of one tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        tokens = {str(token): index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.ids = frozenset(tokens.values())
        self._written = re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))

    def spelled_out(self, text: str) -> str:
        """`text` with a space between the letters of each special token in it."""
        return self._written.sub(lambda match: " ".join(match.group()), text)
