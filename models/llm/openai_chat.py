"""Chat over the network with any OpenAI-compatible server (vLLM, llama.cpp, a hosted service).

Streams, so that a cancel or a spent budget takes effect between two pieces of the answer and closes the connection. The
server is asked for schema-constrained JSON, and the answer must parse; whether each field holds what the schema says is
the server's promise, checked again by the agent that reads it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openai

from models.errors import BrokenAnswer, InferenceFailed, InvalidRequest
from models.interfaces import ChatRequest, ChatResult, Watcher, unread
from models.llm.openai_wire import StreamedAnswer, out_of_time, out_of_tokens, request_body
from models.spec import ChatModelSpec

API_KEY_VARIABLE = "ADMINT_OPENAI_API_KEY"
"""Environment variable of the key; never in a file of `configs/`. Servers of one's own usually need none."""

MAX_RETRIES = 2


class OpenAIChat:
    """A `ChatModel` behind `spec.base_url`, which serves `spec.remote_model`."""

    def __init__(self, spec: ChatModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Nothing is connected before the first call; `folders` is empty, and the server chooses its device.

        Raises InvalidRequest for a description without address or model name.
        """
        if spec.base_url is None or spec.remote_model is None:
            raise InvalidRequest(f"model {spec.name!r} needs 'base_url' and 'remote_model' in its description")
        self._spec = spec
        self._model = spec.remote_model
        key = os.environ.get(API_KEY_VARIABLE, "none")
        # Answers 429 and 5xx are asked again by the client, after the time that the server names.
        self._client = openai.OpenAI(base_url=spec.base_url, api_key=key, max_retries=MAX_RETRIES)

    def complete(self, request: ChatRequest, watcher: Watcher) -> ChatResult:
        """Answer `request`; with a schema the text is one JSON value that parses.

        Raises InvalidRequest (the server refuses the request), BudgetExceeded (no end within the tokens or the time),
        Cancelled (from `watcher`), InferenceFailed (server down, no valid JSON).
        """
        result = self.stream(request, watcher, unread)
        if result.finish_reason == "length":
            raise out_of_tokens(request, self._spec.name)
        return result

    def stream(self, request: ChatRequest, watcher: Watcher, write: Callable[[str], None]) -> ChatResult:
        """As `complete`, piece by piece to `write`; an answer that ran out of tokens is returned as it is."""
        if not self._spec.vision and any(message.images for message in request.messages):
            raise InvalidRequest(
                f"model {self._spec.name!r} takes no images: use a chat model with vision or leave the images out"
            )
        started = time.monotonic()
        answer = StreamedAnswer(self._place())
        try:
            self._receive(request, watcher, write, answer, started)
        except openai.APITimeoutError as error:
            raise out_of_time(request) from error
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise InvalidRequest(f"{self._place()} refuses the request: {error.message}") from error
        except openai.RateLimitError as error:
            raise BrokenAnswer(f"{self._place()} has no time (429): {error.message}") from error
        except openai.APIStatusError as error:
            raise InferenceFailed(f"{self._place()} answered {error.status_code}: {error.message}") from error
        except openai.OpenAIError as error:
            raise InferenceFailed(f"{self._place()} cannot be reached ({error}): is the server running?") from error
        return answer.result(request, time.monotonic() - started)

    def close(self) -> None:
        """Close the connections that are kept for the next call."""
        self._client.close()

    def _receive(
        self,
        request: ChatRequest,
        watcher: Watcher,
        write: Callable[[str], None],
        answer: StreamedAnswer,
        started: float,
    ) -> None:
        body: Any = request_body(request, self._model)
        if self._spec.chat_template_kwargs:
            body["extra_body"] = {"chat_template_kwargs": self._spec.chat_template_kwargs}
        watcher.step(0, request.max_tokens)
        with self._client.with_options(timeout=request.timeout_seconds).chat.completions.create(**body) as chunks:
            for pieces, chunk in enumerate(chunks, start=1):
                if text := answer.add(chunk.model_dump()):
                    write(text)
                watcher.step(min(pieces, request.max_tokens), request.max_tokens)
                if time.monotonic() - started > request.timeout_seconds:
                    raise out_of_time(request)

    def _place(self) -> str:
        return f"chat model {self._spec.name!r} at {self._spec.base_url}"
