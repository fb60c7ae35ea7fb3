"""Running an application on Ray Serve: a Ray of its own on this machine, or an existing cluster. Knows no profile."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve

from serving.errors import PortTaken

APPLICATION = "admint"
OBJECT_STORE_BYTES = 512 * 2**20
"""Of a Ray on this machine: clips pass through it, and wait in it for a moment."""


@contextmanager
def running(application: Any, host: str, port: int, address: str | None) -> Iterator[None]:
    """Serve `application` at `host`:`port` while the context lasts; entered when every deployment is ready.

    `address` of an existing cluster; None starts a Ray on this machine, which ends with the context. Raises PortTaken.
    """
    if address is None:
        _check_port(host, port)
    _connect(address)
    try:
        serve.start(http_options={"host": host, "port": port})
        serve.run(application, name=APPLICATION, route_prefix="/")
        yield
    finally:
        if address is None:
            serve.shutdown()
        else:
            serve.delete(APPLICATION)
        ray.shutdown()


def _connect(address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own lines would bury the two that a user waits for; its logs are in the session's folder.
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if address is not None:
        ray.init(address=address, **options)
        return
    ray.init(
        address="local",
        # Replicas of the embedded profile share cores: shares below one, two whole ones in all.
        num_cpus=max(2, os.cpu_count() or 2),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        **options,
    )


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port") from None
