"""Serve a chat model under OpenAI's protocol: its JSON request as a `ChatRequest`, a `ChatResult` as its JSON answer.

A field that an engine cannot honour is refused by name rather than ignored; images come as data URLs and are never
fetched.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from models.errors import InvalidRequest
from models.interfaces import ChatMessage, ChatRequest, ChatResult, EncodedImage, FinishReason, Plain
from models.llm.openai_wire import FIRST_TOKENS
from models.llm.schema_bounds import check_size
from models.registry import AUTHOR_FAMILY
from models.spec import ChatModelSpec

Json = dict[str, Any]

IGNORED = frozenset(
    {
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "prompt_cache_options", "prediction",
    }
)  # fmt: skip
"""Book-keeping for OpenAI's own service, and help for its speed: nothing that changes an answer."""
NOTED = ("reasoning_effort", "verbosity")
"""How a model of OpenAI's is asked to think and to talk: no model here knows it, and the answer says so."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1, None),
    "frequency_penalty": (0, None),
    "presence_penalty": (0, None),
    "logit_bias": ({}, None),
    "tools": ([], None),
    "functions": ([], None),
    "tool_choice": ("none", "auto", None),
    "function_call": ("none", "auto", None),
    "audio": (None,),
    "web_search_options": (None,),
    "parallel_tool_calls": (True, False, None),
    "modalities": (["text"], None),
}
"""What clients send without meaning anything by it; another value is refused."""
TOOL_REMEDY = "it calls no tools; ask for JSON of your own shape with response_format json_schema"
SHOWN = 40
"""A value of more letters is not repeated in a refusal."""
DATA_URL = re.compile(r"data:image/(?:png|jpeg|webp);base64,")


@dataclass(frozen=True)
class ServedChat:
    """An OpenAI request as an engine takes it, and how its answer is wanted."""

    request: ChatRequest
    stream: bool
    include_usage: bool
    top_logprobs: int = 0
    """Of how many tokens the log-probabilities are told, where the request asks for those of its one token."""
    notes: tuple[str, ...] = ()
    """What was not done as asked."""


def read_body(body: Json, spec: ChatModelSpec) -> ServedChat:
    """What `body` asks of the model `spec`. Raises InvalidRequest naming the field that cannot be honoured.

    Without `seed` each answer is another one; `timeout_seconds` is the model's own.
    """
    notes = [f"{name} {body[name]!r:.40} is not used" for name in NOTED if body.get(name) is not None]
    if body.get("tools") and body.get("tool_choice") == "none":
        notes.append("tools are not used, as tool_choice says")
        body = {**body, "tools": []}
    for name, values in NEUTRAL.items():
        if name in body and body[name] not in values:
            remedy = TOOL_REMEDY if name in ("tools", "functions", "tool_choice", "function_call") else "leave it out"
            raise InvalidRequest(f"field {name!r} is not supported by model {spec.name!r}: {remedy}", name)
    left_out = {*IGNORED, *NOTED, *NEUTRAL}
    fields = {key: value for key, value in body.items() if key not in left_out and value is not None}
    try:
        asked = _Body.model_validate(fields)
    except ValidationError as error:
        raise _first_mistake(error, fields, spec) from error
    if asked.model != spec.name:
        text = f"model {asked.model!r} is unknown here: {spec.name!r} is served without LoRA adapters"
        raise InvalidRequest(text, "model")
    schema = None if asked.response_format is None else asked.response_format.schema_of_answer()
    if schema is not None and asked.stop:
        text = "field 'stop' would cut an answer that must be JSON: leave out 'stop' or 'response_format'"
        raise InvalidRequest(text, "stop")
    limit = asked.max_completion_tokens or asked.max_tokens or spec.max_tokens
    if asked.logprobs and spec.family == AUTHOR_FAMILY:
        text = f"field 'logprobs' is not supported by model {spec.name!r}, which is no language model: leave it out"
        raise InvalidRequest(text, "logprobs")
    if asked.logprobs and limit > 1:
        text = "field 'logprobs' is supported for answers of one token: set max_tokens to 1, or leave it out"
        raise InvalidRequest(text, "logprobs")
    if asked.top_logprobs and not asked.logprobs:
        raise InvalidRequest(
            "field 'top_logprobs' needs 'logprobs' beside it: add it, or leave both out", "top_logprobs"
        )
    request = ChatRequest(
        messages=tuple(message.plain(place) for place, message in enumerate(asked.messages)),
        json_schema=schema,
        seed=secrets.randbits(63) if asked.seed is None else asked.seed,
        temperature=spec.temperature if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        max_tokens=limit,
        stop=asked.stop,
        timeout_seconds=spec.timeout_seconds,
        first_token=bool(asked.logprobs),
    )
    usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
    return ServedChat(request, bool(asked.stream), usage, asked.top_logprobs or 0, tuple(notes))


class Reply:
    """Builds the answer to one request: chunks of one id, or one completion."""

    def __init__(self, model: str, notes: tuple[str, ...] = (), top_logprobs: int = 0) -> None:
        """`notes`: what is not done as asked, for the first chunk or the completion, beside OpenAI's fields."""
        self._top_logprobs = top_logprobs
        self._common = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._notes = notes

    def opening(self) -> Json:
        """The chunk before all text."""
        notes = {"notes": list(self._notes)} if self._notes else {}
        return {**self._chunk({"role": "assistant", "content": ""}, None), **notes}

    def piece(self, text: str, result: ChatResult | None = None) -> Json:
        """A chunk of text; with the `result` of an answer of one token, also with its log-probabilities."""
        return self._chunk({"content": text}, None, None if result is None else self._logprobs(result))

    def end(self, reason: FinishReason, notes: tuple[str, ...] = ()) -> Json:
        """The last chunk with a choice, and what was only found out on the way."""
        return {**self._chunk({}, reason), **({"notes": list(notes)} if notes else {})}

    def usage(self, result: ChatResult) -> Json:
        """The chunk after the last one, for clients that asked for `stream_options.include_usage`."""
        return {**self._common, "object": "chat.completion.chunk", "choices": [], "usage": _usage(result)}

    def completion(self, result: ChatResult) -> Json:
        """The whole answer at once."""
        message = {"role": "assistant", "content": result.text, "refusal": None}
        logprobs = self._logprobs(result)
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": result.finish_reason}
        answer: Json = {"object": "chat.completion", "choices": [choice], "usage": _usage(result)}
        notes = [*self._notes, *result.notes]
        return {**self._common, **answer, **({"notes": notes} if notes else {})}

    def _logprobs(self, result: ChatResult) -> Json | None:
        """OpenAI's, of the one token; as there -9999 where that is not among the likeliest."""
        if not result.first_token:
            return None
        told = {result.text: result.first_token.get(result.text, -9999.0), **result.first_token}
        said = {text: {"token": text, "logprob": value, "bytes": [*text.encode()]} for text, value in told.items()}
        top = [said[text] for text in result.first_token][: self._top_logprobs]
        return {"content": [{**said[result.text], "top_logprobs": top}], "refusal": None}

    def _chunk(self, delta: Json, reason: FinishReason | None, logprobs: Json | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}


def _usage(result: ChatResult) -> Json:
    return {
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "total_tokens": result.prompt_tokens + result.completion_tokens,
    }


# --- the fields of a request ------------------------------------------------------------------------------------------


class _ImageUrl(Plain):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None
    """Taken for compatibility: a model looks at a picture in one way."""


class _TextPart(Plain):
    type: Literal["text"]
    text: str


class _ImagePart(Plain):
    type: Literal["image_url"]
    image_url: _ImageUrl


_Part = Annotated[_TextPart | _ImagePart, Field(discriminator="type")]
_PART: TypeAdapter[_TextPart | _ImagePart] = TypeAdapter(_Part)


def _said(message: Any) -> Any:
    """A message without what it does not say: clients send back an answer with `"tool_calls": null` and the like."""
    if not isinstance(message, dict):
        return message
    said = {key: value for key, value in message.items() if value not in (None, [])}
    return {"content": "", **said} if said.get("role") == "assistant" else said


class _Message(Plain):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[_Part, ...]
    name: str | None = None

    def plain(self, place: int) -> ChatMessage:
        """As a ChatMessage: its images come before its text, whatever their order was."""
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return ChatMessage(role=role, content=self.content)
        texts = [part.text for part in self.content if isinstance(part, _TextPart)]
        urls = [part.image_url.url for part in self.content if isinstance(part, _ImagePart)]
        images = tuple(decode_data_url(url, f"messages.{place}.content") for url in urls)
        return ChatMessage(role=role, content="\n".join(texts), images=images)


class _Schema(Plain):
    name: str = "answer"
    description: str | None = None
    json_schema: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class _ResponseFormat(Plain):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None

    def schema_of_answer(self) -> dict[str, Any] | None:
        """The JSON schema of the answer; None for free text."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": "object"}
        if self.json_schema is None:
            text = "field 'response_format.json_schema' is missing beside type 'json_schema'"
            raise InvalidRequest(text, "response_format.json_schema")
        check_size(self.json_schema.json_schema)
        return self.json_schema.json_schema


class _StreamOptions(Plain):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value or ()


class _Body(Plain):
    model: str
    messages: Annotated[tuple[Annotated[_Message, BeforeValidator(_said)], ...], Field(min_length=1)]
    response_format: _ResponseFormat | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=4), BeforeValidator(_as_list)
    ] = ()
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=FIRST_TOKENS)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


def decode_data_url(url: str, field: str) -> EncodedImage:
    """The image in a `data:` URL. Raises InvalidRequest naming `field`; nothing is ever fetched."""
    head = DATA_URL.match(url)
    if head is None:
        text = f"{field}: images are taken as data:image/png;base64,… (or jpeg, webp), never fetched; got {url[:40]!r}"
        raise InvalidRequest(text, field)
    try:
        return EncodedImage(data=base64.b64decode(url[head.end() :], validate=True))
    except binascii.Error as error:
        raise InvalidRequest(f"{field}: the image is no base64 ({error}): encode the file's bytes", field) from error


def check_parts(messages: Any) -> None:
    """Raises InvalidRequest naming a part of a message that is neither text nor an image as a `data:` URL.

    For engines that read request bodies themselves, and would fetch URLs.
    """
    for place, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for index, part in enumerate(content if isinstance(content, list) else ()):
            field = f"messages.{place}.content.{index}"
            try:
                known = _PART.validate_python(part)
            except ValidationError as error:
                raise InvalidRequest(f"field {field!r}: only text and image_url parts are taken", field) from error
            if isinstance(known, _ImagePart):
                decode_data_url(known.image_url.url, field)


def _first_mistake(error: ValidationError, body: Json, spec: ChatModelSpec) -> InvalidRequest:
    """The mistake that lies deepest in `body`, as a refusal in the caller's own words."""
    mistakes = [(_place(each, body), each) for each in error.errors(include_url=False)]
    place, mistake = max(mistakes, key=lambda each: len(each[0]))
    field = ".".join(place)
    kind, expected = mistake["type"], mistake.get("ctx", {}).get("expected")
    if kind == "extra_forbidden":
        text = f"is not supported by model {spec.name!r}: leave it out"
    elif kind == "missing":
        text = "is missing"
    elif kind == "union_tag_invalid":
        text = "is of a kind that is not taken: only text and image_url are"
    elif kind == "literal_error":
        text = f"must be {expected}"
    else:
        text = re.sub(r"^(Input|String|Tuple|Value) should ", "must ", mistake["msg"])
    given = mistake.get("input")
    short = isinstance(given, bool | int | float) or (isinstance(given, str) and len(given) <= SHOWN)
    return InvalidRequest(f"field {field!r} {text}{f' (got {given!r})' if short else ''}", field)


def _place(mistake: ErrorDetails, body: Any) -> list[str]:
    """Where in `body` a mistake is, without the names of the shapes that were tried there."""
    place: list[str] = []
    here = body
    for part in mistake["loc"]:
        inside = part in here if isinstance(here, dict) else isinstance(here, list | tuple) and isinstance(part, int)
        if inside:
            here = here[part]
            place.append(str(part))
    return [*place, str(mistake["loc"][-1])] if mistake["type"] == "missing" else place
