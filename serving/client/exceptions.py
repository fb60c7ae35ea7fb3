"""What programs catch (`admint.NotFound`): the errors of a server and of the way to it, by the code of its answer.

Inside, the client raises what the same mistake raises in one process (`serving.client.errors`), as the command line
needs it for its exit codes. Here that becomes public, once, where an operation is performed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import admint
from models.errors import Cancelled, ModelError
from pipelines import errors as pipeline_errors
from serving import errors as serving_errors
from serving.client.errors import ErrorAnswer, answer_of


class APIError(admint.AdMintError):
    """A server answered with an error. The message says what to do."""

    def __init__(self, message: str, answer: ErrorAnswer | None = None) -> None:
        """`answer`: None where the client already knew, as when there are no credentials at all."""
        super().__init__(message)
        told = answer or ErrorAnswer()
        self.code: str | None = told.code
        """One of `ErrorCode` in the OpenAPI document, such as `limit_exceeded`."""
        self.status: int | None = told.status
        """The HTTP status."""
        self.param: str | None = told.param
        """The field at fault."""
        self.details: Mapping[str, Any] = told.details
        """More by code: limits, quotas, every problem of a body."""
        self.request_id: str | None = told.request_id
        """What the server's log calls this request."""
        self.retry_after: int | None = told.retry_after
        """Seconds after which to try again, where waiting helps."""


class InvalidRequest(APIError, admint.BadInput):
    """The request must be changed: a field, a file or an id. Nothing was started."""


class OutOfDomain(InvalidRequest):
    """The models cannot draw what the brief asks for; `accept_out_of_domain=True` makes the nearest thing."""


class NotFound(APIError):
    """There is none of that id, or it is someone else's."""


class Conflict(APIError):
    """Not now: the object is at work, or in another state."""


class Unauthenticated(APIError):
    """No credentials, or none that the server accepts."""


class Forbidden(APIError):
    """Valid credentials that do not reach this far."""


class QueueFull(APIError):
    """Too many requests wait already: try again after `retry_after` seconds."""


class QuotaExceeded(APIError):
    """You have as much as you may: wait for an ad to end, or delete something."""


class TooManyAttempts(APIError):
    """Too many wrong passwords: try again after `retry_after` seconds."""


class ServerFailed(APIError, admint.Failed):
    """The server could not do what was asked for; its log says why under `request_id`."""


class NotReady(ServerFailed):
    """The server still loads its models."""


class Unreachable(admint.AdMintError):
    """No connection to the server, or one that broke. The server goes on with what it was asked for."""


_BY_CODE: Mapping[str, type[APIError]] = {
    "unauthorized": Unauthenticated,
    "token_expired": Unauthenticated,
    "forbidden": Forbidden,
    "not_found": NotFound,
    "model_not_found": NotFound,
    "gone": NotFound,
    "conflict": Conflict,
    "out_of_domain": OutOfDomain,
    "queue_full": QueueFull,
    "quota_exceeded": QuotaExceeded,
    "too_many_attempts": TooManyAttempts,
    "not_ready": NotReady,
}
"""Codes that say more than their status."""


@contextmanager
def public_errors() -> Iterator[None]:
    """Errors of the client as those that programs catch. A bug stays what it is."""
    try:
        yield
    except (pipeline_errors.PipelineError, serving_errors.ServingError, ModelError) as error:
        raise public(error) from error


def public(error: Exception) -> admint.AdMintError:
    """The public error for one of the client's own."""
    answer = answer_of(error)
    if answer is not None:
        return kind_of(answer)(str(error), answer)
    match error:
        case serving_errors.Unauthenticated() | serving_errors.UnsafeCredentials():
            return Unauthenticated(str(error))
        case serving_errors.Unreachable() | serving_errors.NotReady():
            return Unreachable(str(error))
        case pipeline_errors.BadInput():
            return admint.BadInput(str(error))
        case Cancelled():
            return admint.Cancelled(str(error))
    return admint.Failed(str(error))


def kind_of(answer: ErrorAnswer) -> type[APIError]:
    """The class for an answer: by its code, else by its status, so that a code of a newer server has a class too."""
    by_status = ServerFailed if answer.status is None or answer.status >= 500 else InvalidRequest
    return _BY_CODE.get(answer.code or "", by_status)
