"""Copies of one deployment and their share of the machine. Typed data only; knows neither Ray nor HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.interfaces import Plain

Count = Annotated[int, Field(ge=1)]


class ReplicaSettings(Plain):
    """Copies of one deployment. With `max_replicas` Ray adds copies while calls wait."""

    num_replicas: Count = 1
    max_replicas: Count | None = None
    num_cpus: Annotated[float, Field(ge=0.0)] = 1.0
    num_gpus: Annotated[float, Field(ge=0.0)] = 0.0
    max_queued_requests: Annotated[int, Field(ge=1)] = 64
    """Calls that wait before this deployment, per caller; one more is answered with 429."""
    retry_after_seconds: Count = 5
