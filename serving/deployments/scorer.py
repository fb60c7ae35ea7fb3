"""The scorer deployment: the quality dimensions over frames of an MP4, in a thread. Knows no threshold."""

from __future__ import annotations

from ray import serve

from models.interfaces import Unwatched, Watcher
from pipelines.lanes import Lane
from pipelines.media import DECODER, stream_clip
from quality.registry import measure
from quality.score import Score


class ScorerReplica:
    """Scores one file at a time."""

    def __init__(self) -> None:
        self._lane = Lane("scorer")

    async def score(self, video: bytes, dimensions: tuple[str, ...]) -> tuple[Score, ...]:
        """One score per dimension, in order. Raises UnknownDimension."""

        def work(watcher: Watcher) -> tuple[Score, ...]:
            scores = []
            for done, name in enumerate(dimensions):
                watcher.step(done, len(dimensions))
                scores.append(measure(name, stream_clip(video), DECODER))
            return tuple(scores)

        return await self._lane.run(work, Unwatched())


scorer_deployment = serve.deployment(ScorerReplica)
