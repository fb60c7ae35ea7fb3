"""Several image requests in one forward pass: what may share a batch, and one outcome for each request.

An invalid, cancelled or failed request does not touch the others; a batch that finds no memory is made one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from models.diffusion.calls import library_failures
from models.diffusion.memory import retry_with_less_memory
from models.diffusion.references import ReferenceAdapter
from models.errors import Cancelled, ModelError
from models.image.engine import ImageEngine
from models.interfaces import ImageRequest, ImageResult, Watcher

Outcome = ImageResult | ModelError


class BatchingImageEngine(ImageEngine):
    """An ImageEngine that is a BatchingImageModel too: for UNet families with the adapter of `ReferenceAdapter`."""

    _adapter: ReferenceAdapter | None

    def batch_key(self, request: ImageRequest) -> str | None:
        """As BatchingImageModel: `ImageModelSpec.batch_key` of a request that this model can serve."""
        self._check(request)
        return self._spec.batch_key(request)

    def generate_batch(self, requests: Sequence[ImageRequest], watchers: Sequence[Watcher]) -> list[Outcome]:
        """As BatchingImageModel. Noise is bit-equal to each request's alone, pictures are within rounding.

        Raises ValueError for requests that may not share a batch: a mistake of the caller's.
        """
        batch, keys = Batch(requests, watchers), set()
        for index, request in enumerate(requests):
            with batch.failure_of(index):
                keys.add(self.batch_key(request))
                if self._adapter:
                    self._adapter.check(request.references)
        valid = batch.live()
        if len(valid) > 1 and (len(keys) > 1 or None in keys):
            raise ValueError(f"these requests cannot share a batch: their keys are {keys}")
        if valid:
            self._run_batch(batch, requests[valid[0]])
        return batch.outcomes()

    def _run_batch(self, batch: Batch, like: ImageRequest) -> None:
        try:
            with self._lock.turn(batch, self._steps(like)):
                retry_with_less_memory(
                    lambda: self._run_together(batch),
                    lambda: self._run_one_by_one(batch),
                    self._forget,
                    self._amount(like, len(batch.live())),
                )
        except ModelError as error:
            for index in batch.live():
                batch.settle(index, error.with_traceback(None))

    def _run_together(self, batch: Batch) -> None:
        running = batch.live()
        requests = [batch.member(index)[0] for index in running]
        for index, result in zip(running, self._run(requests, batch), strict=True):
            batch.settle(index, result)

    def _run_one_by_one(self, batch: Batch) -> None:
        for index in batch.live():
            request, watcher = batch.member(index)
            with batch.failure_of(index), library_failures(self._spec.name, self._amount(request)):
                watcher.step(0, self._steps(request))
                batch.settle(index, self._run_with_less_memory(request, watcher))

    def _batch_condition(self, requests: Sequence[ImageRequest]) -> dict[str, Any]:
        first = requests[0]
        texts = [self._text_inputs(request) for request in requests]
        inputs: dict[str, Any] = {name: torch.cat([text[name] for text in texts]) for name in texts[0]}
        if self._adapter:
            references = [request.references for request in requests]
            inputs["ip_adapter_image_embeds"] = self._adapter.begin_batch(
                references, first.adapter, self._guided(first)
            )
            if first.adapter.mask is not None:
                self._adapter.keep_to(first.adapter.mask, first.width, first.height)
        return inputs


class Batch:
    """Requests, their watchers and their outcomes, by index; the watcher of their common pass."""

    def __init__(self, requests: Sequence[ImageRequest], watchers: Sequence[Watcher]) -> None:
        """Raises ValueError unless there is one watcher per request."""
        self._members = list(zip(requests, watchers, strict=True))
        self._outcomes: list[Outcome | None] = [None] * len(self._members)

    def live(self) -> list[int]:
        """Indices without an outcome yet."""
        return [index for index, outcome in enumerate(self._outcomes) if outcome is None]

    def member(self, index: int) -> tuple[ImageRequest, Watcher]:
        """Request `index` and its watcher."""
        return self._members[index]

    @contextmanager
    def failure_of(self, index: int) -> Iterator[None]:
        """A ModelError within is the outcome of request `index` and of no other."""
        try:
            yield
        except ModelError as error:
            # Without its traceback, which would keep every tensor of the pass.
            self._outcomes[index] = error.with_traceback(None)

    def settle(self, index: int, outcome: Outcome) -> None:
        """Set the outcome of request `index`, unless it has one, as after a cancel in the last step."""
        if self._outcomes[index] is None:
            self._outcomes[index] = outcome

    def step(self, done: int, total: int) -> None:
        """Tell every live request's watcher. Raises Cancelled once all are cancelled: the pass goes on for the rest."""
        for index in self.live():
            with self.failure_of(index):
                self._members[index][1].step(done, total)
        if not self.live():
            raise Cancelled("every request of this batch was cancelled")

    def outcomes(self) -> list[Outcome]:
        """The outcome of each request, in order. Raises RuntimeError while one is missing."""
        settled = [outcome for outcome in self._outcomes if outcome is not None]
        if len(settled) < len(self._outcomes):
            raise RuntimeError(f"requests {self.live()} of the batch have no outcome")
        return settled
