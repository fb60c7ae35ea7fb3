"""The WebSocket of a session: frames go out as events come, chat messages come in, until either side closes."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect, status
from pydantic import ValidationError
from starlette.websockets import WebSocketState

from models.interfaces import Plain
from pipelines.errors import NotFound, PipelineError
from pipelines.records import Event, Generation
from serving.errors import QueueFull
from serving.gateway.auth.gate import owner
from serving.gateway.events import MAX_SEQ, event_streams
from serving.gateway.interactive.schemas import ChatMessage
from serving.gateway.interactive.sessions import Sessions
from serving.gateway.interactive.views import ErrorFrame, Heartbeat, Pong, frame_of
from serving.gateway.problems import Problem, error_body, invalid_body
from serving.gateway.services import services

router = APIRouter()
MAX_MESSAGE_BYTES = 16 * 1024
"""A chat message has 2,000 characters; pictures and masks go over HTTP."""
MAX_KEEP_ALIVE = 200
"""Characters; a longer frame is no keep-alive."""
KEEP_ALIVE = frozenset({"ping", "pong", "heartbeat", "keepalive", "noop"})
"""What clients and proxies send to keep a connection."""
PONG_SECONDS, REFUSED_SECONDS = 0.01, 0.05
"""No frame is read for so long after one that did nothing: who sends very many is slowed down by his own connection."""
logger = logging.getLogger(__name__)


@router.websocket("/ws/{session_id}")
async def session_socket(
    socket: WebSocket, session_id: str, after: Annotated[int, Query(ge=0, le=MAX_SEQ)] = 0
) -> None:
    """Send the session's frames past the `seq` `after`, and take chat messages."""
    await socket.accept()
    sessions, user = Sessions(services(socket), owner(socket)), owner(socket)
    try:
        generation = await sessions.row(session_id)
        newest = await sessions.newest_seq(session_id)
    except (NotFound, Problem):
        await socket.close(status.WS_1008_POLICY_VIOLATION, "no such session")
        return
    if after > newest:
        await socket.close(status.WS_1008_POLICY_VIOLATION, f"after: the newest event is {newest}")
        return
    connection = SessionConnection(socket, sessions, generation, after)
    await connection.run(event_streams(socket).follow(user, session_id, after))


class SessionConnection:
    """One open WebSocket."""

    def __init__(self, socket: WebSocket, sessions: Sessions, generation: Generation, after: int) -> None:
        """`after`: the `seq` that the client has seen."""
        self._socket = socket
        self._sessions = sessions
        self._generation = generation
        self._seq = after
        self._sending = asyncio.Lock()

    async def run(self, events: AsyncGenerator[Event | None]) -> None:
        """Serve the client until it hangs up or the session has ended. Raises nothing that a client can cause."""
        tasks = {asyncio.create_task(self._show(events)), asyncio.create_task(self._listen())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                raise result

    async def _show(self, events: AsyncGenerator[Event | None]) -> None:
        code, reason = status.WS_1000_NORMAL_CLOSURE, "the session has ended"
        try:
            async with aclosing(events):
                async for event in events:
                    await self._pass_on(event)
        except PipelineError as error:
            logger.warning("the session's events could not be read: %s", error)
            code, reason = status.WS_1011_INTERNAL_ERROR, "the server could not read the session: try again later"
        async with self._sending:
            await self._socket.close(code, reason)

    async def _pass_on(self, event: Event | None) -> None:
        if event is None:
            await self._send(Heartbeat(session_id=self._generation.id, seq=self._seq))
            return
        self._seq = event.seq
        await self._send(frame_of(self._generation.id, event, self._generation.recipe))

    async def _listen(self) -> None:
        while True:
            received = await self._socket.receive()
            if received["type"] == "websocket.disconnect":
                return
            if _is_keep_alive(received.get("text")):
                await self._send(Pong(session_id=self._generation.id, seq=self._seq))
                await asyncio.sleep(PONG_SECONDS)
                continue
            try:
                await self._sessions.say(self._generation.id, _message(received.get("text")))
            except (Problem, PipelineError, QueueFull) as error:
                refused = error_body(error)
                await self._send(ErrorFrame(session_id=self._generation.id, seq=self._seq, error=refused))
                await asyncio.sleep(REFUSED_SECONDS)

    async def _send(self, frame: Plain) -> None:
        async with self._sending:
            if self._socket.application_state is WebSocketState.CONNECTED:  # else the other task has closed it
                await self._socket.send_text(frame.model_dump_json())


def _is_keep_alive(text: str | None) -> bool:
    """Whether a frame only keeps the connection: `ping` and its kin, bare or as what an object is named by."""
    if text is None or len(text) > MAX_KEEP_ALIVE:
        return False
    if _is_keep_alive_word(text):
        return True
    try:
        sent = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(sent, dict):
        return _is_keep_alive_word(sent)
    named = [sent[name] for name in ("type", "event", "action", "op", "method", "command") if name in sent]
    return any(map(_is_keep_alive_word, named or sent)) and "message" not in sent


def _is_keep_alive_word(word: object) -> bool:
    return isinstance(word, str) and re.sub(r"[\W_]", "", word).lower() in KEEP_ALIVE


def _is_bare_json(text: str) -> bool:
    """Whether a frame is a JSON value that is no object: `null`, `42`, a list."""
    try:
        return bool(text.strip()) and not isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _message(text: str | None) -> ChatMessage:
    """The message of a frame: plain text, or a JSON object. Raises Problem."""
    if text is None:
        raise Problem("bad_request", "binary frames are not read: send text; pictures go over HTTP")
    if len(text.encode()) > MAX_MESSAGE_BYTES:
        limit = {"limit_bytes": MAX_MESSAGE_BYTES}
        raise Problem("payload_too_large", f"a message may have at most {MAX_MESSAGE_BYTES} bytes", "message", limit)
    values: object = {"message": text}
    if _is_bare_json(text):
        raise Problem("bad_request", f"{text.strip()!r} is no message: send words, or a JSON object with 'message'")
    if text.lstrip().startswith("{"):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise Problem("bad_request", "the message begins like a JSON object and is none") from None
    try:
        return ChatMessage.model_validate(values)
    except ValidationError as error:
        raise invalid_body(error, values, ChatMessage) from None
