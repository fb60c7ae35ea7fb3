"""The file of tokens: for its owner only, whole or not at all, one entry per server."""

import stat

import pytest

from serving.client.login import Credentials, Login, credentials_file, read_private
from serving.errors import UnsafeCredentials

ONE, TWO = "http://one:8000", "http://two:8000"
LOGIN = Login(username="anna", access_token="access-1", refresh_token="refresh-1")  # noqa: S106


@pytest.fixture
def file(tmp_path):
    return Credentials(tmp_path / "config" / "credentials.json")


def test_the_file_lies_under_the_config_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert credentials_file() == tmp_path / "admint" / "credentials.json"


def test_without_a_file_nobody_is_logged_in(file):
    assert file.read().servers == {}


def test_what_is_kept_is_read_again_and_only_its_owner_may_read_it(file):
    file.begin(ONE, LOGIN)
    assert file.read().servers == {ONE: LOGIN}
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in file.path.parent.iterdir() if path.suffix != ".lock"] == [file.path.name]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused_and_not_repaired(file, mode):
    file.begin(ONE, LOGIN)
    file.path.chmod(mode)
    with pytest.raises(UnsafeCredentials, match="chmod 600"):
        file.read()
    assert stat.S_IMODE(file.path.stat().st_mode) == mode


def test_a_damaged_file_is_one_line_that_quotes_no_token(file):
    file.begin(ONE, LOGIN)
    file.path.write_text('{"servers": {"http://one:8000": {"access_token": "access-1", "colour": 1}}}')
    with pytest.raises(UnsafeCredentials) as caught:
        file.read()
    assert "admint login" in str(caught.value)
    assert "access-1" not in str(caught.value)


def test_every_server_has_its_own_entry_and_the_last_login_is_the_latest(file):
    file.begin(ONE, LOGIN)
    file.begin(TWO, Login(api_key="key"))
    known = file.read()
    assert (known.latest, set(known.servers)) == (TWO, {ONE, TWO})
    file.forget(TWO)
    assert (file.read().latest, set(file.read().servers)) == (None, {ONE})
    assert "key" not in file.path.read_text()


def test_a_new_pair_of_tokens_does_not_change_which_login_is_the_latest(file):
    file.begin(ONE, LOGIN)
    file.begin(TWO, LOGIN)
    file.keep(ONE, LOGIN.model_copy(update={"access_token": "access-2"}))
    assert file.read().latest == TWO
    assert file.read().servers[ONE].access_token == "access-2"  # noqa: S105


def test_no_token_is_shown_by_what_holds_it():
    assert "access-1" not in repr(LOGIN) and "refresh-1" not in repr(LOGIN)


def test_a_key_file_is_read_only_when_it_is_private(tmp_path):
    path = tmp_path / "key"
    path.write_text("admint_key\n")
    path.chmod(0o600)
    assert read_private(path) == "admint_key\n"
    path.chmod(0o644)
    with pytest.raises(UnsafeCredentials, match="644"):
        read_private(path)
    with pytest.raises(UnsafeCredentials, match="cannot read"):
        read_private(tmp_path / "none")
