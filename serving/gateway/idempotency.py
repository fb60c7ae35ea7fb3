"""`Idempotency-Key`: a request that creates, sent twice under one key, is carried out once.

The key stands in the row of what was created, in the same transaction (`pipelines.store.intake`), so it holds through
crashes and between gateways. The same key with another body is 422. Knows no route.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from fastapi import Header, Request, Response
from pydantic import BaseModel

from pipelines.store.request_keys import Keys, RequestKey
from serving.gateway.identity import owner
from serving.gateway.multipart import Upload
from serving.gateway.services import services

REPLAYED = "Idempotency-Replayed"
"""Header of an answer that an earlier request had already."""
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of your own. The same request under the same key creates nothing twice.",
    ),
]


def request_key(request: Request, key: str | None, body: BaseModel) -> Keys:
    """The client's name for this request, if it gave one."""
    return () if key is None else (RequestKey(f"idempotency:{key}", fingerprint(request, body)),)


async def is_repeated(request: Request, response: Response, keys: Keys) -> bool:
    """Whether an earlier request with one of `keys` did this already; the answer says so then. Raises KeyReused."""
    if await services(request).ads.intake.known(owner(request), keys) is None:
        return False
    response.headers[REPLAYED] = "true"
    return True


def fingerprint(request: Request, body: BaseModel) -> str:
    """sha256 of the address and of the checked body: the same for JSON of another layout and for another boundary."""
    text = json.dumps([request.url.path, _plain(body)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Upload):
        return hashlib.sha256(value.data).hexdigest()
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
