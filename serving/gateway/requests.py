"""The body of a request, JSON or a multipart form, read and checked against a pydantic model.

A form is taken apart while it arrives: every part is counted, and refused as soon as it is too large. Files stay in
memory: they are few and small, and go straight to a decoder. Fields named `a[]` and `a[b]` become lists and objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, get_args

from fastapi import Request
from pydantic import BaseModel, InstanceOf, ValidationError, WithJsonSchema
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.gateway.problems import Problem, invalid_body

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

JSON_TYPE, FORM_TYPE = "application/json", "multipart/form-data"
MAX_FIELDS = 200
MAX_FIELD_BYTES = 1024 * 1024
"""All text fields together."""
MAX_DEPTH = 4
COMPONENT = "#/components/schemas/{model}"
"""Where an OpenAPI document keeps the schema of a model."""
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Upload:
    """One file of a multipart body, as it came."""

    filename: str
    data: bytes


FileField = Annotated[InstanceOf[Upload], WithJsonSchema({"type": "string", "format": "binary"})]
"""A file of a multipart body, as the field of a request model."""
PictureSource = FileField | str
"""A file of a multipart body, base64 (plain or as a data URL), or the id of an artifact."""
Pair: TypeAlias = tuple[str, "str | Upload"]
_Entry = tuple[tuple[str, ...], Any]


async def parse_body(
    request: Request, model: type[Body], max_files: int, max_file_bytes: int, types: tuple[str, ...]
) -> Body:
    """The body of `request`, of one of the media `types`. Raises Problem 400, 413, 415, 422."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in types:
        raise Problem("unsupported_media_type", f"Content-Type must be {' or '.join(types)} (got {media_type!r})")
    values: Any
    if media_type == FORM_TYPE:
        values = nested(await read_multipart(request, max_files, max_file_bytes), _text_fields(model))
    else:
        values = await _json(request)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_body(error) from None


def body_schema(model: type[BaseModel], types: tuple[str, ...]) -> dict[str, Any]:
    """What `openapi_extra` says of a body that a route reads by `parse_body`. `openapi.describe` names its schemas."""
    schema = model.model_json_schema(ref_template=COMPONENT)
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema} for media_type in types}}}


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError):
        raise Problem("bad_request", "the body is not valid JSON") from None


def _text_fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if field.annotation is str or set(get_args(field.annotation)) == {str, type(None)}
    )


async def read_multipart(request: Request, max_files: int, max_file_bytes: int) -> tuple[Pair, ...]:
    """Names and values of all parts, in order. Raises Problem: 400 malformed, 413 too large, 422 too many files."""
    _, options = parse_options_header(request.headers.get("content-type"))
    if b"boundary" not in options:
        raise Problem("bad_request", "the multipart body has no boundary in its Content-Type")
    parts = _Parts(max_files, max_file_bytes)
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Problem("bad_request", f"the multipart body is malformed: {error}") from None
    if not parts.ended:
        raise Problem("bad_request", "the multipart body is cut off: its closing boundary is missing")
    return tuple(parts.pairs)


class _Parts:
    """Collects parts from the parser's callbacks."""

    def __init__(self, max_files: int, max_file_bytes: int) -> None:
        self._max_files = max_files
        self._max_file_bytes = max_file_bytes
        self.pairs: list[Pair] = []
        self.ended = False
        self._files = 0
        self._field_bytes = 0
        self._header = (bytearray(), bytearray())
        self._disposition = ""
        self._name = ""
        self._filename: str | None = None
        self._data = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._start_part,
            "on_part_data": self._take,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._header = (bytearray(), bytearray())
        self._disposition = ""
        self._data = bytearray()

    def _end_header(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            self._disposition = value.decode("utf-8", "replace")
        self._header = (bytearray(), bytearray())

    def _start_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise Problem("bad_request", "a part of the multipart body has no name in its Content-Disposition")
        self._name = options[b"name"].decode("utf-8", "replace")
        filename = options.get(b"filename")
        self._filename = None if filename is None else filename.decode("utf-8", "replace")
        if self._filename is not None:
            self._files += 1
        if self._files > self._max_files:
            text = f"{self._name}: at most {self._max_files} files in one request"
            raise Problem("limit_exceeded", text, self._name, {"max_files": self._max_files})
        if len(self.pairs) >= MAX_FIELDS:
            raise Problem("limit_exceeded", f"at most {MAX_FIELDS} parts in one request", self._name)

    def _take(self, data: bytes, start: int, end: int) -> None:
        self._data.extend(data[start:end])
        if self._filename is None:
            self._field_bytes += end - start
            limit, size, what = MAX_FIELD_BYTES, self._field_bytes, "the text fields"
        else:
            limit, size, what = self._max_file_bytes, len(self._data), f"file {self._filename!r}"
        if size > limit:
            text = f"{self._name}: {what} may have at most {limit / 2**20:.0f} MB: send less"
            raise Problem("payload_too_large", text, self._name, {"limit_bytes": limit})

    def _end_part(self) -> None:
        if self._filename is not None:
            self.pairs.append((self._name, Upload(self._filename, bytes(self._data))))
            return
        try:
            self.pairs.append((self._name, self._data.decode()))
        except UnicodeDecodeError:
            raise Problem("bad_request", f"{self._name}: the text is not UTF-8", self._name) from None

    def _end(self) -> None:
        self.ended = True


def nested(pairs: Sequence[Pair], text_fields: Collection[str]) -> dict[str, Any]:
    """The fields of a form as one object. `text_fields` are never read as JSON.

    Raises Problem 422 for names that contradict each other.
    """
    groups: dict[str, list[_Entry]] = {}
    for name, value in pairs:
        path = _path(name)
        groups.setdefault(path[0], []).append((path[1:], value))
    return {name: _decoded(_built(name, entries), name not in text_fields) for name, entries in groups.items()}


def _path(name: str) -> tuple[str, ...]:
    match = _NAME.fullmatch(name)
    if match is None or match[2].count("[") >= MAX_DEPTH:
        raise Problem(
            "invalid_request", f"field name {name[:80]!r} cannot be read: use name, name[] or name[key]", name
        )
    return (match[1], *re.findall(r"\[([^\[\]]*)\]", match[2]))


def _built(name: str, entries: Sequence[_Entry]) -> Any:
    heads = {path[0] if path else None for path, _ in entries}
    if heads == {None}:
        values = [value for _, value in entries]
        return values[0] if len(values) == 1 else values
    if None in heads or ("" in heads and len(heads) > 1):
        raise Problem("invalid_request", f"field {name!r} is given both as a value and as a list or object", name)
    if heads == {""}:
        return _listed(name, [(path[1:], value) for path, value in entries])
    return {
        str(head): _built(f"{name}[{head}]", [(path[1:], value) for path, value in entries if path[0] == head])
        for head in dict.fromkeys(path[0] for path, _ in entries)
    }


def _listed(name: str, entries: Sequence[_Entry]) -> list[Any]:
    """Elements of `name[]`; those of `name[][key]` arrive key by key, so every key must be given for every element."""
    if not any(path for path, _ in entries):
        return [value for _, value in entries]
    columns: dict[str, list[Any]] = {}
    for path, value in entries:
        if len(path) != 1 or not path[0]:
            raise Problem("invalid_request", f"field {name}[] is nested too deep: send it as JSON text", name)
        columns.setdefault(path[0], []).append(value)
    if len({len(column) for column in columns.values()}) > 1:
        raise Problem("invalid_request", f"elements of {name}[] have different keys: send it as JSON text", name)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _decoded(value: Any, may_be_json: bool) -> Any:
    if may_be_json and isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value  # the field's own validation says what it should have been
    return value
