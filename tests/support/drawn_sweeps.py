"""Small sweeps over models that draw at once, and what they were asked to draw, however many processes drew it."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from models.interfaces import ImageRequest, ImageResult, VideoResult, Watcher
from pipelines.lab.spec import SweepSpec, parse_spec
from pipelines.lab.suite import Story, Suite, SuiteScene

SLOW_SECONDS = 1.0
OUTCOMES = ["technical.sharpness", "technical.exposure"]


def small_suite(stories: int = 2, scenes: int = 2) -> Suite:
    words = ("a red mug on a table", "a red mug in the snow", "a red mug in the city", "a red mug on the beach")
    return Suite(
        stories=tuple(
            Story(id=f"story-{number}", scenes=tuple(SuiteScene(prompt=word) for word in words[:scenes]))
            for number in range(1, stories + 1)
        )
    )


def small_spec(**changes: Any) -> SweepSpec:
    """Three arms until the stills, without a gate: the base, independent noise, other steps."""
    arms = {"derived": {"coherence.seed_policy": "derived"}, "few": {"image.num_inference_steps": 3}}
    asked = {"profile": "sketch", "until": "stills", "arms": {"list": arms}, "outcomes": OUTCOMES}
    base = {"quality_gate.minimums": {}, **changes.pop("base", {})}
    return parse_spec({**asked, **changes, "base": base}, "small.yaml")


class LoggingDrawing:
    """One colour that follows from the start noise, and a line per picture; the one step of a warm-up has none."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def generate(self, request: Any, watcher: Watcher) -> Any:
        if request.num_inference_steps > 1:
            line = f"{request.noise.model_dump_json()} {request.num_inference_steps} {request.prompt}\n"
            descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, line.encode())
            os.close(descriptor)
        watcher.step(request.num_inference_steps, request.num_inference_steps)
        colour = np.frombuffer(request.noise.seed.to_bytes(8, "little")[:3], dtype=np.uint8)
        still = np.broadcast_to(colour, (request.height, request.width, 3)).copy()
        if isinstance(request, ImageRequest):
            return ImageResult(still, "0" * 64, 0.0)
        return VideoResult(np.repeat(still[None], request.num_frames, axis=0), "0" * 64, 0.0)


class DrawingLoader:
    """Every image and video model is one that draws (`serving.backends.in_process.Loader`)."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def chat(self, spec: Any) -> Any:
        raise AssertionError("the stories are given")

    def image(self, spec: Any) -> Any:
        return LoggingDrawing(self.log)

    def video(self, spec: Any) -> Any:
        return LoggingDrawing(self.log)

    def scorer(self, spec: Any) -> Any:
        raise AssertionError("nothing learned is measured")

    def drawn(self) -> Counter[str]:
        """How often each picture or clip was drawn."""
        return Counter(self.log.read_text().splitlines() if self.log.exists() else ())


class SlowLoader(DrawingLoader):
    """Every picture takes SLOW_SECONDS, so that there is a process at work to be killed."""

    def image(self, spec: Any) -> Any:
        return SlowDrawing(self.log)


class SlowDrawing(LoggingDrawing):
    def generate(self, request: Any, watcher: Watcher) -> Any:
        drawn = super().generate(request, watcher)
        if request.num_inference_steps > 1:
            time.sleep(SLOW_SECONDS)
        return drawn
