"""One user's sessions, read and decided on: what the HTTP routes and the WebSocket of a session share.

A session is a generation of the recipe `interactive`. What its state does not allow is 400, as in the contract.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import TypeVar

from pipelines.records import Generation
from serving.gateway.interactive.answers import Session, SessionStage, SessionStatus, WorkStage
from serving.gateway.interactive.reader import read_message
from serving.gateway.interactive.schemas import ChatMessage
from serving.gateway.interactive.stages import WORK_STAGES, is_awaited
from serving.gateway.interactive.views import session, status
from serving.gateway.orders import notify
from serving.gateway.problems import Problem
from serving.gateway.services import Services

RECIPE = "interactive"
"""Only generations of this recipe are sessions."""
Answer = TypeVar("Answer")


class Sessions:
    """Sessions of one user."""

    def __init__(self, services: Services, owner: str) -> None:
        self._services = services
        self._owner = owner

    async def row(self, session_id: str) -> Generation:
        """The generation behind a session. Raises NotFound, and Problem 404 for a generation that is no session."""
        generation = await self._services.store.get(self._owner, session_id)
        if generation.recipe.name != RECIPE:
            raise Problem("not_found", f"no generation {session_id!r}")
        return generation

    async def show(self, session_id: str) -> Session:
        """The session with all that it made. Its `seq` is read first: following from there repeats, never misses."""
        seq, _ = await self._newest(session_id)
        generation = await self.row(session_id)
        made = await self._services.store.generation_outputs(session_id)
        _, updated_at = await self._newest(session_id)
        return session(generation, made.outputs, made.takes, made.messages, updated_at or generation.created_at, seq)

    async def status(self, session_id: str) -> SessionStatus:
        """The state of a session, without what it made."""
        generation = await self.row(session_id)
        _, updated_at = await self._newest(session_id)
        outputs = await self._services.store.outputs(session_id)
        return status(generation, outputs, updated_at or generation.created_at)

    async def newest_seq(self, session_id: str) -> int:
        """`seq` of the newest event of a session, which was found to be the user's before."""
        return (await self._newest(session_id))[0]

    async def say(self, session_id: str, message: ChatMessage) -> None:
        """Add a message and its answer to the conversation, and set going what it asks for. Raises QueueFull."""
        generation = await self.row(session_id)
        self._services.talk.count(session_id)
        stage = generation.current_stage if is_awaited(generation) else None
        reading = await read_message(self._services, generation, stage, message.message, message.scene_number)
        said = (message.message, message.scene_number, message.client_id, reading)
        await self.decide(self._services.ads.directions.say(self._owner, session_id, *said))

    async def decide(self, decision: Awaitable[Answer]) -> Answer:
        """Carry out a decision, and notify the workers of what it sets going. Raises DecisionRefused, Busy."""
        answer = await decision
        await notify(self._services.notifier.wake())
        return answer

    async def _newest(self, session_id: str) -> tuple[int, datetime | None]:
        """`seq` and time of the newest event; 0 and None before the first."""
        index = self._services.ads.index
        heads = await index.heads((session_id,))
        seq = heads[session_id][0] if session_id in heads else 0
        newest = await index.log(session_id, seq - 1, 1) if seq else ()
        return seq, newest[0].created_at if newest else None


def work_stage_of(stage: SessionStage) -> WorkStage:
    """The stage that a body names. Raises Problem 400 for `complete` and `error`, which make nothing."""
    for known in WORK_STAGES:
        if known == stage:
            return known
    raise Problem("bad_request", f"stage {stage!r} is an end: nothing of it is approved or made anew", "stage")
