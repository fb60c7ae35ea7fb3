"""The scorer deployment: measures the quality dimensions of a file, in a thread."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ray import serve

from configs.settings import library_root, load_model
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.runtime.lanes import Scorers
from pipelines.scoring import ScoreRequest
from quality.score import Score
from serving.backends.interface import ModelCounters
from serving.deployments.calls import Call, CallItem, call_stream
from serving.deployments.replica_options import begin_replica, end_construction
from serving.profile_models import LibraryLoader


class ScorerReplica:
    """Scores one file at a time. Without a CLIP `model` the learned dimensions have no value."""

    def __init__(self, model: str | None = None, device: str = "cpu") -> None:
        begin_replica("Scorer")
        spec = None if model is None else load_model(model, ScorerModelSpec)
        self._scorers = Scorers(LibraryLoader(Library(library_root()), device), spec)
        end_construction()

    async def score(self, request: ScoreRequest, call: Call) -> AsyncIterator[CallItem[tuple[Score, ...]]]:
        """A step per dimension, then the scores in order, or the ModelError."""
        async for item in call_stream(lambda watcher: self._scorers.score(request, watcher), call):
            yield item

    async def counters(self) -> dict[str, ModelCounters]:
        """None of its own: it answers, so it lives."""
        return {}


scorer_deployment = serve.deployment(ScorerReplica)
