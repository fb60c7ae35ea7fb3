"""Several image requests in one forward pass, one outcome each: what befalls one leaves the others alone.

Knows no model: it keeps the outcomes and is the watcher of the pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from models.errors import Cancelled, ModelError
from models.interfaces import ImageRequest, ImageResult, Watcher

Outcome = ImageResult | ModelError


class Batch:
    """Requests, their watchers and their outcomes, by index. A Watcher itself."""

    def __init__(self, requests: Sequence[ImageRequest], watchers: Sequence[Watcher]) -> None:
        """Raises ValueError unless there is one watcher per request."""
        self._members = list(zip(requests, watchers, strict=True))
        self._outcomes: list[Outcome | None] = [None] * len(self._members)

    def live(self) -> list[int]:
        """Indices without an outcome yet."""
        return [index for index, outcome in enumerate(self._outcomes) if outcome is None]

    def member(self, index: int) -> tuple[ImageRequest, Watcher]:
        return self._members[index]

    def requests(self) -> list[ImageRequest]:
        """Those of `live`."""
        return [self._members[index][0] for index in self.live()]

    @contextmanager
    def judged(self, index: int) -> Iterator[None]:
        """A ModelError within is the outcome of request `index` and of no other."""
        try:
            yield
        except ModelError as error:
            # Without its traceback, which would keep every tensor of the pass.
            self._outcomes[index] = error.with_traceback(None)

    def settle(self, index: int, outcome: Outcome) -> None:
        """Unless request `index` has an outcome already, as one that was cancelled in the last step."""
        if self._outcomes[index] is None:
            self._outcomes[index] = outcome

    def step(self, done: int, total: int) -> None:
        """Tell every live request's watcher. Raises Cancelled once all are cancelled: the pass goes on for the rest."""
        for index in self.live():
            with self.judged(index):
                self._members[index][1].step(done, total)
        if not self.live():
            raise Cancelled("every request of this batch was cancelled")

    def outcomes(self) -> list[Outcome]:
        """One per request, in order. Raises RuntimeError while one is missing."""
        settled = [outcome for outcome in self._outcomes if outcome is not None]
        if len(settled) < len(self._outcomes):
            raise RuntimeError(f"requests {self.live()} of the batch have no outcome")
        return settled
