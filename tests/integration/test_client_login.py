"""The tokens of a login against a real server: renewed once whoever asks, and over when the server says so."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.errors import NotFound
from serving.client.http import connect
from serving.client.login import Credentials, Key, LoginTokens, access_to, credentials_file, key_login, password_login
from serving.errors import Unauthenticated, Unreachable
from tests.support.gateway_server import serve
from tests.support.gateway_users import PASSWORD, new_user


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("server"), working=False) as server:
        server.call(new_user(server.services.auth, "anna"))
        yield server


@pytest.fixture(autouse=True)
def own_config(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("ADMINT_API_KEY", "ADMINT_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file():
    return Credentials(credentials_file())


@pytest.fixture
def logged_in(server, file):
    """Anna's login, whose access token is not good any more."""
    login = password_login(server.url, "anna", PASSWORD)
    spent = login.model_copy(update={"access_token": "spent"})
    file.begin(server.url, spent)
    return spent


def ask(server, path="/v1/models", access=None):
    async def asked():
        async with connect(server.url, access) as connection:
            return (await connection.call("GET", path)).json()

    return asyncio.run(asked())


def test_a_wrong_password_and_an_unknown_key_are_refused(server):
    with pytest.raises(Unauthenticated, match="wrong username or password"):
        password_login(server.url, "anna", "not this one")
    with pytest.raises(Unauthenticated, match="does not know this API key"):
        key_login(server.url, "admint_000000000000_" + "0" * 64)
    assert key_login(server.url, server.key).api_key == server.key


def test_an_access_token_that_is_spent_is_renewed_without_a_word(server, file, logged_in):
    assert ask(server)["object"] == "list"
    kept = file.read().servers[server.url]
    assert kept.access_token != "spent"  # noqa: S105
    assert kept.refresh_token != logged_in.refresh_token
    assert kept.username == "anna"


def test_many_that_find_it_spent_at_once_spend_one_refresh_token(server, file, logged_in):
    with ThreadPoolExecutor(8) as pool:
        renewed = set(pool.map(lambda _: LoginTokens(server.url, file).renewed("spent"), range(8)))
    assert renewed == {file.read().servers[server.url].access_token}
    assert ask(server)["object"] == "list", "a token that is spent twice would have ended the login"


def test_a_login_that_is_over_says_how_to_log_in_again_and_is_forgotten(server, file, logged_in):
    file.begin(server.url, logged_in.model_copy(update={"refresh_token": "never given"}))
    with pytest.raises(Unauthenticated, match=f"admint login --server {server.url}"):
        ask(server)
    assert file.read().servers == {}
    with pytest.raises(Unauthenticated, match="admint login"):
        ask(server)


def test_the_environment_comes_before_the_login_and_a_file_of_mode_600_does_too(
    server, file, logged_in, monkeypatch, tmp_path
):
    path = tmp_path / "key"
    path.write_text(f"{server.key}\n")
    path.chmod(0o600)
    monkeypatch.setenv("ADMINT_API_KEY_FILE", str(path))
    assert access_to(server.url).token() == server.key
    monkeypatch.setenv("ADMINT_API_KEY", "another")
    assert access_to(server.url).token() == "another"
    assert file.read().servers[server.url] == logged_in


def test_a_token_goes_to_its_own_server_only(server, logged_in):
    with pytest.raises(Unauthenticated, match="no login and no key for http://elsewhere:1"):
        access_to("http://elsewhere:1")


def test_an_answer_of_the_server_is_our_own_error(server):
    with pytest.raises(NotFound):
        ask(server, "/api/v1/generations/none", Key(server.key))


def test_a_server_that_is_not_there_is_unreachable():
    with pytest.raises(Unreachable, match="no connection to http://127"):
        password_login("http://127.0.0.1:1", "anna", PASSWORD)
