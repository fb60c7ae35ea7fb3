"""`admint users`: accounts and API keys of the server on this machine, changed directly in its database.

Over HTTP nobody adds users. A password is typed or piped: as an argument it would show in every list of processes.
Errors go up to `serving.cli.main`, which maps them to exit codes.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from pipelines.store.account_tables import Scope
    from pipelines.store.accounts import Accounts
    from pipelines.store.database import Database


Result = TypeVar("Result")
USERNAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")

app = typer.Typer(help="Who may use the server on this machine: users and their API keys.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys of a user, for programs.", no_args_is_help=True)
app.add_typer(keys_app, name="key")

Username = Annotated[str, typer.Argument(help="As `admint users list` shows it.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command()
def add(
    username: Annotated[str, typer.Argument(help="Small letters, digits and . _ @ - (1 to 64).")],
    admin: Annotated[bool, typer.Option("--admin", help="May also read the server's metrics.")] = False,
    password_stdin: PasswordStdin = False,
) -> None:
    """Add a user; asks for the password."""
    from pipelines.errors import BadInput

    if not USERNAME.fullmatch(username):
        raise BadInput(f"{username!r} is no username: use small letters, digits and . _ @ - (1 to 64)")
    password_hash = _new_hash(password_stdin)
    _run(lambda accounts: accounts.add_user(username, password_hash, "admin" if admin else "user"))
    typer.echo(f"{username}: added")


@app.command("list")
def list_users() -> None:
    """List every user."""
    from rich.console import Console
    from rich.table import Table

    table = Table("username", "role", "state", "since", "id")
    for user in _run(lambda accounts: accounts.users()):
        state = "disabled" if user.disabled else "enabled"
        table.add_row(user.username, user.role, state, f"{user.created_at:%Y-%m-%d}", user.id)
    Console().print(table)


@app.command()
def disable(username: Username) -> None:
    """Lock a user out at once, with all logins and keys. Generations and files of the user stay."""
    _run(lambda accounts: accounts.set_disabled(username, True))
    typer.echo(f"{username}: disabled")


@app.command()
def enable(username: Username) -> None:
    """Let a disabled user in again. Keys work again; logins do not."""
    _run(lambda accounts: accounts.set_disabled(username, False))
    typer.echo(f"{username}: enabled")


@app.command()
def password(username: Username, password_stdin: PasswordStdin = False) -> None:
    """Set a new password. It ends every login of the user and clears failed attempts."""
    from pipelines.store.logins import LoginAttempts

    _run(lambda accounts: accounts.user(username))
    password_hash = _new_hash(password_stdin)

    async def change(database: Database) -> None:
        await _accounts(database).set_password(username, password_hash)
        await LoginAttempts(database).forget(username)

    _with_database(change)
    typer.echo(f"{username}: password set")


@keys_app.command("create")
def create_key(
    username: Username,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    read_only: Annotated[bool, typer.Option("--read-only", help="The key may read, and change nothing.")] = False,
) -> None:
    """Make an API key and print it: it is shown only now. Only the key goes to standard output."""
    from pipelines.errors import BadInput
    from serving.gateway.auth.tokens import new_key

    if not 1 <= len(name.strip()) <= 100:
        raise BadInput(f"a key's name has 1 to 100 characters (got {name!r})")
    key = new_key()
    scopes: tuple[Scope, ...] = ("read",) if read_only else ("read", "write")

    async def create(accounts: Accounts) -> None:
        user = await accounts.user(username)
        await accounts.add_key(user.id, key.id, key.secret_hash, name.strip(), scopes)

    _run(create)
    typer.echo(f"{username}: key {key.id} ({', '.join(scopes)}), shown only now:", err=True)
    typer.echo(key.text)


@keys_app.command("list")
def list_keys(username: Username) -> None:
    """List the keys of a user that are not revoked."""
    from rich.console import Console
    from rich.table import Table

    table = Table("id", "name", "scopes", "since")
    for key in _run(lambda accounts: _then(accounts, username, lambda user_id: accounts.keys(user_id))):
        table.add_row(key.id, key.name, ", ".join(key.scopes), f"{key.created_at:%Y-%m-%d}")
    Console().print(table)


@keys_app.command("revoke")
def revoke_key(
    username: Username, key_id: Annotated[str, typer.Argument(help="As `admint users key list` shows it.")]
) -> None:
    """Revoke a key: it is refused from now on."""
    _run(lambda accounts: _then(accounts, username, lambda user_id: accounts.revoke_key(user_id, key_id)))
    typer.echo(f"{username}: key {key_id} revoked")


async def _then(accounts: Accounts, username: str, work: Callable[[str], Awaitable[Result]]) -> Result:
    return await work((await accounts.user(username)).id)


def _new_hash(from_stdin: bool) -> str:
    from serving.gateway.auth.login import Passwords

    if from_stdin:
        typed = sys.stdin.readline().rstrip("\n")
    else:
        typed = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return Passwords().hash(typed)


def _run(work: Callable[[Accounts], Awaitable[Result]]) -> Result:
    return _with_database(lambda database: work(_accounts(database)))


def _accounts(database: Database) -> Accounts:
    from pipelines.store.accounts import Accounts

    return Accounts(database)


def _with_database(work: Callable[[Database], Awaitable[Result]]) -> Result:
    from serving.server.store import open_server_store

    async def opened() -> Result:
        store = await open_server_store()
        try:
            return await work(store.database)
        finally:
            await store.close()

    return asyncio.run(opened())
