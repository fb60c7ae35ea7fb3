"""The body of a request, JSON or a form, read and checked against a pydantic model, at a cost that is bounded first.

No body is read beyond the bytes that its model can use, none has more values or depth than `check_values` allows, and
what is large is parsed and checked in a thread, so that other requests are answered meanwhile. `BodyRoute` does this
for routes whose parameter is the model; routes that take several media types call `parse_body`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from typing import Annotated, Any, Self, TypeVar, get_args

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import from_json

from models.interfaces import Plain
from serving.gateway.forms import MAX_FIELD_BYTES, Pair, Upload, nested, read_multipart, read_urlencoded
from serving.gateway.mistakes import json_schema
from serving.gateway.problems import CREDENTIALS, Problem, invalid_body, too_large
from serving.gateway.services import MEGABYTE, services

JSON_TYPE, FORM_TYPE, URLENCODED_TYPE = "application/json", "multipart/form-data", "application/x-www-form-urlencoded"
TEXT_BODY_BYTES = MEGABYTE
"""A JSON body that holds no pictures."""
IN_THREAD_BYTES = 256 * 1024
"""A larger body is parsed and checked beside the event loop."""
MAX_VALUES = 10_000
"""Of a JSON body: strings, numbers, lists, objects and keys. A storyboard of 40 scenes has 1,200."""
MAX_MARKS = 250_000
"""Commas and opening brackets of a JSON body, those in texts included: before it is parsed, its values are at most
these. 250,000 empty lists are 20 MB and 20 ms (measured)."""
MAX_NESTING = 64
MAX_DIGITS = 30
"""Of a whole number."""
MAX_PICTURE_TEXT = 16 * 1024 * 1024
"""Characters of a picture as base64; the picture in it has the limit of an upload."""
MAX_PROPERTIES = 100
"""Of one object that takes more fields than it knows."""
COMPONENT = "#/components/schemas/{model}"
"""Where an OpenAPI document keeps the schema of a model."""
PICTURE_MARK = {"contentEncoding": "base64"}
"""How the schema of a picture as text is known; a body that has one may be as large as pictures are."""
_HALVES = ("hex escape", "surrogate")
"""What the parser says of a `\\ud83d` that no second half follows."""
Body = TypeVar("Body", bound=BaseModel)
Id = Annotated[str, StringConstraints(max_length=200)]
"""Of a generation, clip, take, key or model, in an address or a body."""

FileField = Annotated[InstanceOf[Upload], WithJsonSchema({"type": "string", "format": "binary"})]
"""A file of a multipart body, as the field of a request model."""
EncodedPicture = Annotated[str, Field(max_length=MAX_PICTURE_TEXT, json_schema_extra=dict(PICTURE_MARK))]
"""Base64 (plain or as a data URL), or the id of an artifact."""
PictureSource = FileField | EncodedPicture
"""A file of a multipart body, base64 (plain or as a data URL), or the id of an artifact."""


class OpenObject(Plain):
    """An object of a body that may have fields which are not in its schema, at most MAX_PROPERTIES with its own."""

    model_config = ConfigDict(frozen=True, extra="allow", json_schema_extra={"maxProperties": MAX_PROPERTIES})

    @model_validator(mode="after")
    def _few_fields(self) -> Self:
        if len(self.model_fields_set) > MAX_PROPERTIES:
            raise ValueError(f"at most {MAX_PROPERTIES} fields in one object")
        return self


async def parse_body(
    request: Request, model: type[Body], max_files: int, max_file_bytes: int, types: tuple[str, ...]
) -> Body:
    """The body of `request`, of one of the media `types`. Raises Problem 400, 413, 415, 422.

    An urlencoded form is taken wherever a multipart one is.
    """
    media_type = _media_type(request)
    if FORM_TYPE in types and media_type in (FORM_TYPE, URLENCODED_TYPE):
        pairs = await read_form(request, max_files, max_file_bytes)
        text = sum(len(value) for _, value in pairs if isinstance(value, str))
        return await _beside(text > IN_THREAD_BYTES, lambda: _checked(request, _of_form(pairs, model), model))
    if media_type not in types:
        raise _wrong_type(request, types)
    return await read_json(request, model)


async def read_form(request: Request, max_files: int, max_file_bytes: int) -> tuple[Pair, ...]:
    """Names and values of a form of either media type, without what was left empty. Raises Problem 400, 413, 415."""
    media_type = _media_type(request)
    if media_type == FORM_TYPE:
        return await read_multipart(request.headers.get("content-type"), request.stream(), max_files, max_file_bytes)
    if media_type == URLENCODED_TYPE:
        chunks, size = await _read(request, MAX_FIELD_BYTES)
        return await _beside(size > IN_THREAD_BYTES, lambda: read_urlencoded(b"".join(chunks)))
    raise _wrong_type(request, (FORM_TYPE,))


async def read_json(request: Request, model: type[Body]) -> Body:
    """The JSON body of `request` as a `model`. Raises Problem 400, 413, 422."""
    limit = services(request).limits.json_bytes
    chunks, size = await _read(request, limit if takes_pictures(model) else min(limit, TEXT_BODY_BYTES))
    return await _beside(size > IN_THREAD_BYTES, lambda: _checked(request, _parsed(chunks), model))


class BodyRoute(APIRoute):
    """A route whose JSON body is read and checked by `read_json` instead of the framework, which knows no bounds."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler
        model: type[BaseModel] = self.body_field.field_info.annotation  # type: ignore[assignment]

        async def handle(request: Request) -> Response:
            media_type = _media_type(request)
            if media_type != JSON_TYPE and not media_type.endswith("+json"):
                raise _wrong_type(request, (JSON_TYPE,))
            body = await read_json(request, model)
            return await handler(_CheckedRequest(request, body))

        return handle


class _CheckedRequest(Request):
    """A request whose body was read and checked: the framework finds the model's instance in place of JSON."""

    def __init__(self, request: Request, body: BaseModel) -> None:
        super().__init__(request.scope, request.receive)
        self._checked = body

    async def body(self) -> bytes:
        return b"read"

    async def json(self) -> Any:
        return self._checked


def body_schema(model: type[BaseModel], types: tuple[str, ...]) -> dict[str, Any]:
    """What `openapi_extra` says of a body that a route reads by `parse_body`. `openapi.describe` names its schemas."""
    schema = model.model_json_schema(ref_template=COMPONENT)
    taken = (*types, URLENCODED_TYPE) if FORM_TYPE in types else types
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema} for media_type in taken}}}


@cache
def takes_pictures(model: type[BaseModel]) -> bool:
    """Whether bodies of `model` may hold pictures as text."""
    return _has_mark(json_schema(model))


def _has_mark(schema: Any) -> bool:
    if isinstance(schema, dict):
        return PICTURE_MARK.items() <= schema.items() or any(map(_has_mark, schema.values()))
    return isinstance(schema, list) and any(map(_has_mark, schema))


def check_values(value: Any) -> None:
    """Raises Problem 422 for JSON of more values, depth or digits than any request needs."""
    left, seen = [(value, 1)], 0
    while left:
        here, depth = left.pop()
        below: Sequence[Any] = ()
        if isinstance(here, dict):
            below = tuple(here.values())
        elif isinstance(here, list):
            below = here
        elif isinstance(here, int) and abs(here) >= 10**MAX_DIGITS:
            raise Problem("limit_exceeded", f"a number has more than {MAX_DIGITS} digits", details={"max": MAX_DIGITS})
        seen += 1 + len(below)
        if seen > MAX_VALUES or (below and depth > MAX_NESTING):
            raise _too_much()
        left.extend((each, depth + 1) for each in below)


def _too_much() -> Problem:
    text = f"the body has more than {MAX_VALUES} values, or is nested deeper than {MAX_NESTING}: send less"
    return Problem("limit_exceeded", text, details={"max_values": MAX_VALUES, "max_depth": MAX_NESTING})


async def _read(request: Request, limit: int) -> tuple[list[bytes], int]:
    """The whole body in pieces, and its size. Raises Problem 413 as soon as it is too large."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
    return chunks, size


Result = TypeVar("Result")


async def _beside(is_large: bool, work: Callable[[], Result]) -> Result:
    return await asyncio.to_thread(work) if is_large else work()


def _parsed(chunks: list[bytes]) -> Any:
    """The JSON in `chunks`, which are emptied: three pictures are in memory twice at most. Raises Problem 400, 422."""
    data = b"".join(chunks)
    chunks.clear()
    if not data:
        raise _missing()
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_MARKS:
        raise _too_much()
    encoding = json.detect_encoding(data[:4])
    try:
        if encoding != "utf-8":
            data = data.decode(encoding).encode()
        values = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        if any(words in str(error) for words in _HALVES):
            raise Problem("invalid_request", "a text holds half a character, as \\ud83d alone is one") from None
        raise Problem("bad_request", f"the body cannot be read: it is not valid JSON ({error})") from None
    check_values(values)
    return values


def _of_form(pairs: Sequence[Pair], model: type[BaseModel]) -> dict[str, Any]:
    values = nested(pairs, _text_fields(model))
    check_values(values)
    return values


def _checked(request: Request, values: Any, model: type[Body]) -> Body:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        show_values = not request.url.path.startswith(CREDENTIALS)
        raise invalid_body(error, values, model, show_values) from None


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _wrong_type(request: Request, types: tuple[str, ...]) -> Problem:
    media_type, headers = _media_type(request), request.headers
    if not media_type and headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return _missing()
    return Problem("unsupported_media_type", f"Content-Type must be {' or '.join(types)} (got {media_type[:80]!r})")


def _missing() -> Problem:
    return Problem("invalid_request", "the body is missing", "body")


def _text_fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if field.annotation is str or set(get_args(field.annotation)) == {str, type(None)}
    )
