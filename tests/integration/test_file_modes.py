"""What the product writes for itself, only its owner reads: databases, artifacts, keys, weights it put together."""

import os
import stat

import pytest

from configs.settings import load_profile
from serving.profile_models import model_set
from serving.run_folder import open_run_folder
from serving.server.first_start import signing_key
from serving.server.store import open_server_store


@pytest.fixture(autouse=True)
def careless(monkeypatch):
    """The umask of most shells."""
    before = os.umask(0o022)
    for name in ("ADMINT_DATABASE", "ADMINT_SECRET", "ADMINT_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    yield
    os.umask(before)


def open_to_others(folder):
    """Every path below, and the folder itself, that has a right for group or others."""
    found = [folder, *folder.rglob("*")]
    assert len(found) > 1
    return {
        str(path.relative_to(folder)): oct(mode)
        for path in found
        if not path.is_symlink() and (mode := stat.S_IMODE(path.lstat().st_mode)) & 0o077
    }


async def test_a_servers_store_is_closed_to_others(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("ADMINT_HOME", str(home))
    opened = await open_server_store()
    signing_key()
    opened.artifacts.put(b"a clip", "video/mp4")
    assert {path.name for path in (home / "server").iterdir()} >= {"store.sqlite", "artifacts", "secret"}
    assert not open_to_others(home)
    await opened.close()


async def test_what_an_earlier_version_left_readable_is_closed_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    opened = await open_server_store()
    await opened.close()
    for path in (tmp_path / "server", tmp_path / "server" / "store.sqlite"):
        path.chmod(0o755)
    opened = await open_server_store()
    assert not open_to_others(tmp_path / "server")
    await opened.close()


def test_weights_that_are_put_together_are_closed_to_others_and_the_umask_is_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path / "home"))
    model_set(load_profile("sketch"))
    assert not open_to_others(tmp_path / "home")
    assert os.umask(0o022) == 0o022


async def test_the_state_of_a_local_run_is_closed_and_its_folder_is_as_the_user_wants(tmp_path):
    async with open_run_folder(tmp_path / "ad"):
        assert stat.S_IMODE((tmp_path / "ad").stat().st_mode) == 0o755
        assert stat.S_IMODE((tmp_path / "ad" / ".admint").stat().st_mode) == 0o700
