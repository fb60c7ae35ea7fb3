"""The scorer deployment: measures the quality dimensions of a file, in a thread.

What it asks of the profile's chat model it asks the chat deployment: that one holds the only copy of the weights.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from configs.settings import library_root, load_model, load_profile
from models.interfaces import ChatRequest, ChatResult, Unwatched
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.runtime.lanes import Scorers
from pipelines.runtime.questions import Ask, Look, waited
from pipelines.scoring import ScoreRequest
from quality.score import Score
from serving.backends.interface import ModelCounters
from serving.deployments.calls import Call, CallItem, call_stream
from serving.deployments.chat import answered
from serving.deployments.replica_options import begin_replica, end_construction
from serving.profile_models import LibraryLoader, asked_chat, asked_model, loaded_chat


class ScorerReplica:
    """Scores one file at a time. A dimension that needs a backbone which the profile lacks has no value."""

    async def __init__(  # type: ignore[misc]
        self, profile: str | None = None, device: str = "cpu", chat: DeploymentHandle[Any] | None = None
    ) -> None:
        """The scorers of `profile` on `device`, and its chat model behind `chat`; None: none."""
        begin_replica("Scorer")
        loader = LibraryLoader(Library(library_root()), device)
        if profile is None or chat is None:
            self._scorers = Scorers(loader, {})
        else:
            chosen = load_profile(profile)
            specs = {name: load_model(model, ScorerModelSpec) for name, model in chosen.backbones().items()}
            asked = partial(loaded_chat, chosen, loader)
            if asked_model(chosen).name == chosen.chat:
                ask = over_handle(chat, chosen.chat, asyncio.get_running_loop())
                asked = partial(asked_chat, chosen, replace(loader, device=chosen.device), ask)
            self._scorers = Scorers(loader, specs, asked)
        end_construction()

    async def score(self, request: ScoreRequest, call: Call) -> AsyncIterator[CallItem[tuple[Score, ...]]]:
        """A step per dimension, then the scores in order, or the ModelError."""
        async for item in call_stream(lambda watcher: self._scorers.score(request, watcher), call):
            yield item

    async def counters(self) -> dict[str, ModelCounters]:
        """None of its own: it answers, so it lives."""
        return {}


scorer_deployment = serve.deployment(ScorerReplica)


def over_handle(chat: DeploymentHandle[Any], model: str, loop: asyncio.AbstractEventLoop) -> Ask:
    """Asks the chat deployment from another thread than that of `loop`, in which the handle is used."""

    def ask(request: ChatRequest, look: Look) -> ChatResult:
        answer = answered(chat, model, request, Unwatched())
        return waited(asyncio.run_coroutine_threadsafe(answer, loop), look)

    return ask
