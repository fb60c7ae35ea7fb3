"""What serving costs and how it scales, each figure beside the one that it is held to.

    python -m benchmarks.serving [--json FILE] [--part http|replicas]

`http` runs `admint serve` in a process of its own against bare diffusers in this one (`benchmarks.serving_http`);
`replicas` runs the application with video replicas that only sleep (`benchmarks.serving_replicas`). All in one run, on
one machine: ratios mean more than seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks import serving_http, serving_replicas
from benchmarks.serving_http import Http
from configs.settings import load_profile
from serving.deployments.server import running
from serving.local_models import deploy
from tests.e2e.server import first_key, free_port, start_server

REPLICAS = 3
CLIP_STEPS = 40
CANCELS = 5
Row = tuple[str, float, str, float, str]
"""Name, value, how to hold it to the bar (`<=` or `>=`), bar, format."""


async def http_part() -> tuple[dict[str, Any], list[Row]]:
    """Overhead, burst and polls of a real server."""
    torch.set_num_threads(1)
    deployment = deploy(load_profile("sketch"))
    bare = serving_http.bare_models(deployment)
    with tempfile.TemporaryDirectory() as home:
        server = start_server(Path(home))
        try:
            async with _client(server.url, server.api_key) as client:
                http = Http(client)
                found = {
                    "overhead": await serving_http.overhead(http, bare),
                    "burst": await serving_http.burst(http, bare),
                    "polls": await serving_http.polls(http),
                }
        finally:
            server.stop()
            deployment.models.close()
    return found, _http_rows(found)


def _http_rows(found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for kind, sides in found["overhead"].items():
        rows.append((f"{kind} over HTTP against bare diffusers", sides["overhead"], "<=", 0.05, "{:.1%}"))
        rows.append((f"{kind} over HTTP, more seconds than bare", sides["ours"] - sides["bare"], "<=", 0.05, "{:.3f}"))
    burst, polls = found["burst"], found["polls"]
    rows.append(("8 images at once against a serial loop", burst["throughput"], ">=", 1.5, "{:.2f}"))
    rows.append(("8 images at once: start noise equal", float(burst["noise_equal"]), ">=", 1.0, "{:.0f}"))
    rows.append(("200 clients polling beside a clip, p99 s", polls["p99"], "<=", 0.1, "{:.3f}"))
    rows.append(("200 requests in one instant, p99 s", polls["at_once_p99"], "<=", 0.1, "{:.3f}"))
    return rows


def replicas_part() -> tuple[dict[str, Any], list[Row]]:
    """Spread, cancel and slow-down on sleeping replicas."""
    found: dict[str, Any] = {}
    for count in (1, REPLICAS):
        with tempfile.TemporaryDirectory() as home:
            os.environ["ADMINT_HOME"] = home
            key, port = asyncio.run(first_key()), free_port()
            with running(serving_replicas.sleeping_application(count), "127.0.0.1", port, None):
                asyncio.run(_measure_replicas(found, count, f"http://127.0.0.1:{port}", key))
    return found, _replica_rows(found)


async def _measure_replicas(found: dict[str, Any], count: int, url: str, key: str) -> None:
    async with _client(url, key) as client:
        http = Http(client)
        await serving_replicas.spread(http, count, 1)  # warm
        found[f"seconds_on_{count}"] = await serving_replicas.spread(http, REPLICAS, CLIP_STEPS)
        if count == 1:
            found["cancels"] = [await serving_replicas.cancel_seconds(http, client) for _ in range(CANCELS)]
            found["beside"] = await serving_replicas.clip_beside_polls(http, 200)


def _replica_rows(found: dict[str, Any]) -> list[Row]:
    gain = found["seconds_on_1"] / found[f"seconds_on_{REPLICAS}"]
    step = serving_replicas.STEP_SECONDS
    return [
        (f"{REPLICAS} clips on {REPLICAS} replicas against one", gain, ">=", 0.9 * REPLICAS, "{:.2f}"),
        ("cancel to the next clip's first step, s", max(found["cancels"]), "<=", 2 * step + 0.1, "{:.3f}"),
        ("a clip beside 200 polling clients, slowed by", found["beside"]["slowed"], "<=", 0.03, "{:.1%}"),
    ]


def _client(url: str, key: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, timeout=600, limits=limits, headers=headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=("http", "replicas"))
    arguments = parser.parse_args()
    result: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count()}
    rows: list[Row] = []
    if arguments.part != "replicas":
        result["http"], more = asyncio.run(http_part())
        rows += more
    if arguments.part != "http":
        result["replicas"], more = replicas_part()
        rows += more
    for name, value, relation, bar, form in rows:
        kept = value <= bar if relation == "<=" else value >= bar
        print(f"{name:45} {form.format(value):>8}  bar {relation} {form.format(bar):>6}  {'ok' if kept else 'MISSED'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
