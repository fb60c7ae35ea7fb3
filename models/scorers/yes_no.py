"""Family `yes-no`: a vision chat model that answers questions with one of two words, by the odds of its first word.

In this process from the folder `main`, or, with `base_url` and `remote_model`, on any OpenAI-compatible server that
gives log-probabilities (vLLM does).
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from models.conversion import WEIGHTS_FILE
from models.interfaces import ChatMessage, ChatModel, ChatRequest, EncodedImage, Pixels, Unwatched, unread
from models.manifest import read_manifest
from models.scorers.backbone import Scorer
from models.spec import ChatModelSpec, ScorerModelSpec


class YesNoChat(Scorer):
    """Answers as `quality.readers.Questioner` wants it. Its calls block."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Raises WeightsError for a folder that cannot be loaded, InvalidRequest for an address without a model."""
        chat = ChatModelSpec(
            kind="chat",
            vision=True,
            base_url=spec.base_url,
            remote_model=spec.remote_model,
            **{name: getattr(spec, name) for name in ("name", "family", "licence", "vram_gb", "dtype")},
        )
        self._chat: ChatModel
        if spec.base_url is None:
            from models.llm.transformers_chat import TransformersChat

            files = read_manifest(folders["main"]).files
            super().__init__(spec, files[WEIGHTS_FILE].sha256 if WEIGHTS_FILE in files else None, device)
            self._chat = TransformersChat(chat, folders, device)
        else:
            from models.llm.openai_chat import OpenAIChat

            super().__init__(spec, None, "remote")
            self._chat = OpenAIChat(chat, folders, device)

    def yes(self, frames: Sequence[Pixels], question: str) -> float | None:
        """`first_of` yes and no."""
        return self.first_of(frames, question, ("yes", "no"))

    def first_of(self, frames: Sequence[Pixels], question: str, answers: tuple[str, str]) -> float | None:
        """P(first) / (P(first) + P(second)) of `answers` as the first word of the answer, in any case; None where
        neither is likely.

        Raises InvalidRequest, BudgetExceeded, InferenceFailed.
        """
        message = ChatMessage(role="user", content=question, images=tuple(_png(frame) for frame in frames))
        request = ChatRequest(messages=(message,), temperature=0.0, max_tokens=1, first_token=True)
        return odds(self._chat.stream(request, Unwatched(), unread).first_token, answers)


def odds(first_token: Mapping[str, float], answers: tuple[str, str]) -> float | None:
    """P(first) / (P(first) + P(second)) of log-probabilities by token; None where there is neither."""
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
