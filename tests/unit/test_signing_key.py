import stat
import threading

import pytest

from configs.settings import server_secret, shared_database
from pipelines.errors import BadInput
from serving.cli.main import exit_code
from serving.errors import UnsafeSecret
from serving.server.first_start import FIRST_FILE, FirstAdmin, signing_key
from tests.support.waiting import PATIENCE_SECONDS, ended


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    for name in ("ADMINT_SECRET", "ADMINT_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "good",
    [
        "9f86d081884c7d659a2feaa0c55ad015",
        "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "kQ3nV8yT5wX1zB7mC4rF9hJ2pL6sD0gA-aEuIoY_NbM",
        "ä" * 4 + "kX9?w_2Lq;0Tz!mR5vBn7Yc.",
    ],
)
def test_a_random_key_from_the_environment_is_taken_as_it_is(home, monkeypatch, good):
    monkeypatch.setenv("ADMINT_SECRET", good)
    assert signing_key() == good.encode()
    assert not (home / "server").exists()


@pytest.mark.parametrize(
    "bad",
    [
        "", "short", "9f86d081884c7d659a2feaa0c55ad01", "a" * 64, "ab" * 32, "0123456789" * 4,
        "0123456789" * 3 + "01234",
        "changeme-changeme-changeme-changeme", "Please-Change-This-To-Something-Random!",
        "my super SECRET key 1234567890 xyz", "CorrectHorsePasswordBatteryStaple123",
        "your-256-bit-key-goes-here-0123456789", "01010101000111010101011110101101",
    ],
)  # fmt: skip
@pytest.mark.parametrize("database", [None, "postgresql+psycopg://somewhere/admint"])
def test_a_short_one_a_placeholder_and_a_pattern_stop_the_start_in_one_line_without_being_repeated(
    monkeypatch, bad, database
):
    monkeypatch.setenv("ADMINT_SECRET", bad)
    if database:
        monkeypatch.setenv("ADMINT_DATABASE", database)
    with pytest.raises(UnsafeSecret, match="ADMINT_SECRET") as refused:
        signing_key()
    text = str(refused.value)
    assert "\n" not in text
    assert "openssl rand -hex 32" in text
    assert not bad or bad not in text
    assert exit_code(refused.value) == 2


def test_a_missing_one_stops_the_start_of_a_server_with_a_shared_database(home, monkeypatch):
    monkeypatch.setenv("ADMINT_DATABASE", "postgresql+psycopg://somewhere/admint")
    with pytest.raises(UnsafeSecret, match="ADMINT_SECRET is missing"):
        signing_key()
    assert not (home / "server").exists()


def test_the_embedded_default_makes_one_once_that_only_its_owner_reads(home):
    first = signing_key()
    path = home / "server" / "secret"
    assert signing_key() == first == path.read_bytes().strip()
    assert len(first) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_processes_that_start_together_end_with_one_key(home):
    barrier, keys = threading.Barrier(8), set()

    def start():
        barrier.wait(PATIENCE_SECONDS)
        keys.add(signing_key())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        ended(thread, "the signing key")
    assert len(keys) == 1


def test_a_file_that_others_can_read_is_refused(home):
    signing_key()
    (home / "server" / "secret").chmod(0o644)
    with pytest.raises(UnsafeSecret, match="mode 644"):
        signing_key()


def test_a_file_that_was_cut_is_refused_by_its_name(home):
    signing_key()
    path = home / "server" / "secret"
    path.write_text("abc")
    with pytest.raises(UnsafeSecret, match="secret has 3 bytes"):
        signing_key()


GOOD = "9f86d081884c7d659a2feaa0c55ad015"


def test_the_secret_may_lie_in_a_file(monkeypatch, tmp_path):
    (tmp_path / "mounted").write_text(f"{GOOD}\n")
    monkeypatch.setenv("ADMINT_SECRET_FILE", str(tmp_path / "mounted"))
    assert signing_key() == GOOD.encode()


@pytest.mark.parametrize("name", ["ADMINT_SECRET", "ADMINT_DATABASE"])
def test_a_setting_and_its_file_together_are_refused_and_so_is_a_file_that_is_not_there(monkeypatch, tmp_path, name):
    asked = server_secret if name == "ADMINT_SECRET" else shared_database
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match=f"{name}_FILE"):
        asked()
    (tmp_path / "nowhere").write_text(" \n")
    with pytest.raises(BadInput, match="is empty"):
        asked()
    monkeypatch.setenv(name, "x")
    with pytest.raises(BadInput, match="both set"):
        asked()


def test_credentials_for_a_log_go_into_a_file_of_their_owner(tmp_path):
    first = FirstAdmin("admin", "the password", "the key")
    for _ in range(2):  # a database that was made anew has another first admin
        told = first.kept()
    path = tmp_path / "server" / FIRST_FILE
    assert str(path) in told
    assert "the password" not in told
    assert "the key" not in told
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "the password" in path.read_text()
    assert "the key" in path.read_text()
