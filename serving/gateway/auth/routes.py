"""`/api/auth`: login by tokens or by a cookie, refresh, logout, tickets for browsers, and API keys for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field, SecretStr, StringConstraints

from models.interfaces import Plain
from pipelines.store.account_tables import ApiKey, Role, Scope, User
from serving.errors import Forbidden
from serving.gateway.auth.cookies import clear_cookie, set_cookie
from serving.gateway.auth.gate import caller, owner
from serving.gateway.auth.login import DAY, LOGIN_DAYS, MAX_CHARACTERS, Auth, Tokens, log_in, log_in_browser
from serving.gateway.auth.login import refresh as refreshed
from serving.gateway.auth.tokens import LIFE_SECONDS, hashed, new_key, new_token
from serving.gateway.browsers import is_foreign_page
from serving.gateway.requests import BodyRoute, Id

MAX_TOKEN = 4096


class LoginRequest(Plain):
    """Body of `POST /api/auth/login`."""

    username: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """1 to 64 characters."""
    password: Annotated[SecretStr, Field(min_length=1, max_length=MAX_CHARACTERS)]
    """The password of this user."""
    session: Literal["tokens", "cookie"] = "tokens"
    """`cookie`, for a browser: the answer sets a cookie that stands for the login, and no script sees a token."""


class RefreshRequest(Plain):
    """Body of `POST /api/auth/refresh`."""

    refresh_token: Annotated[SecretStr, Field(min_length=1, max_length=MAX_TOKEN)]
    """The newest one of the login; each is good once."""


class UserObject(Plain):
    """A user of this server."""

    id: str
    """Id of the user."""
    username: str
    """What the user logs in with."""
    role: Role
    """`user`, or `admin`, who may also read `/metrics`."""


class TokenResponse(Plain):
    """Tokens of a login or a refresh."""

    access_token: str
    """For `Authorization: Bearer`."""
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  (the name of the scheme)
    """How the token is sent."""
    expires_in: int = LIFE_SECONDS
    """Seconds of life of the access token."""
    refresh_token: str
    """Good once, for `POST /api/auth/refresh`; the answer has the next one."""
    user: UserObject
    """Whose login it is."""


class SessionResponse(Plain):
    """A login whose cookie the browser keeps and sends by itself."""

    session: Literal["cookie"] = "cookie"
    """What stands for the login."""
    expires_in: int = int(LOGIN_DAYS * DAY)
    """Seconds until the login ends."""
    user: UserObject
    """Whose login it is."""


class TicketResponse(Plain):
    """A ticket, which stands in an address where a header cannot be sent."""

    ticket: str
    """For `?ticket=` of one WebSocket or event stream."""
    expires_in: int
    """Seconds for which it can be redeemed, once."""


class KeyRequest(Plain):
    """Body of `POST /api/auth/keys`."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
    """What it is for."""
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=2)] = ("read", "write")
    """What it may do: `read` for GET, `write` for everything else."""


class KeyObject(Plain):
    """An API key, without its secret."""

    id: str
    """Id of the key, for `DELETE /api/auth/keys/{key_id}`."""
    name: str
    """What it is for."""
    scopes: tuple[Scope, ...]
    """What it may do: `read`, `write`."""
    created_at: datetime
    """When it was made, UTC."""


class NewKeyObject(KeyObject):
    """An API key that was just made, with its secret."""

    key: str
    """The whole key, shown this once."""


class KeyList(Plain):
    """The caller's API keys."""

    items: list[KeyObject]
    """Newest last."""


def token_response(tokens: Tokens) -> TokenResponse:
    return TokenResponse(access_token=tokens.access, refresh_token=tokens.refresh, user=user_object(tokens.user))


def user_object(user: User) -> UserObject:
    return UserObject(id=user.id, username=user.username, role=user.role)


def key_object(key: ApiKey) -> KeyObject:
    return KeyObject(id=key.id, name=key.name, scopes=key.scopes, created_at=key.created_at)


router = APIRouter(prefix="/api/auth", tags=["auth"], route_class=BodyRoute)

TICKET_SECONDS = 30


@router.post("/login")
async def login(request: Request, response: Response, body: LoginRequest) -> TokenResponse | SessionResponse:
    """Tokens for a username and a password, or a browser's cookie.

    Wrong passwords of one name from one address slow that pair down: then 429, with `Retry-After`.
    """
    auth, address = _auth(request), request.client.host if request.client else "unknown"
    password = body.password.get_secret_value()
    if body.session == "tokens":
        return token_response(await log_in(auth, body.username, password, address))
    if is_foreign_page(request, auth.origins):
        raise Forbidden("a page of another origin may log nobody in here: name its origin in ADMINT_CORS_ORIGINS")
    session = await log_in_browser(auth, body.username, password, address)
    set_cookie(response, request, auth.tokens, session.cookie)
    return SessionResponse(user=user_object(session.user))


@router.get("/me")
async def me(request: Request) -> UserObject:
    """Who asks: a page that was loaded anew learns whether its cookie is still good."""
    known = caller(request)
    return UserObject(id=known.user_id, username=known.username, role=known.role)


@router.post("/refresh")
async def refresh(request: Request, body: RefreshRequest) -> TokenResponse:
    """New tokens for a refresh token, which is good once. One that comes again ends its login."""
    return token_response(await refreshed(_auth(request), body.refresh_token.get_secret_value()))


@router.post("/logout", status_code=204)
async def logout(request: Request) -> Response:
    """End this login: its tokens and its cookie are worth nothing from now on."""
    await _auth(request).logins.end(_login_id(request))
    response = Response(status_code=204)
    clear_cookie(response, request, _auth(request).tokens)
    return response


@router.post("/ticket")
async def ticket(request: Request) -> TicketResponse:
    """A ticket for one WebSocket or event stream of a browser, which can set no header there. Good once."""
    asking, text = caller(request), new_token()
    if asking.credential is None:
        raise Forbidden("a signed address opens one file, and nothing else")
    await _auth(request).logins.issue_ticket(
        asking.user_id, asking.credential, asking.scopes, hashed(text), TICKET_SECONDS
    )
    return TicketResponse(ticket=text, expires_in=TICKET_SECONDS)


@router.post("/keys", status_code=201)
async def create_key(request: Request, body: KeyRequest) -> NewKeyObject:
    """A key for a program; it serves as the API key of any OpenAI client."""
    _login_id(request)
    key, scopes = new_key(), tuple(dict.fromkeys(body.scopes))
    made = await _auth(request).accounts.add_key(owner(request), key.id, key.secret_hash, body.name, scopes)
    return NewKeyObject(**key_object(made).model_dump(), key=key.text)


@router.get("/keys")
async def list_keys(request: Request) -> KeyList:
    """The caller's keys, without their secrets."""
    return KeyList(items=[key_object(key) for key in await _auth(request).accounts.keys(owner(request))])


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(request: Request, key_id: Id) -> None:
    """Revoke a key: it is worth nothing from now on."""
    _login_id(request)
    await _auth(request).accounts.revoke_key(owner(request), key_id)


def _auth(request: Request) -> Auth:
    found: Auth = request.app.state.services.auth  # `services` imports this folder: no import of it here
    return found


def _login_id(request: Request) -> str:
    """The id of the login that asks. Raises Forbidden for an API key or a ticket: it could make itself a wider key."""
    login_id = caller(request).login_id
    if login_id is None:
        raise Forbidden("this needs a login (POST /api/auth/login): an API key is not enough")
    return login_id
