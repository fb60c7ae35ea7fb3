"""Chat over the network with any OpenAI-compatible server (vLLM, llama.cpp, a hosted service).

Streams, so that a cancel or a spent budget takes effect between two pieces of the answer and closes the connection. The
server is asked for schema-constrained JSON, and the answer must parse; whether each field holds what the schema says is
the server's promise, checked again by the agent that reads it. Knows no agent and no prompt wording.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openai

from models.errors import BudgetExceeded, InferenceFailed, InvalidRequest
from models.interfaces import ChatMessage, ChatRequest, ChatResult, Watcher
from models.spec import ChatModelSpec

API_KEY_VARIABLE = "ADMINT_OPENAI_API_KEY"
"""Environment variable of the key; never in a file of `configs/`. Servers of one's own usually need none."""


class OpenAIChat:
    """A `ChatModel` behind `spec.base_url`, which serves `spec.remote_model`."""

    def __init__(self, spec: ChatModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Connects at the first call; `folders` is empty and `device` is the server's own affair."""
        if spec.base_url is None or spec.remote_model is None:
            raise InvalidRequest(f"model {spec.name!r} needs 'base_url' and 'remote_model' in its description")
        self._spec = spec
        self._model = spec.remote_model
        key = os.environ.get(API_KEY_VARIABLE, "none")
        self._client = openai.OpenAI(base_url=spec.base_url, api_key=key, max_retries=1)

    def complete(self, request: ChatRequest, watcher: Watcher) -> ChatResult:
        """Answer `request`; with a schema the text is one JSON value that parses.

        Raises InvalidRequest (the server refuses the request), BudgetExceeded (no end within the tokens or the time),
        Cancelled (from `watcher`), InferenceFailed (server down, no valid JSON).
        """
        if not self._spec.vision and any(message.images for message in request.messages):
            raise InvalidRequest(
                f"model {self._spec.name!r} takes no images: use a chat model with vision or leave the images out"
            )
        started = time.monotonic()
        try:
            answer = self._stream(request, watcher, started)
        except openai.APITimeoutError as error:
            raise _out_of_time(request) from error
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise InvalidRequest(f"{self._place()} refuses the request: {error.message}") from error
        except openai.APIStatusError as error:
            raise InferenceFailed(f"{self._place()} answered {error.status_code}: {error.message}") from error
        except openai.OpenAIError as error:
            raise InferenceFailed(f"{self._place()} cannot be reached ({error}): is the server running?") from error
        return self._result(request, answer, time.monotonic() - started)

    def close(self) -> None:
        """Close the connections that are kept for the next call."""
        self._client.close()

    def _stream(self, request: ChatRequest, watcher: Watcher, started: float) -> _Answer:
        answer = _Answer()
        watcher.step(0, request.max_tokens)
        with self._client.with_options(timeout=request.timeout_seconds).chat.completions.create(
            **self._parameters(request)
        ) as chunks:
            for pieces, chunk in enumerate(chunks, start=1):
                answer.add(chunk)
                watcher.step(min(pieces, request.max_tokens), request.max_tokens)
                if time.monotonic() - started > request.timeout_seconds:
                    raise _out_of_time(request)
        return answer

    def _parameters(self, request: ChatRequest) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": self._model,
            "messages": [_message(message) for message in request.messages],
            "seed": request.seed,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.json_schema is not None:
            parameters["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.json_schema, "strict": True},
            }
        return parameters

    def _result(self, request: ChatRequest, answer: _Answer, seconds: float) -> ChatResult:
        if answer.finish_reason == "length":
            raise BudgetExceeded(
                f"the answer of {self._spec.name!r} did not end within max_tokens={request.max_tokens}: "
                "raise max_tokens or ask for less"
            )
        if answer.finish_reason is None:
            raise InferenceFailed(f"{self._place()} ended the stream before the answer was complete: try again")
        text = "".join(answer.pieces)
        if request.json_schema is not None:
            try:
                json.loads(text)
            except ValueError as error:
                raise InferenceFailed(
                    f"{self._place()} was asked for JSON and answered {text[:80]!r} ({error}): does it support "
                    "response_format json_schema?"
                ) from error
        return ChatResult(text, answer.prompt_tokens, answer.completion_tokens, seconds)

    def _place(self) -> str:
        return f"chat model {self._spec.name!r} at {self._spec.base_url}"


class _Answer:
    """The pieces of a streamed answer so far. Token counts stay 0 where the server reports no usage."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.finish_reason: str | None = None
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def add(self, chunk: Any) -> None:
        if chunk.usage is not None:
            self.prompt_tokens = chunk.usage.prompt_tokens
            self.completion_tokens = chunk.usage.completion_tokens
        for choice in chunk.choices:
            self.pieces.append(choice.delta.content or "")
            self.finish_reason = choice.finish_reason or self.finish_reason


def _message(message: ChatMessage) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.content}
    images = [{"type": "image_url", "image_url": {"url": _data_url(image.data)}} for image in message.images]
    return {"role": message.role, "content": [*images, {"type": "text", "text": message.content}]}


def _data_url(data: bytes) -> str:
    kinds = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"RIFF", "webp"))
    for magic, kind in kinds:
        if data.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    raise InvalidRequest(f"an image that starts with {data[:8]!r} is no PNG, JPEG or WebP: convert it first")


def _out_of_time(request: ChatRequest) -> BudgetExceeded:
    return BudgetExceeded(
        f"the answer did not end within timeout_seconds={request.timeout_seconds:g}: "
        "raise timeout_seconds or lower max_tokens"
    )
