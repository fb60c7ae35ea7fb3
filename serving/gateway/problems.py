"""Every error answer of the gateway: one shape, made in one place.

`{"error": {"message", "type", "param", "code", "details"}}` is what OpenAI clients read and what the project's own
contract asks for. Domain errors become a status and a code here; routes raise them as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from models.errors import BudgetExceeded, Cancelled, InvalidRequest, ModelError, OutOfMemory, WeightsError
from models.interfaces import Plain
from pipelines.errors import (
    BadInput,
    Busy,
    DamagedArtifact,
    DecisionRefused,
    Gone,
    KeyReused,
    NotFound,
    OutOfDomain,
    PipelineError,
    QuotaExceeded,
    StorageFailed,
    TooManyAttempts,
    TooManyWaiting,
)
from quality.score import UnknownDimension
from serving.errors import Expired, Forbidden, NotReady, QueueFull, ServingError, Unauthenticated, Undecodable
from serving.gateway.mistakes import Mistake, mistakes

logger = logging.getLogger(__name__)

READY_RETRY_SECONDS = 5
"""Retry-After of an answer that waits for a deployment to load."""
CHALLENGE = 'Bearer realm="admint"'
EXPECTED = ("not_ready",)
"""Server errors that are no news: a probe asks every few seconds while models load."""
CREDENTIALS = "/api/auth/"
"""Bodies below it hold passwords and tokens: no answer repeats them, not even those in a field of a wrong name."""

ErrorType = Literal["invalid_request_error", "rate_limit_error", "server_error"]


class ErrorBody(Plain):
    """What went wrong, for people and for programs."""

    message: str
    """One sentence: what, the value, the remedy."""
    type: ErrorType
    """OpenAI's coarse kind of error."""
    param: str | None
    """The field that must change."""
    code: str
    """For programs; the list is in `problems.CODES`."""
    details: dict[str, Any] = Field(default_factory=dict)
    """More for programs, by code: `problems` of a body, `limit` and `used` of a quota."""


class ErrorResponse(Plain):
    """The one shape of all error answers."""

    error: ErrorBody
    """What went wrong."""


CODES: Mapping[str, int] = {
    "bad_request": 400,
    "unauthorized": 401,
    "token_expired": 401,
    "address_expired": 401,
    "forbidden": 403,
    "not_found": 404,
    "model_not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "gone": 410,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "invalid_request": 422,
    "limit_exceeded": 422,
    "out_of_domain": 422,
    "key_reused": 422,
    "budget_exceeded": 422,
    "unsupported": 422,
    "undecodable": 422,
    "queue_full": 429,
    "quota_exceeded": 429,
    "too_many_attempts": 429,
    "client_closed_request": 499,
    "internal_error": 500,
    "inference_failed": 500,
    "artifact_damaged": 500,
    "not_ready": 503,
    "weights_unusable": 503,
    "storage_failed": 503,
    "out_of_memory": 507,
}
"""Every code with its status. 507: the request is valid, and this server has no room to run it, twice tried."""


class Problem(HTTPException):
    """An error answer. Also an HTTPException, so that the framework passes it on from wherever it is raised."""

    def __init__(
        self,
        code: str,
        message: str,
        param: str | None = None,
        details: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        final: bool = False,
    ) -> None:
        """`final`: the same request would fail again; OpenAI clients are told not to retry it."""
        retry = {"x-should-retry": "false"} if final else {}
        super().__init__(CODES[code], message, {**(headers or {}), **retry})
        self.code = code
        self.message = message
        self.param = param
        self.details = details or {}


@dataclass(frozen=True)
class _Meaning:
    """The answer that a domain error becomes. `message` replaces one that could tell paths or rows of this machine."""

    code: str
    final: bool = False
    headers: Mapping[str, str] | None = None
    message: str | None = None


_MEANINGS: Sequence[tuple[type[Exception], _Meaning]] = (
    (InvalidRequest, _Meaning("invalid_request")),
    (BudgetExceeded, _Meaning("budget_exceeded")),
    (OutOfMemory, _Meaning("out_of_memory", final=True)),
    (WeightsError, _Meaning("weights_unusable", final=True)),
    (Cancelled, _Meaning("client_closed_request")),
    (ModelError, _Meaning("inference_failed", final=True)),
    (NotReady, _Meaning("not_ready", headers={"Retry-After": str(READY_RETRY_SECONDS)})),
    (Unauthenticated, _Meaning("unauthorized", headers={"WWW-Authenticate": CHALLENGE})),
    (Forbidden, _Meaning("forbidden")),
    (Undecodable, _Meaning("undecodable", final=True)),
    (ServingError, _Meaning("internal_error", final=True)),
    (UnknownDimension, _Meaning("invalid_request")),
    (DecisionRefused, _Meaning("bad_request")),
    (OutOfDomain, _Meaning("out_of_domain")),
    (BadInput, _Meaning("invalid_request")),
    (NotFound, _Meaning("not_found")),
    (KeyReused, _Meaning("key_reused", final=True)),
    (Gone, _Meaning("gone", final=True)),
    (Busy, _Meaning("conflict", final=True)),
    (DamagedArtifact, _Meaning("artifact_damaged", final=True)),
    (
        StorageFailed,
        _Meaning("storage_failed", message="the server could not read or write its store: try again later"),
    ),
    (PipelineError, _Meaning("inference_failed", final=True)),
)
"""First match wins: children stand before their parents."""


def problem_of(error: Exception) -> Problem:
    """The answer to any error. An unknown one is an internal error, whose text stays in the log."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, QueueFull):
        return Problem("queue_full", error.message, headers={"Retry-After": str(error.retry_after)})
    if isinstance(error, TooManyAttempts):
        return Problem("too_many_attempts", str(error), headers={"Retry-After": str(error.retry_after)}, final=True)
    if isinstance(error, TooManyWaiting):
        return Problem("queue_full", str(error), headers={"Retry-After": str(error.retry_after)})
    if isinstance(error, QuotaExceeded):
        details = {"quota": error.quota, "used": error.used, "limit": error.limit}
        where = (
            " (GET /v1/artifacts lists those, DELETE /v1/artifacts/ID deletes one)" if error.quota == "bytes" else ""
        )
        return Problem("quota_exceeded", f"{error}{where}", details=details, final=True)
    if isinstance(error, Expired):
        return Problem(error.code, str(error), headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'})
    for kind, meaning in _MEANINGS:
        if isinstance(error, kind):
            param = error.field if isinstance(error, BadInput | InvalidRequest) else None
            text = meaning.message or str(error)
            return Problem(meaning.code, text, param, headers=meaning.headers, final=meaning.final)
    return Problem("internal_error", "the server failed; its log says why under this request's id", final=True)


def problem_response(error: Exception) -> JSONResponse:
    """The response to any error, for code that answers outside a route."""
    problem, body = problem_of(error), ErrorResponse(error=error_body(error))
    return JSONResponse(body.model_dump(mode="json"), problem.status_code, headers=problem.headers)


def error_body(error: Exception) -> ErrorBody:
    """What the answer to any error says, for channels that have no status. Logs what the server is to blame for."""
    problem = problem_of(error)
    if problem.status_code >= 500 and problem.code not in EXPECTED:
        logger.error("%s: %s", problem.code, error, exc_info=error)
    return ErrorBody(
        message=problem.message,
        type=_type(problem.status_code),
        param=problem.param,
        code=problem.code,
        details=problem.details,
    )


def invalid_body(error: ValidationError, body: Any, model: type[BaseModel], show_values: bool = True) -> Problem:
    """422 with the first mistakes of a body that was to be a `model`, and the first one as the message."""
    errors: Sequence[Mapping[str, Any]] = error.errors(include_url=False, include_context=False)
    return _invalid(mistakes(errors, body, model, show_values))


def _invalid(found: Sequence[Mistake]) -> Problem:
    first, told = found[0], [{"param": each.param, "message": each.message} for each in found]
    return Problem("invalid_request", f"{first.param}: {first.message}", first.param, {"problems": told})


def too_large(limit: int) -> Problem:
    """The answer to a body of more than `limit` bytes."""
    size = f"{limit / 2**20:.0f} MB" if limit >= 2**20 else f"{limit} bytes"
    text = f"the body has more than {size}: send less, or artifact ids instead of pictures"
    return Problem("payload_too_large", text, details={"limit_bytes": limit})


def refuse(param: str, message: str, **details: Any) -> NoReturn:
    """Raise Problem 422: `param` cannot be served as it is. `details` hold the limit, when there is one."""
    raise Problem("limit_exceeded" if details else "invalid_request", message, param, details)


def _type(status: int) -> ErrorType:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


_FRAMEWORK_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


async def _framework(request: Request, error: Exception) -> JSONResponse:
    """Answer the framework's own errors (404, 405 and others) in the one shape."""
    if not isinstance(error, HTTPException) or error.status_code not in _FRAMEWORK_CODES:
        return problem_response(error)
    message, headers = str(error.detail), error.headers
    if error.status_code == 404:
        message = f"no such address: {request.method} {request.url.path}"
    if error.status_code == 405:
        allowed = _allowed(request)
        message, headers = f"{request.url.path} does not take {request.method}: use {allowed}", {"Allow": allowed}
    return problem_response(Problem(_FRAMEWORK_CODES[error.status_code], message, headers=headers))


def _allowed(request: Request) -> str:
    """The methods of an address. The framework names only those of the first route that has its pattern."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    pattern = next(route.path for route in routes if route.path_regex.match(request.scope["path"]))
    methods = {method for route in routes if route.path == pattern for method in route.methods or ()}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


async def _domain(request: Request, error: Exception) -> JSONResponse:
    return problem_response(error)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return problem_response(_invalid(mistakes(error.errors())))


def install(app: FastAPI) -> None:
    """Let `app` answer every error in this shape. Errors that nobody expected end in `middleware.RequestIds`."""
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _framework)
    for kind in (Problem, ModelError, ServingError, PipelineError, UnknownDimension):
        app.add_exception_handler(kind, _domain)
