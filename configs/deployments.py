"""How a profile is served: replicas, their share of the machine, and the length of queues. Typed data only.

Read by `serving.app`; the embedded profile needs none of it, every field has a default for one small machine. Knows
neither Ray nor HTTP. The language model's own settings are in `configs.language`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from configs.language import LanguageSettings
from configs.replicas import Count, ReplicaSettings
from models.interfaces import Plain


class PictureReplicas(ReplicaSettings):
    """Image or video models: one lane per replica."""

    models: tuple[str, ...] = ()
    """Offered beside the profile's own; all share the replica's device, the least recently used leaves first."""
    memory_gb: Annotated[float, Field(gt=0.0)] | None = None
    """Budget of the models that stay loaded; None: all of them."""

    def offered(self, first: str) -> tuple[str, ...]:
        """The profile's own model and those beside it, once each."""
        return tuple(dict.fromkeys((first, *self.models)))


class PipelineReplicas(ReplicaSettings):
    generations: Count = 2
    """Generations that one replica runs at once; their model calls wait for the lanes."""


class QueueSettings(Plain):
    """Stored generations."""

    max_waiting: Count = 100
    """Waiting generations of all users; one more is answered with 429."""
    retry_after_seconds: Count = 30


class ServingSettings(Plain):
    chat: LanguageSettings = LanguageSettings()
    image: PictureReplicas = PictureReplicas()
    video: PictureReplicas = PictureReplicas()
    scorer: ReplicaSettings = ReplicaSettings()
    pipeline: PipelineReplicas | None = PipelineReplicas()
    """None: generations are run by `admint worker` processes, and `admint serve` runs none itself."""
    gateway: ReplicaSettings = ReplicaSettings(num_cpus=0.5)
    queue: QueueSettings = QueueSettings()
