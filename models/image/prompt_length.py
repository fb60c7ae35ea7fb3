"""Prompts that a text encoder does not read to their end: said, never silent. Knows tokenizers, not families."""

from __future__ import annotations

from typing import Any


def tokens_of(tokenizer: Any, text: str) -> int:
    """Tokens of `text`, with the marks of its begin and end."""
    return len(tokenizer(text, truncation=False, verbose=False).input_ids)


def unread_note(tokenizer: Any, text: str, limit: int | None = None) -> tuple[str, ...]:
    """One note when `text` is longer than the text encoder reads (`limit`, or what its tokenizer says), else none."""
    count, limit = tokens_of(tokenizer, text), limit or int(tokenizer.model_max_length)
    if count <= limit:
        return ()
    return (
        f"the prompt has {count} tokens, of which the text encoder reads the first {limit}: shorten {text[:40]!r}…",
    )
