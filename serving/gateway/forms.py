"""Forms, as browsers and programs send them: multipart with files, or urlencoded, taken apart while they arrive.

Every part is counted, and refused as soon as it is too large. A large file lies on the disk until it is whole: it
is never in memory twice. A field that was left empty counts as left out. Fields named `a[]` and `a[b]` become lists and
objects.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from pydantic_core import from_json
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.gateway.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELDS = 200
MAX_FIELD_BYTES = 1024 * 1024
"""All text fields together."""
MAX_DEPTH = 4
MAX_FILENAME = 255
MEMORY_BYTES = 2 * 1024 * 1024
"""Of a file that arrives; the rest of a larger one is on the disk until it is there."""
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:\\|\\\\")
_ESCAPED_BY_BROWSERS = re.compile(r"%(22|0[AaDd])")
_ESCAPED_BYTE = re.compile(r"%[89A-Fa-f][0-9A-Fa-f]")
"""Of a character that is no ASCII."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FILE_TYPES = ("image/", "video/", "audio/", "application/octet-stream")
"""Parts of these media types are files though nobody named them."""


@dataclass(frozen=True)
class Upload:
    """One file of a multipart body, as it came."""

    filename: str
    """Without its folders; empty when the caller gave none."""
    data: bytes


Pair: TypeAlias = tuple[str, "str | Upload"]
_Entry = tuple[tuple[str, ...], Any]


async def read_multipart(
    content_type: str | None, stream: AsyncIterator[bytes], max_files: int, max_file_bytes: int
) -> tuple[Pair, ...]:
    """Names and values of all parts, in order, but for those left empty.

    Raises Problem: 400 malformed, 413 too large, 422 too many files.
    """
    _, options = parse_options_header(content_type)
    if b"boundary" not in options:
        raise Problem("bad_request", "the multipart body has no boundary in its Content-Type")
    parts = _Parts(max_files, max_file_bytes)
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        async for chunk in stream:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Problem("bad_request", f"the multipart body is malformed: {error}") from None
    finally:
        parts.close()
    if not parts.ended:
        raise Problem("bad_request", "the multipart body is cut off: its closing boundary is missing")
    return _given(parts.pairs)


def read_urlencoded(body: bytes) -> tuple[Pair, ...]:
    """Names and values of an urlencoded form, in order, but for those left empty. Raises Problem: 400, 422."""
    if body.count(b"&") >= MAX_FIELDS:
        raise Problem("limit_exceeded", f"at most {MAX_FIELDS} fields in one request", details={"max": MAX_FIELDS})
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Problem("bad_request", "the form cannot be read: its text is not UTF-8") from None
    return _given(pairs)


def _given(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """`pairs` without fields that were left empty: a page sends all that it has, filled in or not."""
    filled = {name for name, value in pairs if value not in ("", Upload("", b""))}
    return tuple((name, value) for name, value in pairs if name in filled and value != Upload("", b""))


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
        self._file = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115  (closed by `close`)
        self._begin()

    def close(self) -> None:
        self._file.close()

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
        self._disposition = b""
        self._type = ""
        self._name = ""
        self._filename: str | None = None
        self._data = bytearray()
        self._size = 0

    def _end_header(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            self._disposition = bytes(value)
        if bytes(name).lower() == b"content-type":
            self._type = value.decode("latin-1").strip().lower()
        self._header = (bytearray(), bytearray())

    def _start_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        if not options.get(b"name"):
            raise Problem("bad_request", "a part of the multipart body has no name in its Content-Disposition")
        self._name = _ESCAPED_BY_BROWSERS.sub(lambda found: unquote(found[0]), _text(options[b"name"]))
        self._filename = _filename(self._disposition, options.get(b"filename"))
        if self._filename is None and self._type.startswith(_FILE_TYPES):
            self._filename = ""
        if self._filename:
            self._count_file()
        if len(self.pairs) >= MAX_FIELDS:
            raise Problem("limit_exceeded", f"at most {MAX_FIELDS} parts in one request", self._name)

    def _count_file(self) -> None:
        self._files += 1
        if self._files > self._max_files:
            text = f"{self._name}: at most {self._max_files} files in one request"
            raise Problem("limit_exceeded", text, self._name, {"max_files": self._max_files})

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._filename == "" and not self._size:
            self._count_file()
        self._size += end - start
        if self._filename is None:
            self._data += data[start:end]
            self._field_bytes += end - start
            limit, size, what = MAX_FIELD_BYTES, self._field_bytes, "the text fields"
        else:
            self._file.write(data[start:end])
            limit, size, what = self._max_file_bytes, self._size, f"file {self._filename!r}"
        if size > limit:
            text = f"{self._name}: {what} may have at most {limit / 2**20:.0f} MB: send less"
            raise Problem("payload_too_large", text, self._name, {"limit_bytes": limit})

    def _end_part(self) -> None:
        if self._filename is not None:
            self._file.seek(0)
            self.pairs.append((self._name, Upload(self._filename, self._file.read(self._size))))
            self._file.seek(0)  # the next file is written over it
            return
        try:
            self.pairs.append((self._name, self._data.decode()))
        except UnicodeDecodeError:
            raise Problem("bad_request", f"{self._name}: the text is not UTF-8", self._name) from None

    def _end(self) -> None:
        self.ended = True


def _text(raw: bytes) -> str:
    """UTF-8, as RFC 7578 asks for; Latin-1 from clients that know nothing else."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _filename(disposition: bytes, plain: bytes | None) -> str | None:
    """The file's name without folders and control characters; None for a part that is no file.

    Browsers escape quotes and line ends as `%22`, `%0D`, `%0A`; some programs all that is no ASCII. `filename*` (RFC
    5987, RFC 2231) has no place in forms by RFC 7578, and is sent nevertheless, often alone.
    """
    name = None if plain is None else _text(plain)
    if not name and b"filename*" in disposition.lower():
        name = _extended(disposition) or name
    if name is None:
        return None
    if _ESCAPED_BYTE.search(name):
        with suppress(UnicodeDecodeError):  # else the per cent signs are its own
            name = unquote_to_bytes(name).decode()
    name = _ESCAPED_BY_BROWSERS.sub(lambda found: unquote(found[0]), name)
    name = name.rpartition("\\" if _WINDOWS_PATH.match(name) else "/")[2]
    return _CONTROLS.sub("", name)[:MAX_FILENAME]


def _extended(disposition: bytes) -> str | None:
    """The name in `filename*`, in one piece or several; None when it cannot be read."""
    message = Message()
    message["Content-Disposition"] = _CONTROLS.sub("", disposition.decode("latin-1"))
    found = message.get_param("filename", header="Content-Disposition")
    if not isinstance(found, tuple):
        return found
    charset, _, value = found
    try:
        return value.encode("latin-1").decode(charset or "utf-8")
    except (LookupError, UnicodeError):
        return _text(value.encode("latin-1", "replace"))


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
            "invalid_request", f"field name {name[:80]!r} cannot be read: use name, name[] or name[key]", name[:80]
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
            return from_json(value, allow_inf_nan=False)
        except ValueError:
            return value  # the field's own validation says what it should have been
    return value
