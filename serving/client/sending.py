"""What a program can ask of a server, as operations: plain functions say what is sent, a connection performs them.

An operation is made without a connection and performed with one, so that `Client` and `AsyncClient` share every one of
them. Answers are the gateway's own schemas; fields that this version does not know are ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from pipelines.errors import BadInput
from pipelines.steps import Json
from pipelines.store.artifacts import storage_failure
from serving.client.http import PASSING, Backoff, Connection
from serving.errors import ServingError

Result = TypeVar("Result")
Answer = TypeVar("Answer", bound=BaseModel)
Operation: TypeAlias = Callable[[Connection], Awaitable[Result]]
Stream: TypeAlias = Callable[[Connection], AsyncGenerator[Result, None]]
File: TypeAlias = str | os.PathLike[str] | bytes
"""A file to send: its path, its bytes, or the id (sha256) of one that the server has."""
PATIENCE_SECONDS = 20.0
"""A request that cannot reach its server is tried again for so long, where it may be sent twice."""
MODEL_TIMEOUT = httpx.Timeout(connect=10.0, read=900.0, write=60.0, pool=10.0)
"""Seconds, for an answer that a model makes while the caller waits."""
_ARTIFACT = re.compile(r"[0-9a-f]{64}")


def is_stored(file: File) -> bool:
    """Whether a file is named by the id that the server knows it by."""
    return isinstance(file, str) and _ARTIFACT.fullmatch(file) is not None


def ask(kind: type[Answer], method: str, path: str, *, once: bool = False, **content: Any) -> Operation[Answer]:
    """Send a request and read its answer. `once`: it may not be sent twice; `content` as httpx takes it."""

    async def perform(connection: Connection) -> Answer:
        return read(kind, await connection.call(method, path, patience=0.0 if once else PATIENCE_SECONDS, **content))

    return perform


def tell(method: str, path: str) -> Operation[None]:
    """Send a request whose answer says nothing more."""

    async def perform(connection: Connection) -> None:
        await connection.call(method, path, patience=PATIENCE_SECONDS)

    return perform


def read(kind: type[Answer], answer: httpx.Response) -> Answer:
    """The answer by its schema. Raises ServingError for one that this version cannot read."""
    try:
        return kind.model_validate_json(answer.content, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        text = (
            f"{answer.url} answered what this version cannot read ({place}: {first['msg']}): use the server's version"
        )
        raise ServingError(text) from None


def place(root: str, *parts: str | int) -> str:
    """The address of an object: `root` and its parts, each made safe for an address."""
    return "/".join([root, *(quote(str(part), safe="") for part in parts)])


def given(**fields: Any) -> Json:
    """The fields that are not None: what is left out is as the server says."""
    return {name: value for name, value in fields.items() if value is not None}


def once_named(key: str | None) -> dict[str, str]:
    """The header that makes a request count once, however often it is sent."""
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def body(fields: Mapping[str, Any], files: Sequence[tuple[str, File]] = (), as_form: bool = False) -> dict[str, Any]:
    """JSON, or a form where bytes are sent or the route takes forms only.

    `files` by field, in their order; a field of several ends with `[]`.
    Raises BadInput for a file that cannot be read.
    """
    parts = [(name, _part(file)) for name, file in files]
    if as_form or any(filename is not None for _, (filename, _) in parts):
        return form(fields, [(name.removesuffix("[]"), part) for name, part in parts])
    whole = dict(fields)
    for name, (_, text) in parts:
        if name.endswith("[]"):
            whole.setdefault(name.removesuffix("[]"), []).append(text.decode())
        else:
            whole[name] = text.decode()
    return {"json": whole}


def form(fields: Mapping[str, Any], files: Sequence[tuple[str, tuple[str | None, bytes]]]) -> dict[str, Any]:
    """A multipart form: fields that are no text as JSON, files by name and bytes (without a name: a text)."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    if "reference_roles" in fields:  # as a person writes them: one route takes these roles and no JSON
        texts["reference_roles"] = ",".join(fields["reference_roles"])
    return {"data": texts, "files": list(files)}


def _part(file: File) -> tuple[str | None, bytes]:
    """The file's name and bytes; no name for the id of one that the server has."""
    if isinstance(file, bytes):
        return "upload", file
    if is_stored(file):
        return None, str(file).encode()
    path = Path(file)
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror}") from None


def download(address: str, path: str | os.PathLike[str], sha256: str | None = None) -> Operation[Path]:
    """Write a file of the server to `path`, as it comes; a file that is there already is replaced when all is read.

    `sha256`: what the file must have. Raises StorageFailed, ServingError for other bytes.
    """

    async def perform(connection: Connection) -> Path:
        waiting, target = Backoff(PATIENCE_SECONDS), Path(path)
        while True:
            try:
                return await _fetch(connection, address, target, sha256)
            except PASSING as error:
                await waiting.after(error)

    return perform


async def _fetch(connection: Connection, address: str, target: Path, sha256: str | None) -> Path:
    aside, digest = target.with_name(f".{target.name}-{uuid.uuid4().hex}"), hashlib.sha256()
    try:
        async with connection.open("GET", address) as answer:
            with aside.open("xb") as file:
                async for chunk in answer.aiter_bytes():
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ServingError(f"{connection.server} sent other bytes than those of {sha256!r}: try again")
        os.replace(aside, target)
        return target
    except OSError as error:
        raise storage_failure(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
