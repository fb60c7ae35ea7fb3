"""The error tree of `models`. Messages name the input, quote it, and say the remedy.

ModelError
├── InvalidRequest        the caller must change the request
├── Cancelled             the caller asked to stop; nothing is wrong
├── BudgetExceeded        a token or time budget ran out before the answer was complete
├── WeightsError          the model folder must be repaired (missing, wrong hash, unsafe file)
│   └── DownloadError     the hub could not deliver; the same command resumes
└── InferenceFailed       the engine itself failed (remote server down, a bug in a kernel)
    ├── BrokenAnswer      no answer, a part of one, or no JSON; asked again it may be right
    └── OutOfMemory       the device had no room, also on the second try with less at once; the engine lives on
"""


class ModelError(Exception):
    """Base of everything `models` raises on purpose."""


class InvalidRequest(ModelError):
    """The request cannot be served by this model: size, frame count, reference count, role."""

    def __init__(self, message: str, field: str | None = None) -> None:
        """`field`: that which must change, by its place in a request that came as JSON (`messages.0.content`)."""
        super().__init__(message)
        self.field = field


class Cancelled(ModelError):
    """A watcher asked the running call to stop."""


class BudgetExceeded(ModelError):
    """The token or time budget of a chat request ran out before the answer was complete."""


class WeightsError(ModelError):
    """A model folder is missing, altered or holds a file that could run code."""


class DownloadError(WeightsError):
    """The model hub did not deliver a file; what arrived is kept and resumed by the same command."""


class InferenceFailed(ModelError):
    """The engine failed while running a valid request."""


class BrokenAnswer(InferenceFailed):
    """A chat model that was asked for JSON gave something else: nothing, a part of it, or prose; or had no time."""


class OutOfMemory(InferenceFailed):
    """The device had no room for a valid request. The engine freed what it held and serves the next call."""
