"""`/api/auth`: login, refresh, logout, tickets for browsers, and API keys for programs."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serving.errors import Forbidden
from serving.gateway.auth.auth import Auth
from serving.gateway.auth.login import log_in
from serving.gateway.auth.login import refresh as refreshed
from serving.gateway.auth.opaque_tokens import hashed, new_key, new_token
from serving.gateway.identity import caller, owner
from serving.gateway.schemas.auth import (
    KeyList,
    KeyRequest,
    LoginRequest,
    NewKeyObject,
    RefreshRequest,
    TicketResponse,
    TokenResponse,
    key_object,
    token_response,
)
from serving.gateway.services import services

router = APIRouter(prefix="/api/auth", tags=["auth"])

TICKET_SECONDS = 30
NO_STORE = {"Cache-Control": "no-store"}


@router.post("/login")
async def login(request: Request, response: Response, body: LoginRequest) -> TokenResponse:
    """Tokens for a username and a password. 429 after too many wrong ones."""
    response.headers.update(NO_STORE)
    address = request.client.host if request.client else "unknown"
    return token_response(await log_in(_auth(request), body.username, body.password.get_secret_value(), address))


@router.post("/refresh")
async def refresh(request: Request, response: Response, body: RefreshRequest) -> TokenResponse:
    """New tokens for a refresh token, which is good once. One that comes again ends its login."""
    response.headers.update(NO_STORE)
    return token_response(await refreshed(_auth(request), body.refresh_token.get_secret_value()))


@router.post("/logout", status_code=204)
async def logout(request: Request) -> None:
    """End this login: its access and refresh tokens are worth nothing from now on."""
    await _auth(request).logins.end(_login_id(request))


@router.post("/ticket")
async def ticket(request: Request, response: Response) -> TicketResponse:
    """A ticket for one WebSocket or event stream of a browser, which can set no header there. Good once."""
    response.headers.update(NO_STORE)
    asking, text = caller(request), new_token()
    await _auth(request).logins.issue_ticket(
        asking.user_id, asking.credential, asking.scopes, hashed(text), TICKET_SECONDS
    )
    return TicketResponse(ticket=text, expires_in=TICKET_SECONDS)


@router.post("/keys", status_code=201)
async def create_key(request: Request, response: Response, body: KeyRequest) -> NewKeyObject:
    """A key for a program; it serves as the API key of any OpenAI client."""
    response.headers.update(NO_STORE)
    _login_id(request)
    key, scopes = new_key(), tuple(dict.fromkeys(body.scopes))
    made = await _auth(request).accounts.add_key(owner(request), key.id, key.secret_hash, body.name, scopes)
    return NewKeyObject(**key_object(made).model_dump(), key=key.text)


@router.get("/keys")
async def list_keys(request: Request) -> KeyList:
    """The caller's keys, without their secrets."""
    return KeyList(items=[key_object(key) for key in await _auth(request).accounts.keys(owner(request))])


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(request: Request, key_id: str) -> None:
    """From now on nobody asks with this key."""
    _login_id(request)
    await _auth(request).accounts.revoke_key(owner(request), key_id)


def _auth(request: Request) -> Auth:
    return services(request).auth


def _login_id(request: Request) -> str:
    """Of the login that asks. Raises Forbidden for an API key or a ticket: it could make itself a wider key."""
    login_id = caller(request).login_id
    if login_id is None:
        raise Forbidden("this needs an access token of POST /api/auth/login; an API key is not enough")
    return login_id
