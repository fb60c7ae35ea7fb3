"""The error tree of `pipelines`. Each class says who must act.

PipelineError
├── BadInput            the caller must change the brief, a file or a flag; nothing was started
│   ├── DecisionRefused the generation, as it stands, does not allow what its owner decided; nothing changed
│   ├── OutOfDomain     the models cannot draw what the brief asks for; change it, the profile, or go on anyway
│   └── Unstorable      a text or number that no database holds; take it out
├── NotFound            no such generation, step or artifact for this owner
├── Gone                what an earlier request of this name made was deleted since; nothing is made anew
├── QuotaExceeded       the owner has as much as they may; wait for a generation to end, or delete something
├── TooManyWaiting      as many generations of all owners wait as may; try again after `retry_after` seconds
├── TooManyAttempts     too many failed logins; try again after `retry_after` seconds
├── KeyReused           the name of an earlier request came with another body; choose a new one
├── Busy                another process runs this generation; wait for it or stop it
├── AgentFailed         an agent never gave a valid answer; retry, or use another model
├── StepFailed          a step failed; the generation stops there and can be resumed
└── StorageFailed       the disk or database refused (full, not writable); free it and resume
    ├── DamagedArtifact a stored file is not what was stored; make or send it again, which repairs it
    ├── DatabaseAway    nobody answers there now; ask again a little later, nothing is broken
    └── LeaseLost       another worker took over; this one publishes nothing
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

from pydantic import ValidationError


class PipelineError(Exception):
    """Base of everything `pipelines` raises on purpose."""


class BadInput(PipelineError):
    """The caller must change the brief, a file or a flag. Nothing was started."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        """`field`: the dotted name of what must change, where one field must; it heads the message."""
        super().__init__(reason if field is None else f"{field}: {reason}")
        self.reason = reason
        self.field = field

    @classmethod
    def invalid(cls, error: ValidationError) -> Self:
        """The first problem of a validation: where, what, and the value."""
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        return cls(f"{problem['msg']} (got {str(problem['input'])[:80]!r})", place or None)

    def renamed(self, name: Callable[[str], str]) -> BadInput:
        """The same with the field's name in the caller's words, as `name` gives it."""
        return BadInput(self.reason, None if self.field is None else name(self.field))


class DecisionRefused(BadInput):
    """The generation or comparison, as it stands, does not allow what its owner decided. Nothing has changed."""


class OutOfDomain(BadInput):
    """The brief asks for something that the profile's models were never shown. Nothing was started."""

    def renamed(self, name: Callable[[str], str]) -> OutOfDomain:
        """As in BadInput."""
        return OutOfDomain(self.reason, None if self.field is None else name(self.field))


class Unstorable(BadInput):
    """A text holds a NUL character or half of a surrogate pair, or a number is none or too large."""


class NotFound(PipelineError):
    """No such generation or artifact, or it belongs to someone else: the answer is the same."""


class Gone(PipelineError):
    """What an earlier request of this name made was deleted since: sent again, it makes nothing anew."""


QuotaName = Literal["generations", "stored_generations", "bytes"]


class QuotaExceeded(PipelineError):
    """The owner has as many generations in progress, generations in all, or bytes stored, as one user may have."""

    def __init__(self, quota: QuotaName, used: int, limit: int) -> None:
        """`used`: what there is now, of `limit`."""
        super().__init__(quota, used, limit)
        self.quota: QuotaName = quota
        self.used = used
        self.limit = limit

    def __str__(self) -> str:
        if self.quota == "generations":
            return f"{self.used} of your generations wait or run, of {self.limit}: wait for one to end, or cancel one"
        if self.quota == "stored_generations":
            return f"you have {self.used} generations, of {self.limit}, ended ones included: delete some"
        return f"you have {self.used} bytes stored, of {self.limit}: delete generations or single files"


class TooManyWaiting(PipelineError):
    """As many generations of all owners wait for a worker as may, and this owner has their share of them."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        """`waiting`: generations of all owners; `retry_after` in seconds."""
        super().__init__(waiting, retry_after)
        self.waiting = waiting
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.waiting} generations wait already: try again later"


class TooManyAttempts(PipelineError):
    """Too many failed logins of this name from this address."""

    def __init__(self, retry_after: int) -> None:
        """`retry_after` in seconds."""
        super().__init__(retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"too many failed logins: try again in {self.retry_after} seconds"


class KeyReused(PipelineError):
    """A client gave the name of an earlier request to one that asks for something else."""


class Busy(PipelineError):
    """Another process holds the lease of this generation, or it is at work: wait for it, or stop it."""


class AgentFailed(PipelineError):
    """An agent gave no valid answer within its retries. The message names the agent."""


class StepFailed(PipelineError):
    """A step failed for good. The message names the step and the cause; finished steps are kept."""


class StorageFailed(PipelineError):
    """The artifact folder or the database refused a write."""


class DamagedArtifact(StorageFailed):
    """A stored file is not what was stored: its disk lost or changed bytes. Putting the same bytes again repairs it."""


class DatabaseAway(StorageFailed):
    """The database server does not answer: it restarts, or the network is cut. What was asked may have been done."""


class LeaseLost(StorageFailed):
    """Another worker took the lease; nothing was published."""


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation, in one line: where, what, and the value."""
    problem = BadInput.invalid(error)
    return str(problem) if problem.field else f"the whole: {problem}"
