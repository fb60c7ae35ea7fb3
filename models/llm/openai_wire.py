"""Ask a chat model under OpenAI's protocol: a `ChatRequest` as its JSON request, its streamed answer as a `ChatResult`.

Over HTTP (`models.llm.openai_chat`) or, with `complete_over`, through anything that has `chat(body)`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from models.errors import BrokenAnswer, BudgetExceeded, InferenceFailed, InvalidRequest
from models.interfaces import ChatMessage, ChatRequest, ChatResult, Watcher

Json = dict[str, Any]


class ChatService(Protocol):
    """Answers OpenAI chat completion requests."""

    def chat(self, body: Json) -> AsyncGenerator[Json, None]:
        """Chunks when `body["stream"]`, else one completion. Closing the generator cancels the call.

        Raises InvalidRequest, BudgetExceeded, InferenceFailed, and what its transport raises.
        """
        ...


async def complete_over(service: ChatService, model: str, request: ChatRequest, watcher: Watcher) -> ChatResult:
    """Answer `request` by `model` of `service`; with a schema the text is one JSON value that parses.

    `watcher` hears of every piece, on the event loop. Raises as `ChatModel.complete`: InvalidRequest, BudgetExceeded
    (no end within the tokens or the time), Cancelled (from `watcher`), InferenceFailed; and what the service's
    transport raises. Whatever ends the call early also cancels it at the service.
    """
    started = time.monotonic()
    answer = StreamedAnswer(f"chat model {model!r}")
    watcher.step(0, request.max_tokens)
    try:
        async with (
            asyncio.timeout(request.timeout_seconds),
            aclosing(service.chat(request_body(request, model))) as chunks,
        ):
            async for chunk in chunks:
                answer.add(chunk)
                watcher.step(min(answer.count, request.max_tokens), request.max_tokens)
    except TimeoutError as error:
        raise out_of_time(request) from error
    result = answer.result(request, time.monotonic() - started)
    if result.finish_reason == "length":
        raise out_of_tokens(request, model)
    return result


def request_body(request: ChatRequest, model: str) -> Json:
    """The streaming request to send. Raises InvalidRequest for an image that is no PNG, JPEG or WebP."""
    body: Json = {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        "seed": request.seed,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.stop:
        body["stop"] = list(request.stop)
    if request.json_schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": request.json_schema, "strict": True},
        }
    return body


class StreamedAnswer:
    """The chunks of a streamed answer so far. Token counts stay 0 where the service reports no usage."""

    def __init__(self, place: str) -> None:
        """`place` names the service in errors."""
        self.count = 0
        """Chunks with text so far: about the number of tokens."""
        self._place = place
        self._pieces: list[str] = []
        self._finish_reason: str | None = None
        self._usage: Json = {}

    def add(self, chunk: Json) -> str:
        """Take the next chunk; gives its text, which may be empty."""
        self._usage = chunk.get("usage") or self._usage
        text = ""
        for choice in chunk.get("choices", []):
            text += choice["delta"].get("content") or ""
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        if text:
            self.count += 1
            self._pieces.append(text)
        return text

    def result(self, request: ChatRequest, seconds: float) -> ChatResult:
        """The whole answer, which may have run out of tokens. Raises InferenceFailed when it broke off or is wrong."""
        text, reason = "".join(self._pieces), self._finish_reason
        if reason is None:
            raise InferenceFailed(f"{self._place} ended the stream before the answer was complete: try again")
        if reason not in ("stop", "length"):
            raise InferenceFailed(f"{self._place} ended the answer with {reason!r} and not at its end: try again")
        if request.json_schema is not None and reason == "stop":
            text = bare_json(text)
            try:
                json.loads(text)
            except ValueError as error:
                raise BrokenAnswer(
                    f"{self._place} was asked for JSON and answered {text[:80]!r} ({error}): does it support "
                    "response_format json_schema?"
                ) from error
        return ChatResult(
            text=text,
            prompt_tokens=self._usage.get("prompt_tokens", 0),
            completion_tokens=self._usage.get("completion_tokens", 0),
            seconds=seconds,
            finish_reason="length" if reason == "length" else "stop",
        )


def bare_json(text: str) -> str:
    """The JSON object in an answer, without the thoughts, the code fence and the prose that some servers put around it.

    The text as it is when there is no whole object in it.
    """
    text = re.sub(r"^.*?</think>", "", text, count=1, flags=re.DOTALL).strip()
    start = text.find("{")
    if start <= 0 and not text.endswith("```"):
        try:
            return text[: json.JSONDecoder().raw_decode(text)[1]]
        except ValueError:
            return text
    try:
        return text[start : start + json.JSONDecoder().raw_decode(text[start:])[1]]
    except ValueError:
        return text


def out_of_tokens(request: ChatRequest, model: str) -> BudgetExceeded:
    """The error of an answer that spent its tokens before its end."""
    return BudgetExceeded(
        f"the answer of {model!r} did not end within max_tokens={request.max_tokens}: raise max_tokens or ask for less"
    )


def out_of_time(request: ChatRequest) -> BudgetExceeded:
    """The error of an answer that spent its seconds before its end."""
    return BudgetExceeded(
        f"the answer did not end within timeout_seconds={request.timeout_seconds:g}: "
        "raise timeout_seconds or lower max_tokens"
    )


def _message(message: ChatMessage) -> Json:
    if not message.images:
        return {"role": message.role, "content": message.content}
    images = [{"type": "image_url", "image_url": {"url": data_url(image.data)}} for image in message.images]
    return {"role": message.role, "content": [*images, {"type": "text", "text": message.content}]}


def data_url(data: bytes) -> str:
    """An image file as a `data:` URL. Raises InvalidRequest for what is no PNG, JPEG or WebP."""
    kinds = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"RIFF", "webp"))
    for magic, kind in kinds:
        if data.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    raise InvalidRequest(f"an image that starts with {data[:8]!r} is no PNG, JPEG or WebP: convert it first")
