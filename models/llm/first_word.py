"""Questions about pictures whose answer is one of two words, by the odds of the answer's first word."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from models.interfaces import ChatMessage, ChatRequest, EncodedImage, Pixels


def asked_of(frames: Sequence[Pixels], question: str, timeout_seconds: float) -> ChatRequest:
    """The request for the one token that matters, with its log-probabilities."""
    message = ChatMessage(role="user", content=question, images=tuple(_png(frame) for frame in frames))
    return ChatRequest(
        messages=(message,), temperature=0.0, max_tokens=1, first_token=True, timeout_seconds=timeout_seconds
    )


def odds(first_token: Mapping[str, float], answers: tuple[str, str]) -> float | None:
    """P(first) / (P(first) + P(second)) of log-probabilities by token, in any case; None where there is neither."""
    first, second = (
        sum(math.exp(value) for token, value in first_token.items() if token.strip().casefold() == word.casefold())
        for word in answers
    )
    return first / (first + second) if first + second > 0 else None


def _png(frame: Pixels) -> EncodedImage:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return EncodedImage(data=file.getvalue())
