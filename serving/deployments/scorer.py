"""The scorer deployment: measures the quality dimensions of a file, in a thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

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
    """Scores one file at a time. A dimension that needs a backbone which is not named has no value."""

    def __init__(self, models: Mapping[str, str] | None = None, device: str = "cpu") -> None:
        """`models` by the backbone that each is, as `Profile.backbones`; None: none."""
        begin_replica("Scorer")
        specs = {backbone: load_model(model, ScorerModelSpec) for backbone, model in (models or {}).items()}
        self._scorers = Scorers(LibraryLoader(Library(library_root()), device), specs)
        end_construction()

    async def score(self, request: ScoreRequest, call: Call) -> AsyncIterator[CallItem[tuple[Score, ...]]]:
        """A step per dimension, then the scores in order, or the ModelError."""
        async for item in call_stream(lambda watcher: self._scorers.score(request, watcher), call):
            yield item

    async def counters(self) -> dict[str, ModelCounters]:
        """None of its own: it answers, so it lives."""
        return {}


scorer_deployment = serve.deployment(ScorerReplica)
