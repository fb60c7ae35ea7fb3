"""`/ws/{session_id}`: a session's event log as it grows, out; its owner's chat, in.

A socket holds nothing: whoever leaves and comes back with `?after=` misses nothing, several may look on, and hanging up
cancels nothing. It closes with 1008 for a session that is not the caller's (do not try again), with 1000 when the
session has ended, and with 1011 when the server could not go on (try again later).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, WebSocket, status

from pipelines.errors import NotFound
from serving.gateway.event_stream import event_streams
from serving.gateway.identity import owner
from serving.gateway.problems import Problem
from serving.gateway.services import services
from serving.gateway.session_talk import SessionTalk
from serving.gateway.sessions import Sessions
from serving.gateway.sse import MAX_SEQ

router = APIRouter()


@router.websocket("/ws/{session_id}")
async def session_socket(
    socket: WebSocket, session_id: str, after: Annotated[int, Query(ge=0, le=MAX_SEQ)] = 0
) -> None:
    """Frames past the `seq` `after`; every one of them from the beginning when it is left out."""
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
    talk = SessionTalk(socket, sessions, generation, after)
    await talk.run(event_streams(socket).follow(user, session_id, after))
