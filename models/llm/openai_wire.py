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

from models.errors import BrokenAnswer, BudgetExceeded, InvalidRequest
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
    """As `answer_over`, but an answer that ran out of tokens raises BudgetExceeded."""
    result = await answer_over(service, model, request, watcher)
    if result.finish_reason == "length":
        raise out_of_tokens(request, model)
    return result


async def answer_over(service: ChatService, model: str, request: ChatRequest, watcher: Watcher) -> ChatResult:
    """Answer `request` by `model` of `service`; with a schema the text is one JSON value that parses.

    `watcher` hears of every piece, on the event loop. Raises as `ChatModel.stream`: InvalidRequest, BudgetExceeded
    (no end within the time), Cancelled (from `watcher`), InferenceFailed; and what the service's
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
    return answer.result(request, time.monotonic() - started)


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
    if request.first_token:
        body |= {"logprobs": True, "top_logprobs": FIRST_TOKENS}
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
        self._thoughts: list[str] = []
        self._notes: list[str] = []
        self._finish_reason = ""
        self._usage: Json = {}
        self._first: dict[str, float] = {}

    @property
    def is_prose(self) -> bool:
        """Whether the answer is complete, and not even an attempt at JSON."""
        return self._finish_reason in ENDS and bool(self._pieces) and "{" not in "".join(self._pieces)

    def add(self, chunk: Json) -> str:
        """Take the next chunk, or a whole completion; gives its text, which may be empty."""
        self._usage = chunk.get("usage") or self._usage
        self._notes += chunk.get("notes") or ()
        text = ""
        for choice in chunk.get("choices") or ():
            said = choice.get("delta") or choice.get("message") or {}
            text += _text(said.get("content"))
            self._thoughts.append(_text(said.get("reasoning_content") or said.get("reasoning")))
            self._first = self._first or _first_token(choice)
            self._finish_reason = str(choice.get("finish_reason") or self._finish_reason).lower()
        if text:
            self.count += 1
            self._pieces.append(text)
        return text

    def result(self, request: ChatRequest, seconds: float) -> ChatResult:
        """The whole answer, which may have run out of tokens.

        JSON that was asked for and is whole is taken, however the service says that it ended. Raises BrokenAnswer when
        the answer broke off, is none, or is no JSON.
        """
        text, reason = _whole("".join(self._pieces)), self._finish_reason
        if request.json_schema is not None:
            text = bare_json(text if text.strip() else _whole("".join(self._thoughts)))
            if is_json(text):
                reason = "stop"
        if not reason:
            raise BrokenAnswer(f"{self._place} ended the stream before the answer was complete")
        if reason not in (*ENDS, *CUTS):
            raise BrokenAnswer(f"{self._place} ended the answer with {reason!r} and not at its end")
        if request.json_schema is not None and reason in ENDS and not is_json(text):
            raise BrokenAnswer(
                f"{self._place} was asked for JSON and answered {text[:80]!r}: "
                "does it support response_format json_schema?"
            )
        return ChatResult(
            text=text,
            prompt_tokens=self._usage.get("prompt_tokens") or 0,
            completion_tokens=self._usage.get("completion_tokens") or 0,
            seconds=seconds,
            finish_reason="length" if reason in CUTS else "stop",
            notes=tuple(self._notes),
            first_token=self._first if request.first_token else {},
        )


def _first_token(choice: Json) -> dict[str, float]:
    """Log-probabilities of the first token of a chunk, by its text; of tokens with the same text the likeliest."""
    tokens = (choice.get("logprobs") or {}).get("content") or ()
    found: dict[str, float] = {}
    for one in (tokens[0].get("top_logprobs") or ()) if tokens else ():
        found[one["token"]] = max(float(one["logprob"]), found.get(one["token"], float("-inf")))
    return found


FIRST_TOKENS = 20
"""The most that OpenAI's protocol allows."""
ENDS = ("stop", "eos", "eos_token", "end_turn", "stop_sequence")
"""How services say that an answer is complete."""
CUTS = ("length", "max_tokens")
"""How they say that it ran out of tokens."""
_DECODER = json.JSONDecoder(strict=False)
"""Takes line breaks within strings, as models write them."""


def _text(content: Any) -> str:
    """The text of a message: a string, or a list of parts of which some are text."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") if isinstance(part, dict) else str(part) for part in content)
    return content if isinstance(content, str) else ""


def _whole(text: str) -> str:
    """`text` with the halves of a character, which came in two chunks, put together; a half alone becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_json(text: str) -> bool:
    """Whether `text` is one JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def bare_json(text: str) -> str:
    """The JSON in an answer, without the thoughts, the code fence and the prose that some servers put around it.

    Of several values the longest; JSON that was written as a string is read. The text as it is when it holds none.
    """
    said = re.sub(r"^.*</(think|thinking|thought|reasoning)>", "", text, flags=re.DOTALL).strip("\ufeff \t\r\n")
    found: list[tuple[str, Any]] = []
    place = 0
    while (start := _opening(said, place)) is not None:
        try:
            value, end = _DECODER.raw_decode(said, start)
        except (ValueError, RecursionError):
            place = start + 1
        else:
            found.append((said[start:end], value))
            place = end
    if not found:
        return said if is_json(said) else text
    longest, value = max(found, key=lambda each: len(each[0]))
    if isinstance(value, str):
        return bare_json(value) if _opening(value, 0) == 0 else text
    return longest if is_json(longest) else json.dumps(value)


def _opening(text: str, place: int) -> int | None:
    """Where the next object or list may begin; where the whole text is a string, there."""
    if place == 0 and text.startswith('"'):
        return 0
    found = re.compile(r"[{\[]").search(text, place)
    return found.start() if found else None


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
