"""Chat over the network with any OpenAI-compatible server (vLLM, llama.cpp, a hosted service).

Streams, so that a cancel or a spent budget takes effect between two pieces of the answer and closes the connection. The
server is asked for schema-constrained JSON, and the answer must parse; whether each field holds what the schema says is
the server's promise, checked again by the agent that reads it. What a server does not know it is not asked again: a
field that it refuses is left out, and one that does not keep to a schema is told the schema in words.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import openai

from models.errors import BrokenAnswer, InferenceFailed, InvalidRequest, ModelError
from models.interfaces import ChatRequest, ChatResult, Watcher, unread
from models.llm.openai_wire import Json, StreamedAnswer, out_of_time, out_of_tokens, request_body
from models.spec import ChatModelSpec

API_KEY_VARIABLE = "ADMINT_OPENAI_API_KEY"
"""Environment variable of the key; never in a file of `configs/`. Servers of one's own usually need none."""

TRIES_UNREACHABLE, TRIES_BROKEN, TRIES_BUSY = 3, 4, 8
"""How often a call is made that meets no server, a failing one (5xx), one without time (429); all in its seconds."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds before the second call, doubled for each further one, where the server names none."""
LOOK_SECONDS = 0.2
"""How often a waiting call looks whether it was cancelled."""
OPTIONAL: Mapping[str, str] = {
    "response_format": r"response_format|json_schema|json schema|structured output|guided|grammar",
    "max_tokens": r"max_completion_tokens",
    "stream_options": r"stream_options|include_usage",
    "top_logprobs": r"top_logprobs",
    "logprobs": r"logprobs",
    "seed": r"seed",
    "temperature": r"temperature",
    "top_p": r"top_p",
    "chat_template_kwargs": r"chat_template_kwargs",
}
"""Fields that a server may refuse, by what its refusal says. Without `max_tokens` it gets `max_completion_tokens`."""


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
        self._left_out: set[str] = set()
        self._in_words = False
        """Whether the schema of an answer is also said in the message."""
        self._notes: list[str] = []
        key = os.environ.get(API_KEY_VARIABLE, "none")
        # Tried again here and not by the client: its waits hear no cancel, and know nothing of the request's seconds.
        self._client = openai.OpenAI(base_url=spec.base_url, api_key=key, max_retries=0)

    def complete(self, request: ChatRequest, watcher: Watcher) -> ChatResult:
        """Answer `request`; with a schema the text is one JSON value that parses.

        Raises InvalidRequest (the server refuses the request), BudgetExceeded (no end within the tokens or the time),
        Cancelled (from `watcher`), BrokenAnswer (it broke off, or is no JSON), InferenceFailed (server down).
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
        deadline = time.monotonic() + request.timeout_seconds
        tries = 0
        while True:
            answer = StreamedAnswer(self._place())
            started = time.monotonic()
            tries += 1
            try:
                self._receive(request, watcher, write, answer, deadline)
                return self._result(answer, request, time.monotonic() - started)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._leave_out(error):
                    raise InvalidRequest(f"{self._place()} refuses the request: {error.message}") from error
                tries = 0
            except (openai.OpenAIError, httpx.HTTPError, ValueError) as error:
                failure, most = self._failure(error, request, answer)
                wait = _wait(error, tries)
                if tries >= most:
                    raise failure from error
                if time.monotonic() + wait > deadline:
                    text = f"{failure}; it would have to be waited for {wait:.0f} s, and timeout_seconds is "
                    raise InferenceFailed(f"{text}{request.timeout_seconds:g}") from error
                _rest(wait, watcher, request.max_tokens)

    def close(self) -> None:
        """Close the connections that are kept for the next call."""
        self._client.close()

    def _receive(
        self,
        request: ChatRequest,
        watcher: Watcher,
        write: Callable[[str], None],
        answer: StreamedAnswer,
        deadline: float,
    ) -> None:
        watcher.step(0, request.max_tokens)
        client = self._client.with_options(timeout=max(0.01, deadline - time.monotonic()))
        with client.post(
            "/chat/completions", body=self._body(request), cast_to=object, stream=True, stream_cls=openai.Stream[object]
        ) as events:
            for pieces, chunk in enumerate(self._chunks(events), start=1):
                if text := answer.add(chunk):
                    write(text)
                watcher.step(min(pieces, request.max_tokens), request.max_tokens)
                if time.monotonic() > deadline:
                    raise out_of_time(request)

    def _chunks(self, events: openai.Stream[object]) -> Iterator[Json]:
        """The chunks of an answer; of a server that does not stream, the whole answer as one."""
        media_type = events.response.headers.get("content-type", "")
        if media_type.startswith("text/html"):
            raise InferenceFailed(f"{self._place()} answers with a web page: is its base_url right? It ends in /v1")
        if media_type.startswith("application/json"):
            whole = json.loads(events.response.read())
            if isinstance(whole, dict) and whole.get("error"):
                raise BrokenAnswer(f"{self._place()} failed: {str(whole['error'])[:200]}")
            yield whole
            return
        for event in events:
            if isinstance(event, dict):
                yield event

    def _body(self, request: ChatRequest) -> Json:
        """The request as this server takes it."""
        body = request_body(request, self._model)
        if self._spec.chat_template_kwargs:
            body["chat_template_kwargs"] = self._spec.chat_template_kwargs
        if "max_tokens" in self._left_out:
            body["max_completion_tokens"] = body["max_tokens"]
        if self._in_words and request.json_schema is not None:
            body["messages"] = [*body["messages"][:-1], _with_schema(body["messages"][-1], request.json_schema)]
        return {field: value for field, value in body.items() if field not in self._left_out}

    def _result(self, answer: StreamedAnswer, request: ChatRequest, seconds: float) -> ChatResult:
        try:
            result = answer.result(request, seconds)
        except BrokenAnswer:
            if request.json_schema is not None and answer.is_prose and not self._in_words:
                self._in_words = True
                self._notes.append(f"{self._place()} does not keep to a JSON schema: it is told the schema in words")
            raise
        notes, self._notes = tuple(self._notes), []
        return replace(result, notes=notes)

    def _leave_out(self, error: openai.APIStatusError) -> bool:
        """Leave out from now on what the server refuses; False when it refuses something else."""
        said = f"{error.param or ''} {error.message}".lower()
        for field, words in OPTIONAL.items():
            if field not in self._left_out and re.search(rf"\b({words})\b", said):
                self._left_out.add(field)
                self._in_words |= field == "response_format"
                instead = "; it is told the schema in words" if field == "response_format" else ""
                self._notes.append(f"{self._place()} takes no {field}: it is left out{instead}")
                return True
        return False

    def _failure(self, error: Exception, request: ChatRequest, answer: StreamedAnswer) -> tuple[ModelError, int]:
        """What a failed call means, and how often such a call is made before it is believed."""
        place = self._place()
        if isinstance(error, openai.APITimeoutError | httpx.TimeoutException):
            return out_of_time(request), 1
        if answer.count:  # some of it was written already: it cannot be taken back
            return BrokenAnswer(f"{place} broke off its answer ({error or type(error).__name__})"), 1
        if isinstance(error, openai.RateLimitError):
            tries = 1 if error.code == "insufficient_quota" else TRIES_BUSY
            return InferenceFailed(f"{place} has no time (429): {error.message}"), tries
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            text = f"{place} answered {error.status_code}: {error.message}; its key comes from {API_KEY_VARIABLE}"
            return InferenceFailed(text), 1
        if isinstance(error, openai.APIStatusError):
            passing = error.status_code >= 500 or error.status_code in (408, 409, 425)
            return (
                InferenceFailed(f"{place} answered {error.status_code}: {error.message}"),
                TRIES_BROKEN if passing else 1,
            )
        if isinstance(error, openai.APIConnectionError):
            return (
                InferenceFailed(f"{place} cannot be reached ({error}): is the server running?"),
                TRIES_UNREACHABLE,
            )
        return BrokenAnswer(f"{place} broke off its answer ({error or type(error).__name__})"), TRIES_BROKEN

    def _place(self) -> str:
        return f"chat model {self._spec.name!r} at {self._spec.base_url}"


def _with_schema(message: Json, schema: Json) -> Json:
    """`message` with the schema of its answer in words."""
    words = f"\n\nAnswer with one JSON object alone, no Markdown, that validates against: {json.dumps(schema)}"
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": content + words}
    return {**message, "content": [*content, {"type": "text", "text": words}]}


def _wait(error: Exception, tries: int) -> float:
    """Seconds before the next call: as the server says, else twice as long each time."""
    headers = error.response.headers if isinstance(error, openai.APIStatusError) else httpx.Headers()
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if "retry-after" in headers:
            return max(0.0, float(headers["retry-after"]))
    except ValueError:
        try:
            return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
        except (KeyError, ValueError):
            pass
    spread = random.SystemRandom().uniform(0.75, 1.0)  # so that the calls of one machine do not all come back at once
    return float(min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1)) * spread)


def _rest(seconds: float, watcher: Watcher, total: int) -> None:
    """Wait; `watcher` may stop it, and hears often enough to do so at once."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        watcher.step(0, total)
        time.sleep(min(LOOK_SECONDS, left))
