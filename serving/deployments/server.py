"""Running an application on Ray Serve: a Ray of its own on this machine, or an existing cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import ProxyLocation

from serving.deployments.listener import Address
from serving.errors import PortTaken

APPLICATION = "admint"
OBJECT_STORE_BYTES = 512 * 2**20
"""Size of the object store of a Ray on this machine: clips pass through it, and stay for a moment."""


@contextmanager
def running(build: Callable[[Address | None], Application], address: Address, cluster: str | None) -> Iterator[None]:
    """Serve what `build` makes at `address` while the context lasts; entered when every deployment is ready.

    `cluster` is the address of an existing Ray: its proxies listen, on every node. None starts a Ray on this machine,
    which ends with the context; there the application listens itself, at what `build` is given. Raises PortTaken.
    """
    if cluster is None:
        _check_port(address)
    _connect(cluster)
    try:
        if cluster is None:
            serve.start(proxy_location=ProxyLocation.Disabled)
            application = build(address)
        else:
            serve.start(http_options={"host": address.host, "port": address.port})
            application = build(None)
        serve.run(application, name=APPLICATION, route_prefix="/")
        yield
    finally:
        if cluster is None:
            serve.shutdown()
        else:
            serve.delete(APPLICATION)
        ray.shutdown()


def _connect(cluster: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray gives every replica the same low priority (15); here the gateway takes a lower one by itself.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray's own lines would bury the two that a user waits for; its logs are in the session's folder.
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if cluster is not None:
        ray.init(address=cluster, **options)
        return
    ray.init(
        address="local",
        # Replicas of the embedded profile share cores: shares below one, two whole ones in all.
        num_cpus=max(2, os.cpu_count() or 2),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        **options,
    )


def _check_port(address: Address) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            where = f"{address.host}:{address.port}"
            raise PortTaken(f"cannot listen on {where} ({error.strerror}): choose another --port") from None
