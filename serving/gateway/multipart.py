"""A multipart body taken apart while it arrives: every part is counted, and refused as soon as it is too large.

Files stay in memory: they are few and small, and go straight to a decoder. Knows no field and no route.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.gateway.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELDS = 200
MAX_FIELD_BYTES = 1024 * 1024
"""All text fields together."""


@dataclass(frozen=True)
class Upload:
    """One file of a multipart body, as it came."""

    filename: str
    data: bytes


Pair: TypeAlias = tuple[str, "str | Upload"]


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
