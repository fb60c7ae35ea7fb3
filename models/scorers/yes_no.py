"""Family `yes-no`: a vision chat model, beside the profile's own, that answers questions with one of two words.

In this process from the folder `main`, or, with `base_url` and `remote_model`, on any OpenAI-compatible server that
gives log-probabilities (vLLM does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.conversion import WEIGHTS_FILE
from models.interfaces import ChatModel, Pixels, Unwatched, unread
from models.llm.first_word import asked_of, odds
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
        self._seconds = chat.timeout_seconds
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
        request = asked_of(frames, question, self._seconds)
        return odds(self._chat.stream(request, Unwatched(), unread).first_token, answers)
