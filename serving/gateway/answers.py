"""A file answered by ranges, so that players can seek; and work that stops when its caller hangs up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response

from serving.gateway.problems import Problem

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
Result = TypeVar("Result")


def file_response(request: Request, data: bytes, media_type: str, sha256: str) -> Response:
    """A file as an answer, whole or one range of it (RFC 9110, section 14).

    `data` never changes under its hash, so clients may keep it. Raises Problem 416 for a range outside of it.
    """
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if f'"{sha256}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    wanted = _wanted(request, len(data), sha256)
    if wanted is None:
        return Response(data, media_type=media_type, headers=headers)
    first, last = wanted
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, media_type=media_type, headers=headers)


def _wanted(request: Request, size: int, sha256: str) -> tuple[int, int] | None:
    """First and last byte that are wanted; None: all.

    Several ranges, another unit or a stale `If-Range` are answered by the whole file.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or not any(match.groups()) or request.headers.get("if-range", f'"{sha256}"') != f'"{sha256}"':
        return None
    start, end = match.groups()
    if start:
        first, last = int(start), min(int(end), size - 1) if end else size - 1
        if end and int(end) < int(start):
            return None
    else:
        first, last = max(0, size - int(end)), size - 1
    if first >= size or first > last:
        text = f"range {request.headers['range']!r} is outside of the {size} bytes"
        raise Problem("range_not_satisfiable", text, headers={"Content-Range": f"bytes */{size}"})
    return first, last


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
