"""The error tree of `pipelines`. Each class says who must act.

PipelineError
├── BadInput            the caller must change the brief, a file or a flag; nothing was started
├── NotFound            no such generation, step or artifact for this owner
├── Busy                another process runs this generation; wait for it or stop it
├── AgentFailed         an agent never gave a valid answer; retry, or use another model
├── StepFailed          a step failed; the generation stops there and can be resumed
└── StorageFailed       the disk or database refused (full, not writable); free it and resume
    └── LeaseLost       another worker took over; this one publishes nothing
"""

from __future__ import annotations

from pydantic import ValidationError


class PipelineError(Exception):
    """Base of everything `pipelines` raises on purpose."""


class BadInput(PipelineError):
    """The caller must change the brief, a file or a flag. Nothing was started."""


class NotFound(PipelineError):
    """No such generation or artifact, or it belongs to someone else: the answer is the same."""


class Busy(PipelineError):
    """Another live process holds this generation."""


class AgentFailed(PipelineError):
    """An agent gave no valid answer within its retries. The message names the agent."""


class StepFailed(PipelineError):
    """A step failed for good. The message names the step and the cause; finished steps are kept."""


class StorageFailed(PipelineError):
    """The artifact folder or the database refused a write."""


class LeaseLost(StorageFailed):
    """The lease of this worker was taken over; nothing was published."""


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation, in one line: where, what, and the value."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the whole"
    return f"{place}: {problem['msg']} (got {str(problem['input'])[:80]!r})"
