"""`POST /v1/chat/completions`: OpenAI's chat protocol over the server's language models, whole or as an event stream.

Pictures are checked and re-encoded before a model sees them. A caller who hangs up cancels the call.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from models.llm.openai_wire import data_url
from models.spec import ChatModelSpec
from serving.backends.interface import Json, Spec
from serving.gateway.answers import while_connected
from serving.gateway.auth.gate import owner
from serving.gateway.events import stream_content
from serving.gateway.openai.sampling import find_model
from serving.gateway.pictures import Pictures
from serving.gateway.problems import ErrorResponse, problem_response
from serving.gateway.requests import TEXT_BODY_BYTES, BodyRoute, EncodedPicture, Id, OpenObject
from serving.gateway.services import services

LongText = Annotated[str, StringConstraints(max_length=TEXT_BODY_BYTES)]


class ImageUrl(OpenObject):
    """A picture in a message."""

    url: EncodedPicture
    """A `data:` URL or an artifact id; addresses are not fetched."""


class ContentPart(OpenObject):
    """A part of a message."""

    type: Id
    """`text` or `image_url`."""
    text: LongText | None = None
    """Of a part of type `text`."""
    image_url: ImageUrl | EncodedPicture | None = None
    """Of a part of type `image_url`."""


class Turn(OpenObject):
    """One message of a conversation."""

    role: Id
    """`system`, `user` or `assistant`."""
    content: LongText | Annotated[list[ContentPart], Field(max_length=200)] | None = None
    """Text, or parts of text and pictures."""


class ChatCompletion(OpenObject):
    """OpenAI's chat completion request. A field that the model's engine cannot honour is refused, never ignored."""

    model: Id
    """A chat model of `/v1/models`, or `MODEL:ADAPTER` for one of its LoRA adapters."""
    messages: Annotated[list[Turn], Field(min_length=1, max_length=2000)]
    """Pictures as `image_url` parts: `data:` URLs or artifact ids, never addresses."""
    stream: bool | None = None
    """True: the answer comes as server-sent events, a piece at a time."""
    strict: bool = False
    """Refuse a model that runs elsewhere (`gpt-4o`), instead of answering with the nearest and saying so in `notes`."""

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, data: Any) -> Any:
        if isinstance(data, dict) and _characters(data) > TEXT_BODY_BYTES:
            raise ValueError(f"all texts together may have at most {TEXT_BODY_BYTES} characters")
        return data


def _characters(value: Any) -> int:
    """Of all texts in JSON but its pictures."""
    if isinstance(value, dict):
        return sum(len(key) + _characters(each) for key, each in value.items() if key != "image_url")
    return sum(map(_characters, value)) if isinstance(value, list) else len(value) if isinstance(value, str) else 0


class ChatText(BaseModel):
    """What the model says, or a piece of it."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    role: str | None = None
    """Always `assistant`, where it is given."""
    content: str | None = None
    """The text; of a piece, what comes next."""


class ChatUsage(BaseModel):
    """What an answer took."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    prompt_tokens: int
    """Tokens of the messages."""
    completion_tokens: int
    """Tokens of the answer."""
    total_tokens: int
    """Both together."""


class ChatChoice(BaseModel):
    """One answer."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    index: int
    """Counted from 0."""
    message: ChatText
    """What the model says."""
    finish_reason: str | None
    """`stop`: it ended by itself; `length`: it ran out of tokens."""


class ChatAnswer(BaseModel):
    """OpenAI's chat completion, as the model's engine gives it; engines add fields of their own."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    id: str
    """Id of the answer."""
    object: Literal["chat.completion"]
    """OpenAI's name for this kind of object."""
    created: int
    """Unix seconds."""
    model: str
    """The model that answered."""
    choices: list[ChatChoice]
    """One for each answer that was asked for."""
    usage: ChatUsage | None = None
    """What it took."""
    notes: list[str] = Field(default_factory=list)
    """What was not done as asked; left out where nothing is to be said."""


class ChatPiece(BaseModel):
    """What is new of one answer."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    index: int
    """Counted from 0."""
    delta: ChatText
    """The next piece."""
    finish_reason: str | None = None
    """Set in the last piece: `stop` or `length`."""


class ChatChunk(BaseModel):
    """One event of a chat completion that is streamed. The last event is the text `[DONE]`."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    id: str
    """Id of the answer, the same in all its events."""
    object: Literal["chat.completion.chunk"]
    """OpenAI's name for this kind of object."""
    created: int
    """Unix seconds."""
    model: str
    """The model that answers."""
    choices: list[ChatPiece]
    """What is new; empty in the event that only reports `usage`."""
    usage: ChatUsage | None = None
    """What it took, at the end and where `stream_options` asks for it."""
    notes: list[str] = Field(default_factory=list)
    """What was not done as asked; only in the first event, and only where something is to be said."""


ChatStreamItem = ChatChunk | ErrorResponse
"""What the data of an event is; an error ends the stream."""
CHAT_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"model": ChatAnswer, "content": {"text/event-stream": stream_content("ChatStreamItem")}},
}
router = APIRouter(prefix="/v1/chat", tags=["chat"], route_class=BodyRoute)

EVENT_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Proxies pass each event on at once."""


@router.post("/completions", response_model=None, responses=CHAT_RESPONSES)
async def complete(request: Request, body: ChatCompletion) -> Response:
    """Answer a conversation; with `stream` as server-sent events, one per piece, then `[DONE]`."""
    found = services(request)
    spec, notes = find_chat_model(found.backend.specs, body.model, body.strict)
    pictures = Pictures(found, owner(request))
    # A field that is null was left out: so OpenAI's own schema has it.
    given = body.model_dump(exclude_unset=True, exclude={"strict"})
    asked = {field: value for field, value in given.items() if value is not None}
    if notes:
        asked["model"] = spec.name
    asked["messages"] = [await _with_checked_pictures(m, i, pictures) for i, m in enumerate(asked["messages"])]
    chunks = found.backend.chat(spec.name, asked)
    # Before the first chunk an error still has a status of its own.
    first = await while_connected(request, _next(chunks))
    if notes:
        first["notes"] = [*notes, *first.get("notes", ())]
    if not body.stream:
        await chunks.aclose()
        return JSONResponse(first)
    return StreamingResponse(_events(first, chunks), media_type="text/event-stream", headers=EVENT_HEADERS)


def find_chat_model(specs: Mapping[str, Spec], name: str, strict: bool) -> tuple[ChatModelSpec, tuple[str, ...]]:
    """As `find_model`; `MODEL:ADAPTER` is the model before the colon."""
    base = name.partition(":")[0]
    return find_model(specs, base if base in specs else name, ChatModelSpec, strict)


async def _with_checked_pictures(message: Json, place: int, pictures: Pictures) -> Json:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = [await _checked(part, f"messages.{place}.content.{index}", pictures) for index, part in enumerate(content)]
    return {**message, "content": parts}


async def _checked(part: Any, param: str, pictures: Pictures) -> Any:
    """An image part with its picture re-encoded; any other part unchanged, for the engine to judge."""
    match part:
        case {"type": "image_url", "image_url": str(short)}:  # as some clients abbreviate it
            return await _checked({"type": "image_url", "image_url": {"url": short}}, param, pictures)
        case {"type": "image_url", "image_url": {"url": str(url), **rest}}:
            picture = await pictures.picture(url, f"{param}.image_url.url")
            return {"type": "image_url", "image_url": {"url": data_url(picture.data), **rest}}
    return part


async def _next(chunks: AsyncGenerator[Json, None]) -> Json:
    return await anext(chunks)


async def _events(first: Json, chunks: AsyncGenerator[Json, None]) -> AsyncGenerator[bytes, None]:
    """The answer as server-sent events; closing it cancels the call.

    An error on the way is the last event: the status was sent long ago.
    """
    async with aclosing(chunks):
        try:
            yield _event(json.dumps(first))
            async for chunk in chunks:
                yield _event(json.dumps(chunk))
            yield _event("[DONE]")
        except Exception as error:  # whatever it is, the reader must learn that the answer is not complete
            yield _event(bytes(problem_response(error).body).decode())


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()
