"""A chat model that is asked about pictures, mostly where it runs already (`quality.readers.Questioner`)."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from models.errors import Cancelled, ModelError
from models.interfaces import ChatMessage, ChatRequest, ChatResult, EncodedImage, Pixels, Watcher
from models.spec import ChatModelSpec
from quality.score import NoValue

Result = TypeVar("Result")
Look = Callable[[], None]
"""Raises Cancelled where the call that asks is to stop."""
Ask = Callable[[ChatRequest, Look], ChatResult]
"""Answers as `ChatModel.stream` does, while the calling thread waits and looks. Raises ModelError."""
LOOK_SECONDS = 0.1
"""How often a thread that waits for another lane or process looks whether its own call was cancelled."""


@dataclass(frozen=True)
class AskedChat:
    """Answers by `ask`; a model that could not be asked is a reason for no value. Its calls block."""

    spec: ChatModelSpec
    weights_sha256: str | None
    device: str
    ask: Ask
    look: Look = lambda: None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def licence(self) -> str:
        return self.spec.licence

    @property
    def dtype(self) -> str:
        return self.spec.dtype

    @property
    def fidelity(self) -> Literal["published", "toy"]:
        """`toy` for weights that ship with the project; else the label of a dimension says that any model answers."""
        embedded = any(part.repository.startswith("embedded:") for part in self.spec.parts().values())
        return "toy" if embedded else "published"

    def warm_up(self) -> None:
        """Ask once, so that the model is loaded; what goes wrong is told by the first question that matters."""
        with suppress(NoValue):
            self.yes((np.zeros((64, 64, 3), np.uint8),), "Is this black?")

    def yes(self, frames: Sequence[Pixels], question: str) -> float | None:
        """`first_of` yes and no."""
        return self.first_of(frames, question, ("yes", "no"))

    def first_of(self, frames: Sequence[Pixels], question: str, answers: tuple[str, str]) -> float | None:
        """P(first) / (P(first) + P(second)) as the first word of the answer; None where neither is among the likeliest.

        Raises Cancelled, and NoValue where the model fails or tells no probabilities.
        """
        try:
            result = self.ask(asked_of(frames, question, self.spec.timeout_seconds), self.look)
        except Cancelled:
            raise
        except ModelError as error:
            raise NoValue(f"the chat model {self.name!r} could not be asked: {error}") from error
        if not result.first_token:
            raise NoValue(f"the chat model {self.name!r} tells no log-probabilities of what it says")
        return odds(result.first_token, answers)


class SeenSteps:
    """Passes steps on, and the last one once more where a call only wants to know whether it is to stop."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._last = (0, 1)

    def step(self, done: int, total: int) -> None:
        self._last = (done, total)
        self._watcher.step(done, total)

    def look(self) -> None:
        """Raises Cancelled."""
        self._watcher.step(*self._last)


class Looking:
    """The watcher of a call within another one, whose steps are none of the other's."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def step(self, done: int, total: int) -> None:
        self._look()


def waited(future: Future[Result], look: Look) -> Result:
    """What comes of `future`, which is cancelled when `look` raises. Blocks."""
    try:
        while not wait([future], LOOK_SECONDS).done:
            look()
    except BaseException:
        future.cancel()
        raise
    return future.result()


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
