"""Artifacts as answers, by ranges so that players can seek; and work that stops when its caller hangs up."""

from __future__ import annotations

import asyncio
import hashlib
import re
import unicodedata
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import Query, Request, Response
from starlette.types import Receive, Scope, Send

from pipelines.errors import StorageFailed
from serving.gateway.auth.gate import caller, owner
from serving.gateway.problems import Problem
from serving.gateway.services import services

CHUNK_BYTES = 256 * 1024
"""What is in memory of a file that is sent."""
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "video/mp4": "mp4", "audio/wav": "wav",
            "application/x-safetensors": "safetensors"}  # fmt: skip
MEDIA_POLICY = (
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""What a browser shows a file with, when somebody opens its address: it makes a little page of its own for it."""
MAX_NAME = 80
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_FAR = 10**18
"""Where numbers end that have more digits: behind every file."""
Download = Annotated[bool, Query(description="Whether a browser saves the file instead of showing it")]
Result = TypeVar("Result")


async def artifact_response(request: Request, sha256: str, name: str, download: bool = False) -> Response:
    """An artifact of the caller as an answer, whole or one range of it (RFC 9110, section 14), a chunk at a time.

    It never changes under its hash, so clients may keep it; whose it is decides who may read what they keep. `name`:
    what it is saved as, without a suffix. Raises NotFound, DamagedArtifact, Problem 416 for a range outside of it.
    """
    used = services(request)
    stored = await used.owners.find(owner(request), sha256)
    headers = _headers(request, sha256, f"{name}.{SUFFIXES.get(stored.media_type, 'bin')}", download)
    if f'"{sha256}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    wanted = _wanted(request, stored.size, sha256)
    file = await asyncio.to_thread(used.artifacts.whole_file, sha256)
    if wanted is None:
        return FilePart(file, 0, stored.size, 200, stored.media_type, headers)
    first, last = wanted
    headers["Content-Range"] = f"bytes {first}-{last}/{stored.size}"
    return FilePart(file, first, last + 1 - first, 206, stored.media_type, headers)


def made_response(request: Request, data: bytes, media_type: str, name: str, download: bool = False) -> Response:
    """Bytes that were made of an artifact for this answer, under the same headers."""
    tag = hashlib.sha256(data).hexdigest()
    headers = _headers(request, tag, f"{name}.{SUFFIXES[media_type]}", download)
    if f'"{tag}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    wanted = _wanted(request, len(data), tag)
    if wanted is None:
        return Response(data, media_type=media_type, headers=headers)
    first, last = wanted
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, media_type=media_type, headers=headers)


class FilePart(Response):
    """Sends a part of a file, a chunk at a time."""

    def __init__(
        self, path: Path, first: int, count: int, status: int, media_type: str, headers: dict[str, str]
    ) -> None:
        super().__init__(None, status, {**headers, "Content-Length": str(count)}, media_type)
        self._path = path
        self._first = first
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with await asyncio.to_thread(self._path.open, "rb") as file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            file.seek(self._first)
            left = self._count
            while left:
                chunk = await asyncio.to_thread(file.read, min(CHUNK_BYTES, left))
                if not chunk:  # the connection breaks, because fewer bytes came than were announced
                    raise StorageFailed(f"{str(self._path)!r} became shorter while it was sent")
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _headers(request: Request, tag: str, name: str, download: bool) -> dict[str, str]:
    signed = caller(request).credential is None
    return {
        "Accept-Ranges": "bytes",
        "ETag": f'"{tag}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "Vary": "Authorization, Cookie",
        "Content-Disposition": _disposition(name, download),
        "Content-Security-Policy": MEDIA_POLICY,
        # A signed address is for pages of any origin; whatever needs a cookie is for our own.
        "Cross-Origin-Resource-Policy": "cross-origin" if signed else "same-origin",
    }


def file_name(title: str) -> str:
    """A title as the name of a file: letters and digits of any script, and single hyphens."""
    kept = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", title)).strip("-")
    return kept[:MAX_NAME].strip("-") or "ad"


def _disposition(name: str, download: bool) -> str:
    """Content-Disposition (RFC 6266), for clients that read UTF-8 and for those that do not. `name`: no quotes."""
    kind = "attachment" if download else "inline"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    if plain == name:
        return f'{kind}; filename="{name}"'
    stem = plain.rpartition(".")[0].strip("-")
    plain = plain if stem else f"file.{name.rpartition('.')[2]}"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"


def _wanted(request: Request, size: int, tag: str) -> tuple[int, int] | None:
    """First and last byte that are wanted; None: all.

    Several ranges, another unit or a stale `If-Range` are answered by the whole file.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or not any(match.groups()) or request.headers.get("if-range", f'"{tag}"') != f'"{tag}"':
        return None
    start, end = (_number(digits) for digits in match.groups())
    if start is not None:
        first, last = start, size - 1 if end is None else min(end, size - 1)
        if end is not None and end < start:
            return None
    else:
        first, last = max(0, size - (end or 0)), size - 1
    if first >= size or first > last:
        text = f"range {request.headers['range'][:80]!r} is outside of the {size} bytes"
        raise Problem("range_not_satisfiable", text, headers={"Content-Range": f"bytes */{size}"})
    return first, last


def _number(digits: str) -> int | None:
    """The number in a header, which may have thousands of digits; None where there are none."""
    digits = digits.lstrip("0") or digits[:1]
    return (int(digits) if len(digits) <= 18 else _FAR) if digits else None


async def while_connected(request: Request, call: Coroutine[Any, Any, Result]) -> Result:
    """The result of `call`, which is cancelled, and waited for, when the caller disconnects first.

    The body must have been read. Raises Problem `client_closed_request`, which only the log shows.
    """
    work = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Problem("client_closed_request", "the caller hung up")
        return work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.wait({work, gone})
        _retrieve_exception(work)
        _retrieve_exception(gone)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _retrieve_exception(task: asyncio.Future[Any]) -> None:
    """Keep asyncio from reporting an error that is known already, or of no interest."""
    if not task.cancelled():
        task.exception()
