"""No body grows beyond its limit: bytes are counted as they arrive, whatever `Content-Length` says.

Multipart bodies are counted file by file where they are taken apart (`multipart.py`), and here as a whole.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.problems import Problem, problem_response


class BodyLimit:
    """Middleware: refuses with 413 a multipart body of more than `form_bytes`, any other of more than `json_bytes`."""

    def __init__(self, app: ASGIApp, json_bytes: int, form_bytes: int) -> None:
        self._app = app
        self._json_bytes = json_bytes
        self._form_bytes = form_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_form = headers.get("content-type", "").lower().startswith("multipart/")
        limit = self._form_bytes if is_form else self._json_bytes
        announced = headers.get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            await problem_response(_too_large(limit))(scope, receive, send)
            return
        await self._app(scope, _counted(receive, limit), send)


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> Problem:
    size = f"{limit / 2**20:.0f} MB" if limit >= 2**20 else f"{limit} bytes"
    text = f"the body has more than {size}: send less, or artifact ids instead of pictures"
    return Problem("payload_too_large", text, details={"limit_bytes": limit})
