"""From tokens to pieces of text while an answer is written: whole letters only, and nothing from a stop string on.

A token may end inside a letter (byte-level vocabularies) and how it is spelled may depend on the one before it, so a
window of the last tokens is decoded each time and a piece leaves it once its last letter is whole (as text generation
servers do). Knows no model and no request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BROKEN = "\N{REPLACEMENT CHARACTER}"


class TextPieces:
    """Writes one answer piece by piece."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...], write: Callable[[str], None]) -> None:
        """`tokenizer` of transformers; `stop` strings end the answer and are not part of it."""
        self.stopped = False
        """Whether a stop string was met: further tokens are of no use."""
        self._tokenizer = tokenizer
        self._stop = stop
        self._write = write
        self._kept_back = max((len(text) for text in stop), default=1) - 1
        self._tokens: list[int] = []
        self._shown = 0
        """Tokens whose text is out."""
        self._context = 0
        """Where the window starts: tokens before it cannot change how later ones are spelled."""
        self._held = ""
        self._written: list[str] = []

    @property
    def text(self) -> str:
        """What was written so far."""
        return "".join(self._written)

    def add(self, token: int) -> None:
        """The next token; special tokens have no text."""
        self._tokens.append(token)
        before, now = self._decode(self._context, self._shown), self._decode(self._context, len(self._tokens))
        if len(now) > len(before) and not now.endswith(BROKEN):
            self._context, self._shown = self._shown, len(self._tokens)
            self._take(now[len(before) :])

    def end(self) -> None:
        """No more tokens: write what was held back, a broken letter included."""
        if not self.stopped:
            rest = self._decode(self._context, len(self._tokens))[len(self._decode(self._context, self._shown)) :]
            self._take(rest)
        if not self.stopped:
            self._put(len(self._held))

    def _take(self, piece: str) -> None:
        self._held += piece
        found = [place for place in map(self._held.find, self._stop) if place >= 0]
        if found:
            self.stopped = True
            self._put(min(found))
        else:
            self._put(len(self._held) - self._kept_back)

    def _put(self, length: int) -> None:
        if length > 0:
            piece, self._held = self._held[:length], self._held[length:]
            self._written.append(piece)
            self._write(piece)

    def _decode(self, start: int, end: int) -> str:
        text: str = self._tokenizer.decode(
            self._tokens[start:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
