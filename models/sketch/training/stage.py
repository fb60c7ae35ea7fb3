"""One thing that is trained: optimiser, averaged weights, a rate that follows the clock, and captured CUDA graphs.

A stage is told when it may run; its rate falls to its end over its own share of time, whatever the speed. On CUDA every
variant of its step (one for each size of picture) is captured once as a graph of forward, backward and update, because
models this small wait for launches; where capturing fails, steps run plainly and a line says so.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

StepFn = Callable[[], torch.Tensor]
"""Draws a batch and gives its loss. Runs inside a captured graph: no host values, no synchronising."""
WARM_UP = 3


class Stage:
    """Trains the parameters of `model` that require gradients."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        variants: Mapping[str, StepFn],
        shares: Mapping[str, float],
        lr: float,
        decay: float = 0.999,
        warm: int = 100,
        graphs: bool = True,
        log: Callable[[str], None] = print,
    ) -> None:
        self.name, self.model, self.lr, self.warm = name, model, lr, warm
        self._variants, self._shares = dict(variants), dict(shares)
        self._done = dict.fromkeys(variants, 0.0)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._names = [n for n, p in model.named_parameters() if p.requires_grad]
        self._device = self._parameters[0].device
        self._cuda = self._device.type == "cuda"
        self._rate: Any = torch.tensor(lr, device=self._device) if self._cuda else lr
        kinds: dict[str, Any] = {"fused": True, "capturable": True} if self._cuda else {}
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=self._rate, betas=(0.9, 0.99), weight_decay=0.01, **kinds
        )
        if self._cuda:
            self._rate = self._optimiser.param_groups[0]["lr"]
        self._shadow = [p.detach().clone() for p in self._parameters]
        self._sound = [value.clone() for value in self._shadow]
        self._decay = decay
        self._graphs: dict[str, torch.cuda.CUDAGraph | None] = {}
        self._wants_graphs = graphs and self._cuda
        self._pool: Any = None
        self._loss = torch.zeros((), device=self._device)
        self._norm = torch.zeros((), device=self._device)
        self._since = 0
        self._say = log
        self.steps, self.seconds = 0, 0.0
        self._begin = self._end = 0.0
        self.history: list[dict[str, float]] = []

    def begin(self, end: float) -> None:
        """From now on; the rate reaches its end at `end` on the monotonic clock, however much was done by then."""
        self._begin, self._end = time.monotonic(), end

    def run(self, seconds: float, most: int = 10**9) -> None:
        """Train for about so long, or so many steps."""
        start = time.monotonic()
        before, end, count = self.seconds, start + seconds, 0
        self.model.train()
        while count < most:
            self._set_rate()
            self._advance(self._next_variant())
            self.steps += 1
            count += 1
            self._average()
            if self._cuda and count % 4 == 0:
                torch.cuda.synchronize()
            now = time.monotonic()
            self.seconds = before + now - start
            if now >= end:
                break

    def plainly(self) -> bool:
        """Give up captured graphs; whether there were any to give up."""
        had, self._wants_graphs = self._wants_graphs, False
        self._graphs, self._pool = {}, None
        if had:
            _forget_capture()
        return had

    def note(self, clock: float) -> dict[str, float]:
        """Mean loss since the last note; restores the averaged weights if training went wrong."""
        if not self._since:
            return {}
        loss, norm = float(self._loss) / self._since, float(self._norm) / self._since
        self._loss.zero_()
        self._norm.zero_()
        row = {"clock": round(clock, 1), "step": self.steps, "seconds": round(self.seconds, 1)}
        row |= {"loss": float(f"{loss:.5g}"), "norm": float(f"{norm:.3g}"), "lr": float(f"{float(self._rate):.3g}")}
        self._since = 0
        if math.isfinite(loss) and math.isfinite(norm):
            torch._foreach_copy_(self._sound, self._shadow)
        else:
            self._restore()
            row["restored"] = 1.0
        self.history.append(row)
        return row

    @torch.no_grad()
    def averaged(self) -> dict[str, torch.Tensor]:
        """The averaged weights of what is trained, by the model's names."""
        return {name: value.clone() for name, value in zip(self._names, self._shadow, strict=True)}

    def averaged_model(self) -> Any:
        """A copy of the model with the averaged weights, in evaluation mode."""
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.averaged(), strict=False)
        return model.eval().requires_grad_(False)

    @torch.no_grad()
    def settle(self) -> None:
        """The model takes its averaged weights: the end of this stage."""
        for parameter, value in zip(self._parameters, self._shadow, strict=True):
            parameter.copy_(value)
            parameter.grad = None
        self._graphs = {}
        self._pool = None
        self.model.eval().requires_grad_(False)

    def _next_variant(self) -> str:
        """The one that lags most behind its share; all captured variants take turns so."""
        name = min(self._variants, key=lambda v: (self._done[v] + 0.5) / self._shares[v])
        self._done[name] += 1
        return name

    def _set_rate(self) -> None:
        progress = min(1.0, (time.monotonic() - self._begin) / max(self._end - self._begin, 1e-3))
        warming = min(1.0, (self.steps + 1) / self.warm)
        rate = self.lr * warming * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        if self._cuda:
            self._rate.fill_(rate)
            return
        self._rate = rate
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _advance(self, variant: str) -> None:
        self._since += 1
        if variant not in self._graphs:
            self._graphs[variant] = self._captured(variant) if self._wants_graphs else None
        graph = self._graphs[variant]
        if graph is None:
            self._step(self._variants[variant])
        else:
            graph.replay()

    def _step(self, step: StepFn) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        loss = step()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self._loss.add_(loss.detach())
        self._norm.add_(norm.detach())

    def _captured(self, variant: str) -> torch.cuda.CUDAGraph | None:
        """Warm up on a side stream, then record one step. None: it cannot be recorded."""
        start, step = time.monotonic(), self._variants[variant]
        try:
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    self._step(step)
                    self._since += 1
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            self._optimiser.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph, pool=self._pool):
                self._step(step)
            self._pool = self._pool or graph.pool()
            graph.replay()
            torch.cuda.synchronize()
        except Exception as error:  # whatever it is, plain steps still train
            self._say(f"{self.name}/{variant}: no graph, plain steps ({type(error).__name__}: {str(error)[:300]})")
            self._wants_graphs = False
            _forget_capture()
            return None
        used = torch.cuda.max_memory_allocated() / 2**30
        self._say(f"{self.name}/{variant}: captured in {time.monotonic() - start:.1f} s, {used:.1f} GiB at most")
        return graph

    @torch.no_grad()
    def _average(self) -> None:
        """Every fourth step, with a horizon that grows with the run."""
        if self.steps % 4:
            return
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps)) ** 4
        torch._foreach_lerp_(self._shadow, [p.detach() for p in self._parameters], 1 - decay)

    @torch.no_grad()
    def _restore(self) -> None:
        torch._foreach_copy_(self._shadow, self._sound)
        torch._foreach_copy_([p.detach() for p in self._parameters], self._sound)
        for state in self._optimiser.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    value.zero_()


def _forget_capture() -> None:
    """After a capture that broke off, the random generator still believes that it is being captured."""
    torch.cuda.synchronize()
    index = torch.cuda.current_device()
    fresh = torch.Generator(device=f"cuda:{index}")
    fresh.seed()
    torch.cuda.default_generators[index].graphsafe_set_state(fresh.graphsafe_get_state())
