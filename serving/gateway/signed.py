"""Signed addresses: each opens one file of one owner to whoever has it, without credentials, for a while.

The gate reads them (`serving.gateway.auth.gate`); every route that names a file can make one.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request

from models.interfaces import Plain
from serving.gateway.auth.gate import owner
from serving.gateway.proxies import absolute_address
from serving.gateway.services import services

SIGNED_SECONDS = 3600
MAX_SIGNED_SECONDS = 24 * 3600
SignedSeconds = Annotated[int, Query(ge=1, le=MAX_SIGNED_SECONDS, description="How long the address is good for")]


class SignedAddress(Plain):
    """An address that opens one file to whoever has it, without credentials, for a while."""

    url: str
    """The whole address, as it is reached from where it was asked for."""
    expires_at: datetime
    """When it ends; it ends before when its owner is disabled or has the file no more."""
    media_type: str
    """Of the file."""
    size: int
    """Bytes of the file."""


async def signed(request: Request, sha256: str, seconds: int) -> SignedAddress:
    """A signed address of a file of the caller. Raises NotFound."""
    stored = await services(request).owners.find(owner(request), sha256)
    expires_at = int(time.time()) + seconds
    return SignedAddress(
        url=signed_address(request, sha256, expires_at),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
        media_type=stored.media_type,
        size=stored.size,
    )


def signed_address(request: Request, sha256: str, expires_at: int) -> str:
    """The address of a file of the caller, which everybody can open until `expires_at` (Unix seconds)."""
    signature = services(request).auth.tokens.sign_file(owner(request), sha256, expires_at)
    return f"{absolute_address(request, f'/v1/artifacts/{sha256}')}?signature={signature}"
