"""A server's error answer as the error that the same mistake raises in one process: so exit codes are the same.

The mirror of `serving.gateway.problems`, by its codes; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from models.errors import BudgetExceeded, InferenceFailed, OutOfMemory, WeightsError
from pipelines.errors import BadInput, Busy, NotFound, OutOfDomain, StorageFailed
from serving.errors import Forbidden, NotReady, QueueFull, ServingError, Unauthenticated

KINDS: Mapping[str, Callable[[str], Exception]] = {
    "bad_request": BadInput,
    "not_found": NotFound,
    "model_not_found": BadInput,
    "method_not_allowed": BadInput,
    "conflict": Busy,
    "payload_too_large": BadInput,
    "unsupported_media_type": BadInput,
    "range_not_satisfiable": BadInput,
    "invalid_request": BadInput,
    "limit_exceeded": BadInput,
    "out_of_domain": OutOfDomain,
    "key_reused": BadInput,
    "budget_exceeded": BudgetExceeded,
    "undecodable": BadInput,
    "unsupported": BadInput,
    "quota_exceeded": ServingError,
    "too_many_attempts": ServingError,
    "client_closed_request": ServingError,
    "internal_error": ServingError,
    "inference_failed": InferenceFailed,
    "not_ready": NotReady,
    "weights_unusable": WeightsError,
    "storage_failed": StorageFailed,
    "out_of_memory": OutOfMemory,
}
"""By the code of the answer. Those that say more than their message: `unauthorized`, `forbidden`, `queue_full`."""
PASSING = (502, 504)
"""Statuses of a proxy that does not reach its server at the moment."""


def how_to_log_in(server: str) -> str:
    """The remedy in messages about credentials."""
    return f"log in with: admint login --server {server}"


@dataclass(frozen=True)
class ErrorAnswer:
    """What an error answer says besides its message."""

    code: str | None = None
    status: int | None = None
    param: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    retry_after: int | None = None
    """Seconds."""


def answer_of(error: Exception) -> ErrorAnswer | None:
    """The answer that `refusal` made `error` of; None for an error of another origin."""
    found = vars(error).get("answer")
    return found if isinstance(found, ErrorAnswer) else None


def refusal(server: str, answer: httpx.Response) -> Exception:
    """What to raise for an error `answer`, whose body has been read."""
    try:
        body: Any = answer.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        said, later = body["error"], int(answer.headers.get("retry-after", 0))
        error = refusal_of(server, said, later)
        vars(error)["answer"] = ErrorAnswer(
            code=str(said.get("code")),
            status=answer.status_code,
            param=said.get("param"),
            details=said.get("details") or {},
            request_id=answer.headers.get("x-request-id"),
            retry_after=later or None,
        )
        return error
    text = f"{server} answered {answer.status_code} {answer.reason_phrase}, not as AdMint does: check the address"
    return NotReady(text) if answer.status_code in PASSING else ServingError(text)


def refusal_of(server: str, error: Mapping[str, Any], retry_after: int = 0) -> Exception:
    """What to raise for the `error` object of an answer; `retry_after` in seconds, 0 unknown."""
    code, message = str(error.get("code")), str(error.get("message"))
    if code == "unauthorized":
        return Unauthenticated(f"{server} does not accept these credentials: {how_to_log_in(server)}")
    if code == "forbidden":
        return Forbidden(f"{message}; as somebody who may, {how_to_log_in(server)}")
    later = f"; try again in {retry_after} s" if retry_after else ""
    if code == "queue_full":
        return QueueFull(f"{message}{later}", retry_after)
    kind, param = KINDS.get(code, ServingError), error.get("param")
    if kind in (BadInput, OutOfDomain) and param and message.startswith(f"{param}: "):
        refused = OutOfDomain if kind is OutOfDomain else BadInput
        return refused(message.removeprefix(f"{param}: "), param)
    return kind(message)
