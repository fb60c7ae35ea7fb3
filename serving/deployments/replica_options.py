"""A profile's replica settings as Ray Serve takes them, and what every replica does first."""

from __future__ import annotations

import gc
import logging
import os
from typing import Any

import ray.serve._private.replica
from ray.serve._private.constants import RAY_SERVE_PROXY_USE_GRPC, RAY_SERVE_USE_GRPC_BY_DEFAULT
from ray.serve.config import AutoscalingConfig, BackpressureConfig, RequestRouterConfig

from configs.serving import ReplicaSettings
from configs.settings import Settings
from serving.logs import log_as
from serving.tracing import start_tracing

SHUTDOWN_SECONDS = 30.0
"""A stopped call ends within a denoising step, and its generation resumes elsewhere."""
LOOK_AGAIN_SECONDS = 0.05
"""How often, at the least, a call that waits looks for a free replica. Serve's own half second would leave a lane idle
for a quarter of a second, on average, after every clip and every cancel. Also how often a replica that stops looks
whether its calls have ended: Serve's own two seconds are what an idle one would wait.
"""


def replica_options(name: str, settings: ReplicaSettings, max_ongoing_requests: int) -> dict[str, Any]:
    """Keyword arguments of `Deployment.options`. `max_ongoing_requests` is what one replica takes at once."""
    options: dict[str, Any] = {
        "name": name,
        "ray_actor_options": {"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
        "max_ongoing_requests": max_ongoing_requests,
        "max_queued_requests": settings.max_queued_requests,
        "backpressure_config": BackpressureConfig(status_code=429, retry_after_s=settings.retry_after_seconds),
        "graceful_shutdown_timeout_s": SHUTDOWN_SECONDS,
        "graceful_shutdown_wait_loop_s": LOOK_AGAIN_SECONDS,
        "request_router_config": RequestRouterConfig(max_backoff_s=LOOK_AGAIN_SECONDS),
        # The default of 20 tries hides a wrong folder or setting for many minutes.
        "max_constructor_retry_count": 3,
    }
    if settings.max_replicas is None:
        return options | {"num_replicas": settings.num_replicas}
    scaling = AutoscalingConfig(
        min_replicas=settings.num_replicas,
        max_replicas=settings.max_replicas,
        target_ongoing_requests=max(1, max_ongoing_requests // 2),
    )
    return options | {"autoscaling_config": scaling}


def begin_replica(process: str, *filters: logging.Filter) -> None:
    """Call it first in a replica: it logs and traces as `process`, writes for its owner only, listens to nobody.

    Serve opens a port of every replica on all interfaces, for calls between deployments by gRPC. Calls here go through
    Ray itself, unless RAY_SERVE_USE_GRPC_BY_DEFAULT says otherwise, so that port serves only who should not be there.
    """
    gc.disable()  # until `end_construction`: collections while modules are imported and weights are read cost a tenth
    os.umask(0o077)
    log_as(process, *filters)
    start_tracing(process, Settings().traces)
    if not (RAY_SERVE_USE_GRPC_BY_DEFAULT or RAY_SERVE_PROXY_USE_GRPC):
        ray.serve._private.replica.add_port_to_grpc_server = _no_port


def end_construction() -> None:
    """Call it last in a replica's constructor: all that is loaded is taken out of the garbage collector's work.

    A full collection would walk all modules, routes and schemas: 60 to 100 ms without an answer (measured).
    """
    gc.collect()
    gc.freeze()
    gc.enable()


def _no_port(_server: Any, _address: str) -> int:
    return 0
