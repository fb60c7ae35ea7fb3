"""Training by steps on a CPU: optimiser, time-aware schedule, EMA, checkpoint and resume, log and plot.

The learning rate follows whichever of steps and minutes is further along, so that a run which must end by the clock
still ends on a decayed rate.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean
from typing import Any, Generic, TypeVar

import torch
from PIL import Image, ImageDraw
from torch import nn

from models.sketch.training.chat.data import CACHE

EXPORTS = CACHE / "exports"
"""Finished models in the layout that `release` takes."""

StepFn = Callable[[int], tuple[torch.Tensor, dict[str, float]]]
CHECKPOINT_SECONDS = 240


def arguments(name: str, steps: int, minutes: float) -> argparse.Namespace:
    """Command-line options of a training program."""
    parser = argparse.ArgumentParser(prog=f"python -m models.sketch.training.chat.{name}")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--minutes", type=float, default=minutes, help="stop after so long, earlier runs counted in")
    parser.add_argument("--out", type=Path, default=CACHE / name)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--export", action="store_true", help="only write the weights folder from the checkpoint")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    return args


class Ema:
    """Exponential average of the trainable weights, with a horizon that grows with the run."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {k: v.detach().clone() for k, v in _trainable(model)}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in _trainable(model):
            self.shadow[key].lerp_(value.detach(), 1 - decay)

    def copy_to(self, model: nn.Module) -> None:
        with torch.no_grad():
            for key, value in _trainable(model):
                value.copy_(self.shadow[key])


def _trainable(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return [(k, p) for k, p in model.named_parameters() if p.requires_grad]


Model = TypeVar("Model", bound=nn.Module)


class Run(Generic[Model]):
    """The state of one training; `train` continues it to its end."""

    def __init__(self, model: Model, args: argparse.Namespace, lr: float, decay: float = 0.999) -> None:
        self.model, self.args, self.lr = model, args, args.lr or lr
        params = [p for _, p in _trainable(model)]
        self.optimiser = torch.optim.AdamW(params, lr=self.lr, betas=(0.9, 0.99), weight_decay=0.01)
        self.ema = Ema(model, decay)
        self.step, self.seconds = 0, 0.0
        self.path: Path = args.out / "checkpoint.pt"
        if self.path.exists():
            self._load()

    def _load(self) -> None:
        state: dict[str, Any] = torch.load(self.path, map_location=self.args.device, weights_only=True)
        self.model.load_state_dict(state["model"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.ema.shadow.update(state["ema"])
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        state = {
            "model": dict(_trainable(self.model)),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.shadow,
            "step": self.step,
            "seconds": self.seconds,
        }
        temporary = self.path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.path)

    def averaged(self) -> Model:
        """A copy of the model with the averaged weights, in evaluation mode."""
        model = copy.deepcopy(self.model)
        self.ema.copy_to(model)
        return model.eval()

    def _rate(self) -> float:
        progress = min(1.0, max(self.step / self.args.steps, self.seconds / 60 / self.args.minutes))
        warm = min(1.0, (self.step + 1) / 100)
        return float(self.lr * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress))))

    def _advance(self, step_fn: StepFn) -> dict[str, float]:
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss, metrics = step_fn(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_([p for _, p in _trainable(self.model)], 1.0)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.step += 1
        self.ema.update(self.model, self.step)
        return {"loss": float(loss.detach()), "lr": rate, **metrics}

    def train(self, step_fn: StepFn, every: int = 50, check: Callable[[], dict[str, float]] | None = None) -> None:
        """Run to the end of steps or minutes; `check` runs beside each checkpoint.

        Logged every `every` steps: the mean of each metric over the steps that gave it.
        """
        self.model.train()
        given: dict[str, list[float]] = {}
        last = saved = time.monotonic()
        while self.step < self.args.steps and self.seconds < self.args.minutes * 60:
            for key, value in self._advance(step_fn).items():
                given.setdefault(key, []).append(value)
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.step % every == 0:
                self._log({key: fmean(values) for key, values in given.items()})
                given = {}
            if now - saved > CHECKPOINT_SECONDS:
                self._checkpoint(check)
                saved = time.monotonic()
        self._checkpoint(check)

    def _checkpoint(self, check: Callable[[], dict[str, float]] | None) -> None:
        self.save()
        if check is not None:
            self._log(check())
        plot(self.args.out / "log.jsonl", self.args.out / "loss.png")

    def _log(self, values: dict[str, float]) -> None:
        row = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            **{k: float(f"{v:.5g}") for k, v in values.items()},
        }
        with (self.args.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def plot(log: Path, target: Path) -> None:
    """The loss over steps, logarithmic, as a small picture."""
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    points = [(r["step"], math.log10(r["loss"])) for r in rows if r.get("loss", 0) > 0]
    if len(points) < 2:
        return
    (x0, x1), (y0, y1) = ((min(a), max(a)) for a in zip(*points, strict=True))
    image = Image.new("RGB", (640, 360), "white")
    draw = ImageDraw.Draw(image)
    span = max(y1 - y0, 1e-6)
    line = [(40 + 580 * (x - x0) / max(x1 - x0, 1), 20 + 310 * (y1 - y) / span) for x, y in points]
    draw.line(line, fill=(30, 80, 200), width=2)
    draw.text((40, 338), f"step {x0} to {x1}; loss {10**y1:.4g} (top) to {10**y0:.4g}", fill="black")
    image.save(target)
