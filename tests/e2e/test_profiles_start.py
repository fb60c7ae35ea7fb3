"""Every shipped profile starts on `admint serve` and makes a whole ad: its own file, with tiny weights in its folders.

There is no card here, and vLLM's vision models do not run on a CPU. So, and only so, the profile's file is changed:
`device` and the shares of a card, what vLLM can do on a card only, and each model's size and number of steps; the chat
model reads no pictures. The story of the ad is given as a storyboard: random weights write none.

The profile that Dockerfile.gpu names is started by the image's own command, in its environment, is asked for its health
as the container is, and ends by the container's signal.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from configs.settings import CONFIGS, load_model_specs, load_profile
from models.manifest import write_manifest
from models.registry import SERVED_FAMILY
from models.weights import packaged_model
from tests.layouts.published import publish
from tests.support.dockerfile import health_command, image_command, image_environment
from tests.support.serve_command import start_server
from tests.support.storyboards import storyboard
from tests.support.waiting import until

PROFILES = ("gpu-24gb", "gpu-24gb-int8", "gpu-80gb", "cluster")
SMALL = {
    "sizes": {"1:1": [64, 64], "9:16": [64, 128], "16:9": [128, 64]},
    "num_inference_steps": 2,
    "warm_up": ["9:16"],
}
START_SECONDS = 900.0
"""vLLM alone takes one to three minutes to start here, and longer on a busy machine."""
CPU_SHARE = 0.2
"""Of the two cores, for each replica: they take turns."""
VLLM_ON_A_CPU = {
    "engine_kwargs": {"enforce_eager": True},
    "environment": {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"},
    "max_model_len": 512,
}


def on_a_cpu(name: str) -> dict[str, Any]:
    """The shipped profile, but for what only a card can do."""
    profile: dict[str, Any] = yaml.safe_load((CONFIGS / "profiles" / f"{name}.yaml").read_text())
    profile["device"] = "cpu"
    for settings in profile["serving"].values():
        if "num_cpus" in settings:
            settings |= {"num_cpus": CPU_SHARE, "num_gpus": 0}
            settings.pop("max_replicas", None)
    profile["serving"]["chat"] |= VLLM_ON_A_CPU
    return profile


def small(name: str) -> dict[str, Any]:
    """The shipped description `name`, but for its size and what only a card can do."""
    spec = load_model_specs()[name]
    if spec.kind == "chat":
        return {"extends": name, "weights_of": name, "vision": False, "dtype": "float32"}
    if spec.kind == "scorer":
        return {"extends": name, "weights_of": name}
    frames = {} if spec.kind == "image" else {"max_frames": 16 if spec.frame_multiple == 1 else 17}
    base = spec.weights_of or name
    # Rounded weights stay, as torchao does them on a CPU too; what moves them to and from a card does not.
    quantisation = spec.acceleration.quantisation
    acceleration = {} if quantisation is None else {"quantisation": quantisation.model_dump(mode="json")}
    return {
        "extends": base,
        "weights_of": base,
        "acceleration": acceleration,
        "max_pixels": 64 * 128 * 17,
        **SMALL,
        **frames,
    }


@pytest.fixture
def served(request, tmp_path, monkeypatch):
    """A started server of the profile `request.param`, with its models' folders full of tiny weights."""
    name, home, own = request.param, tmp_path / "home", tmp_path / "own"
    profile = load_profile(name)
    (own / "profiles").mkdir(parents=True)
    (own / "models").mkdir()
    (own / "profiles" / f"{name}.yaml").write_text(yaml.safe_dump(on_a_cpu(name)))
    for model in filter(None, (profile.chat, profile.image, profile.video, profile.scorer)):
        (own / "models" / f"{model}.yaml").write_text(yaml.safe_dump(small(model)))
        spec = load_model_specs()[model]
        if spec.family == SERVED_FAMILY:
            folder = home / "models" / model / "main"
            shutil.copytree(packaged_model("llm_text", tmp_path / "llm"), folder)
            write_manifest(folder, spec.weights["main"].repository, spec.weights["main"].revision)
        else:
            made = publish(spec, tmp_path / model)
            shutil.copytree(made.root, home / "models", dirs_exist_ok=True)
    monkeypatch.setenv("ADMINT_CONFIGS", str(own))
    if name in image_command():
        _, subcommand, *arguments = image_command()
        assert subcommand == "serve"
        server = start_server(home, *arguments, seconds=START_SECONDS, env=_container(tmp_path))
        yield server
        assert _health(server.url) == 0
        assert server.stop(by=signal.SIGTERM) == 0
    else:
        server = start_server(home, "--profile", name, seconds=START_SECONDS)
        yield server
        assert server.stop() == 130


def _container(folder: Path) -> dict[str, str]:
    """The variables of the image, with its folders below `folder` and this environment's programs."""

    def here(value: str) -> str:
        if value == "/data":
            return str(folder / "home")
        return f"{folder}{value}" if value.startswith("/tmp/") else value  # noqa: S108

    return {name: here(value) for name, value in image_environment().items() if name != "PATH"}


def _health(url: str) -> int:
    """The exit code of the container's health check, asked at the port of this test."""
    python, *arguments = health_command()
    assert python == "python"
    own = [argument.replace("http://127.0.0.1:8000", url) for argument in arguments]
    return subprocess.run([sys.executable, *own], timeout=60, check=False).returncode


@pytest.mark.serial
@pytest.mark.parametrize("served", PROFILES, indirect=True)
def test_a_shipped_profile_starts_and_makes_an_ad(served):
    with httpx.Client(base_url=served.url, headers=served.headers, timeout=60) as client:
        assert client.get("/readyz").status_code == 200
        listed = {one["name"]: one for one in client.get("/v1/scores/dimensions").json()["data"]}
        assert "takes no pictures" in listed["asks.object"]["missing"]  # as it is described here
        order = {"brief": {"seed": 7}, "storyboard": storyboard()}
        made = client.post("/api/v1/generations", json=order)
        assert made.status_code == 202, made.text
        row: dict[str, Any] = {}

        def ended() -> bool:
            row.update(client.get(f"/api/v1/generations/{made.json()['id']}").json())
            return row["status"] in ("completed", "failed", "cancelled")

        until(ended, lambda: f"the end of an ad: {row}", pause=0.5)
        assert row["status"] == "completed", row["error_message"]
        video = client.get(row["video_url"])
        assert video.status_code == 200
        assert video.headers["content-type"] == "video/mp4"
