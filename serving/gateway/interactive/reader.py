"""Messages that the rules leave open, read by the session's own chat model where it is one to be asked.

It is asked before the message is decided on, outside of any transaction; an error or a slow answer leaves the rules'
reading as it is.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from models.errors import ModelError
from models.llm.openai_wire import request_body
from models.spec import ChatModelSpec
from pipelines.agents.direction_changes import Scope
from pipelines.agents.direction_model import (
    checked_reading,
    direction_request,
    is_unclear,
    reads_directions,
)
from pipelines.agents.direction_reader import read_direction
from pipelines.decisions.edits import scope_of
from pipelines.decisions.situation import Situation
from pipelines.direction import DirectionEdit
from pipelines.errors import BadInput
from pipelines.recipe import StageName
from pipelines.records import Generation
from serving.errors import QueueFull
from serving.gateway.services import Services

PATIENCE_SECONDS = 20.0
logger = logging.getLogger(__name__)


async def read_message(
    used: Services, generation: Generation, stage: StageName | None, text: str, focus: int | None, whole: bool = False
) -> tuple[DirectionEdit, ...] | None:
    """What a chat model reads in `text`, said of `stage`; None: the rules' own reading counts."""
    model = _chat_model(used, generation)
    if model is None or stage is None or generation.status in ("pending", "processing"):
        return None
    situation = Situation(generation, await used.store.outputs(generation.id))
    try:
        scope = scope_of(situation, stage, focus, whole)
    except BadInput:
        return None
    rules = read_direction(text, scope)
    if not scope.count or not is_unclear(rules, text):
        return None
    said = await _said(used, model, text, scope)
    return None if said is None else checked_reading(said, text, scope, rules)


def _chat_model(used: Services, generation: Generation) -> ChatModelSpec | None:
    named = generation.manifest.get("models", {}).get("chat", {}).get("name")
    spec = used.backend.specs.get(named) if isinstance(named, str) else None
    return spec if isinstance(spec, ChatModelSpec) and reads_directions(spec) else None


async def _said(used: Services, model: ChatModelSpec, text: str, scope: Scope) -> str | None:
    """The model's answer as it came; None: there is none in time."""
    body = {**request_body(direction_request(model, text, scope), model.name), "stream": False}
    del body["stream_options"]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), aclosing(used.backend.chat(model.name, body)) as chunks:
            async for chunk in chunks:
                content = chunk["choices"][0]["message"]["content"]
                return content if isinstance(content, str) else None
    except (ModelError, QueueFull, TimeoutError, KeyError, IndexError):
        logger.warning("the chat model did not read a message: the rules' reading counts", exc_info=True)
    return None
