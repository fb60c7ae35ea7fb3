"""Running an application on Ray Serve: on a Ray of its own on this machine, or on an existing cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve import Application, RunTarget
from ray.serve.config import ProxyLocation

from serving.deployments.listener import Address
from serving.deployments.local_ray import QUIET, close_to_others, leave_ray, local_ray, ray_environment
from serving.errors import PortTaken, StartFailed
from serving.logs import Terminal, line_of
from serving.server.stopping import Stop

APPLICATION = "admint"
GATEWAY, PIPELINE = "Gateway", "Pipeline"
LOOK_SECONDS = 0.5
"""Between two looks at deployments that load."""
WATCH_SECONDS = 2.0
"""Between two looks at deployments that serve."""
HAND_BACK_SECONDS = 40.0
"""The longest wait for running steps to stop: one denoising step of a large video model takes ten seconds and more."""
CONNECT_SECONDS = 10.0
HEALTHY = "HEALTHY"
LOST = "has lost a replica; another one loads"


@contextmanager
def running(
    build: Callable[[Address | None], Application],
    address: Address,
    cluster: str | None,
    terminal: Terminal,
    stop: Stop,
) -> Iterator[None]:
    """Serve what `build` makes at `address` while the context lasts; entered when every deployment is ready.

    `cluster` is the address of an existing Ray: its proxies listen, on every node. None starts a Ray on this machine,
    which ends with the context; there the application listens itself, at what `build` is given. When `stop` is asked
    before all is ready, the context is entered at once. In the end running steps are handed back to the store.

    Raises PortTaken, StartFailed.
    """
    if cluster is None:
        _check_port(address)
    with local_ray(terminal) if cluster is None else joined(cluster) as logs:
        stop.listen()  # Ray has taken SIGTERM for itself
        try:
            if not stop.asked:
                try:
                    _deploy(build, address, cluster)
                    _until_ready(terminal, stop, logs)
                except ray.exceptions.RayError as error:
                    raise StartFailed(f"Ray ended while the deployments loaded ({_reason(str(error))})") from error
            if logs is not None:
                close_to_others(logs)
            yield
        finally:
            _hand_back()
            if cluster is not None:
                serve.delete(APPLICATION)


def watch(terminal: Terminal, stop: Stop) -> None:
    """Tell of deployments that lose their replicas and of those that come back, until `stop` is asked."""
    before = dict.fromkeys(_statuses(), HEALTHY)
    while not stop.wait(WATCH_SECONDS):
        with suppress(ray.exceptions.RayError):  # the controller is away: it starts again, or Ray ends this process
            now = {name: deployment.status for name, deployment in _statuses().items()}
            for name, status in now.items():
                if status != before.get(name, HEALTHY):
                    level, said = ("INFO", "serves again") if status == HEALTHY else ("WARNING", LOST)
                    terminal.show(line_of(name, level, said))
            before = now


@contextmanager
def joined(cluster: str) -> Iterator[None]:
    """A connection to an existing Ray at HOST:PORT while the context lasts. Raises StartFailed."""
    ray_environment()
    try:
        _check_answers(cluster)
        ray.init(address=cluster, **QUIET)
    except Exception as error:  # Ray raises plain exceptions of many kinds
        raise StartFailed(
            f"no Ray cluster answers at {cluster!r} ({error or type(error).__name__}): start it with "
            "RAY_AUTH_MODE=token, and give this process the same token (RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)"
        ) from error
    try:
        yield
    finally:
        leave_ray()


def _deploy(build: Callable[[Address | None], Application], address: Address, cluster: str | None) -> None:
    if cluster is None:
        serve.start(proxy_location=ProxyLocation.Disabled)
        application = build(address)
    else:
        serve.start(http_options={"host": address.host, "port": address.port})
        application = build(None)
    serve.run_many([RunTarget(application, name=APPLICATION)], wait_for_applications_running=False)


def _until_ready(terminal: Terminal, stop: Stop, logs: Path | None) -> None:
    """Tell of every deployment that gets ready, and of what keeps one from it. Raises StartFailed when one cannot."""
    started, ready, told = time.monotonic(), set[str](), set[tuple[str, str]]()
    terminal.say(f"loading {', '.join(_statuses())}")
    while not stop.wait(LOOK_SECONDS):
        application = serve.status().applications[APPLICATION]
        deployments = application.deployments
        for name, deployment in deployments.items():
            if deployment.status == HEALTHY and name not in ready:
                ready.add(name)
                seconds = time.monotonic() - started
                terminal.say(f"loading {name} {len(ready)} of {len(deployments)}: ready after {seconds:.0f} s")
            elif deployment.message and (trouble := (name, _reason(deployment.message))) not in told:
                told.add(trouble)  # such as a replica that no device has room for, or that is tried again
                terminal.show(line_of(name, "WARNING", trouble[1]))
        if application.status == "RUNNING":
            return
        if application.status == "DEPLOY_FAILED":
            raise StartFailed(_why(deployments, application.message, logs))


def _why(deployments: Mapping[str, Any], message: str, logs: Path | None) -> str:
    """One line for a deployment that did not come up."""
    failed = next((name for name, each in deployments.items() if each.status != HEALTHY and each.message), APPLICATION)
    told = deployments[failed].message if failed in deployments else message
    where = "in the logs of the Ray cluster" if logs is None else f"in {logs}"
    return f"{failed} could not start: {_reason(told)} (more {where})"


def _reason(message: str) -> str:
    """The line of a message of Ray's that says what is the matter: of a traceback the last one, else the first."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return "no reason was given"
    return lines[-1] if any(line.startswith('File "') for line in lines) else lines[0]


def _statuses() -> Mapping[str, Any]:
    deployments: Mapping[str, Any] = serve.status().applications[APPLICATION].deployments
    return deployments


def _hand_back() -> None:
    """Let running steps stop and their generations wait in the store, while the gateway ends its answers.

    Whatever does not stop in time is treated like a dead worker: its lease ends, and another one resumes.
    """
    with suppress(Exception):  # an application that never came up, or a Ray that has died, has nothing to hand back
        present = [name for name in (GATEWAY, PIPELINE) if name in _statuses()]
        asked = [serve.get_deployment_handle(name, APPLICATION).broadcast("stop") for name in present]
        deadline = time.monotonic() + HAND_BACK_SECONDS
        for response in asked:
            response.results(timeout_s=max(0.1, deadline - time.monotonic()), return_exceptions=True)


def _check_answers(cluster: str) -> None:
    """Raises OSError when nobody listens at `cluster`, HOST:PORT: Ray would try for minutes."""
    host, _, port = cluster.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _check_port(address: Address) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            where = f"{address.host}:{address.port}"
            raise PortTaken(f"cannot listen on {where} ({error.strerror}): choose another --port") from None
