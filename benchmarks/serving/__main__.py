"""What serving costs and how it scales, each figure beside the one that it is held to.

    python -m benchmarks.serving [--json FILE] [--part overhead|burst|polls|replicas]…

The first three run `admint serve` in a process of its own against bare diffusers in this one
(`benchmarks.serving.http`); `replicas` runs the application with video replicas that only sleep
(`benchmarks.serving.replicas`). All in one run, on one machine: ratios mean more than seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import torch

from benchmarks.bare_models import BareModels
from benchmarks.serving import http as over_http
from benchmarks.serving import replicas
from benchmarks.serving.http import Http
from configs.settings import load_profile
from serving.backends.in_process import local_models
from serving.deployments.listener import Address
from serving.deployments.server import running
from serving.logs import Terminal
from serving.server.stopping import Stop
from tests.support.program import free_port
from tests.support.serve_command import first_key, start_server

HTTP_PARTS = ("overhead", "burst", "polls")
LIBRARIES = ("torch", "diffusers", "ray", "fastapi", "uvicorn", "sqlalchemy")
REPLICAS = 3
SPREADS = 1
CANCELS = 4
Row = tuple[str, float, str, float, str]
"""Name, value, how to hold it to the bar (`<=` or `>=`), bar, format."""


async def http_parts(parts: Sequence[str], found: dict[str, Any], keep: Callable[[], None]) -> None:
    """Overhead, burst and polls of a real server, as far as asked for; `keep` what is found after each."""
    torch.set_num_threads(1)
    models = local_models(load_profile("sketch"))
    bare = BareModels(models)
    with tempfile.TemporaryDirectory() as home:
        server = start_server(Path(home))
        try:
            async with _client(server.url, server.api_key) as client:
                http = Http(client)
                measures: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
                    "overhead": partial(over_http.overhead, http, models, bare),
                    "burst": partial(over_http.burst, http, bare),
                    "polls": partial(over_http.polls, http, server.url, server.api_key),
                }
                for part in HTTP_PARTS:
                    if part in parts:
                        found[part] = await measures[part]()
                        keep()
        finally:
            server.stop()
            models.close()


def _http_rows(found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for kind, sides in found.get("overhead", {}).items():
        rows.append((f"{kind} over HTTP against bare diffusers", sides["overhead"], "<=", 0.05, "{:.1%}"))
        rows.append((f"{kind} over HTTP, seconds outside of the model", sides["outside"], "<=", 0.05, "{:.3f}"))
        rows.append((f"{kind}: engine against bare diffusers", sides["engine"], "<=", 0.05, "{:.1%}"))
    if burst := found.get("burst"):
        rows.append(("8 images at once against a serial loop", burst["throughput"], ">=", 1.5, "{:.2f}"))
        rows.append(("8 images at once: start noise equal", float(burst["noise_equal"]), ">=", 1.0, "{:.0f}"))
    if polls := found.get("polls"):
        rows.append(("200 clients that poll beside a clip, p99 s", polls["p99"], "<=", 0.1, "{:.3f}"))
        rows.append(("the clip beside them, slowed by", polls["clip_slowed"], "<=", 0.03, "{:.1%}"))
        rows.append(("200 requests in one instant, p99 s", polls["at_once_p99"], "<=", 0.1, "{:.3f}"))
    return rows


def replicas_part(found: dict[str, Any]) -> None:
    """Spread, cancel and slow-down on sleeping replicas."""
    for count in (1, REPLICAS):
        with tempfile.TemporaryDirectory() as home:
            os.environ["ADMINT_HOME"] = home
            key, port = asyncio.run(first_key()), free_port()
            build = partial(replicas.sleeping_application, count)
            with running(build, Address("127.0.0.1", port), None, Terminal("text"), Stop()):
                asyncio.run(_measure_replicas(found, count, f"http://127.0.0.1:{port}", key))


async def _measure_replicas(found: dict[str, Any], count: int, url: str, key: str) -> None:
    async with _client(url, key) as client:
        http = Http(client)
        seconds = [await replicas.spread(client, REPLICAS) for _ in range(SPREADS + 1)]
        found[f"seconds_on_{count}"] = median(seconds[1:])  # the first one warms
        if count == 1:
            found["cancels"] = [await replicas.cancel_seconds(http, client, turn) for turn in range(CANCELS)]
            found["slowed"] = await replicas.clip_beside_polls(http, url, key)


def _replica_rows(found: dict[str, Any]) -> list[Row]:
    free, following = (max(each[name] for each in found["cancels"]) for name in ("free", "next"))
    gain = found["seconds_on_1"] / found[f"seconds_on_{REPLICAS}"]
    step = replicas.STEP_SECONDS
    return [
        (f"{REPLICAS} scenes on {REPLICAS} replicas against one", gain, ">=", 0.9 * REPLICAS, "{:.2f}"),
        ("DELETE to a free lane, at most, s", free, "<=", step + 0.1, "{:.3f}"),
        ("DELETE to the next start there, at most, s", following, "<=", step + 0.2, "{:.3f}"),
        ("a sleeping clip beside 200 polls a second, slowed by", found["slowed"], "<=", 0.03, "{:.1%}"),
    ]


def _client(url: str, key: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, timeout=600, limits=limits, headers=headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=(*HTTP_PARTS, "replicas"), action="append")
    arguments = parser.parse_args()
    parts = arguments.part or [*HTTP_PARTS, "replicas"]
    result: dict[str, Any] = {**_machine(), "rows": [], "replicas": {}, "http": {}}

    def keep() -> None:
        """After every part: a broken-off run keeps its own."""
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=2) + "\n")

    if set(parts) & set(HTTP_PARTS):
        asyncio.run(http_parts(parts, result["http"], keep))
        result["rows"] += map(_told, _http_rows(result["http"]))
        keep()
    if "replicas" in parts:
        replicas_part(result["replicas"])
        result["rows"] += map(_told, _replica_rows(result["replicas"]))
    result["load_after"] = os.getloadavg()[0]
    result["stolen_seconds"] = stolen_seconds() - result.pop("stolen_before")
    keep()


def stolen_seconds() -> float:
    """CPU time, over all cores, that other machines on the same host took from this one since its start."""
    with open("/proc/stat") as numbers:
        return int(numbers.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def _told(row: Row) -> dict[str, Any]:
    """A row as it is kept; also printed."""
    name, value, relation, bar, form = row
    kept = value <= bar if relation == "<=" else value >= bar
    print(f"{name:52} {form.format(value):>8}  bar {relation} {form.format(bar):>6}  {'ok' if kept else 'MISSED'}")
    return {"what": name, "value": value, "bar": f"{relation} {bar:g}", "kept": kept}


def _machine() -> dict[str, Any]:
    """Where and beside what it was measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{os.cpu_count()} CPU cores ({platform.machine()}), one torch thread per model",
        "load_before": os.getloadavg()[0],
        "stolen_before": stolen_seconds(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


if __name__ == "__main__":
    main()
