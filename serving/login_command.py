"""`admint login` and `admint logout`: who asks a server, kept in a file for its owner's eyes only.

A password or key is typed or piped, never an argument that a list of processes shows, and never printed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from serving.tools.options import KnownServer

ON_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def login(
    server: KnownServer = None,
    username: Annotated[str | None, typer.Option("--username", help="Asked for when left out.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Keep an API key, read from standard input, instead of a login.")
    ] = False,
) -> None:
    """Log in to a server, for every command with --server."""
    from pipelines.errors import BadInput
    from serving.client.connection import known_server
    from serving.client.credentials import Credentials, credentials_file
    from serving.client.login import log_in, with_key

    if api_key_stdin and (username is not None or password_stdin):
        raise BadInput("--api-key-stdin needs neither a username nor a password: leave them out")
    address = known_server(server)
    _warn_of_plain_text(address)
    file = Credentials(credentials_file())
    file.read()  # a file that others can read is refused before anything is asked
    if api_key_stdin:
        entry = with_key(address, _piped("API key"))
    else:
        name = username or typer.prompt("Username")
        password = _piped("password") if password_stdin else typer.prompt("Password", hide_input=True)
        entry = log_in(address, name, password)
    file.begin(address, entry)
    typer.echo(f"{address}: logged in {f'as {entry.username}' if entry.username else 'with an API key'}")


def logout(server: KnownServer = None) -> None:
    """End the login on its server, and forget it here. An API key is only forgotten: it may be in use elsewhere."""
    from serving.client.connection import known_server
    from serving.client.credentials import Credentials, credentials_file
    from serving.errors import ServingError

    file, address = Credentials(credentials_file()), known_server(server)
    entry = file.read().servers.get(address)
    if entry is None:
        typer.echo(f"{address}: nobody was logged in")
        return
    try:
        if entry.api_key is None:
            asyncio.run(_end(address))
    except ServingError as error:
        typer.echo(f"warning: the login could not be ended there ({error})", err=True)
    with file.locked():
        file.forget(address)
    typer.echo(f"{address}: logged out")


async def _end(server: str) -> None:
    from serving.client.access import Session
    from serving.client.connection import connect
    from serving.client.credentials import Credentials, credentials_file

    async with connect(server, Session(server, Credentials(credentials_file()))) as connection:
        await connection.call("POST", "/api/auth/logout")


def _piped(what: str) -> str:
    from pipelines.errors import BadInput

    text = sys.stdin.readline().strip("\r\n")
    if not text:
        raise BadInput(f"standard input holds no {what}: pipe it in, as one line")
    return text


def _warn_of_plain_text(address: str) -> None:
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in ON_THIS_MACHINE:
        typer.echo(f"warning: {address} is not encrypted: others on the way can read what is sent there", err=True)
