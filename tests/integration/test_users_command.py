"""`admint users …` on the database of a server, as an operator uses it."""

import asyncio

import pytest
from typer.testing import CliRunner

from pipelines.errors import BadInput, NotFound
from pipelines.store.accounts import Accounts
from pipelines.store.logins import Logins
from serving.cli.main import app
from serving.gateway.auth import login as passwords
from serving.gateway.auth.tokens import hashed, read_key
from serving.server.store import open_server_store
from tests.support.gateway_users import PASSWORD, cheap_passwords


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    monkeypatch.delenv("ADMINT_DATABASE", raising=False)
    cheap = cheap_passwords()
    monkeypatch.setattr(passwords, "Passwords", lambda: cheap)
    return tmp_path


def users(*arguments, typed=""):
    result = CliRunner().invoke(app, ["users", *arguments], input=typed)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def rows(look):
    async def opened():
        store = await open_server_store()
        try:
            return await look(store.database)
        finally:
            await store.close()

    return asyncio.run(opened())


def stored_password(name):
    return rows(lambda database: Accounts(database).password_of(name))


def test_a_user_is_added_with_a_password_that_is_asked_for_twice():
    users("add", "anna", typed=f"{PASSWORD}\n{PASSWORD}\n")
    users("add", "boss", "--admin", "--password-stdin", typed=f"{PASSWORD}\n")
    anna, stored = stored_password("anna")
    assert anna.role == "user"
    assert asyncio.run(cheap_passwords().verify(PASSWORD, stored))[0]
    listed = users("list")
    assert "anna" in listed
    assert "admin" in listed
    assert PASSWORD not in listed


@pytest.mark.parametrize("name", ["Anna", "", "-x", "a b", "a" * 65, "ä"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(BadInput, match="is no username"):
        users("add", "--password-stdin", "--", name, typed=f"{PASSWORD}\n")


def test_a_short_password_is_refused():
    with pytest.raises(BadInput, match="12 to 1024 characters"):
        users("add", "anna", "--password-stdin", typed="short\n")


def test_a_disabled_user_is_out_until_enabled_again():
    users("add", "anna", "--password-stdin", typed=f"{PASSWORD}\n")
    key = users("key", "create", "anna", "laptop").strip()
    holder = read_key(key) or ()
    anna = stored_password("anna")[0]
    login = rows(lambda database: Logins(database).open(anna.id, hashed("x"), 1.0))
    users("disable", "anna")
    assert "disabled" in users("list")
    assert rows(lambda database: Accounts(database).key_holder(*holder)) is None
    users("enable", "anna")
    assert rows(lambda database: Accounts(database).key_holder(*holder))[0].username == "anna"
    assert rows(lambda database: Logins(database).holder(login)) is None


def test_a_new_password_replaces_the_old_one():
    users("add", "anna", "--password-stdin", typed=f"{PASSWORD}\n")
    users("password", "anna", "--password-stdin", typed="quite another one\n")
    stored = stored_password("anna")[1]
    assert asyncio.run(cheap_passwords().verify("quite another one", stored))[0]
    assert not asyncio.run(cheap_passwords().verify(PASSWORD, stored))[0]


def test_keys_are_made_listed_and_revoked():
    users("add", "anna", "--password-stdin", typed=f"{PASSWORD}\n")
    key = users("key", "create", "anna", "scraper", "--read-only").strip()
    key_id, secret_hash = read_key(key) or ("", "")
    listed = users("key", "list", "anna")
    assert key_id in listed
    assert "scraper" in listed
    assert key not in listed
    _, known = rows(lambda database: Accounts(database).key_holder(key_id, secret_hash))
    assert known.scopes == ("read",)
    users("key", "revoke", "anna", key_id)
    assert key_id not in users("key", "list", "anna")
    with pytest.raises(NotFound):
        users("key", "revoke", "anna", key_id)


@pytest.mark.parametrize(
    "command", [("disable",), ("enable",), ("password", "--password-stdin"), ("key", "list"), ("key", "create")]
)
def test_an_unknown_user_is_named(command):
    more = ("laptop",) if command == ("key", "create") else ()
    with pytest.raises(NotFound, match="'nobody'"):
        users(*command, "nobody", *more, typed=f"{PASSWORD}\n")
