"""The Ray of one machine, as far as it shows without starting one. (`tests/e2e/test_server.py` starts it.)"""

import fcntl
import logging
import os
import stat
import tempfile

import pytest
import ray
from ray._private import auto_init_hook

from serving.cli.main import exit_code, one_line
from serving.deployments import local_ray, server
from serving.errors import StartFailed
from serving.logs import Terminal

LATE = Exception(
    "The current node timed out during startup. This could happen because some of the raylet failed to start."
)


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """Short: sockets lie below it."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(local_ray, "LONGEST_FOLDER", 500)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):  # given back afterwards
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(local_ray, "AuthenticationTokenLoader", Forgetful)
    monkeypatch.setattr(auto_init_hook, "enable_auto_connect", True)
    return tmp_path


class Forgetful:
    """No Ray of this process is to hear of another token."""

    @classmethod
    def instance(cls):
        return cls()

    def reset_cache(self):
        return None


def starting(monkeypatch, *answers):
    """Let `ray.init` answer so, one after the other."""
    left = list(answers)

    def init(**options):
        answer = left.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)


def test_a_start_that_is_late_is_tried_once_more_with_a_line(monkeypatch, capsys):
    starting(monkeypatch, LATE, None)
    with local_ray.local_ray(Terminal("text")):
        said = capsys.readouterr().out
    assert said == "Ray did not start in time (The current node timed out during startup): trying once more\n"


def test_what_serve_still_does_with_a_ray_that_has_ended_starts_no_other_one_and_shows_no_traceback(
    monkeypatch, caplog
):
    starting(monkeypatch, None)
    with local_ray.local_ray(Terminal("text")):
        pass
    auto_init_hook.auto_init_ray()  # as every call of Ray's does; `ray.init` has no second answer
    logging.getLogger("asyncio").error("Exception in callback LongPollClient._poll_next()")
    logging.getLogger("asyncio").error("Exception in callback of ours")
    assert [record.getMessage() for record in caplog.records] == ["Exception in callback of ours"]


def test_a_second_late_start_is_one_line_and_an_exit_code(monkeypatch, tmp_path):
    starting(monkeypatch, LATE, LATE)
    with pytest.raises(StartFailed) as failed, local_ray.local_ray(Terminal("text")):
        pass
    assert exit_code(failed.value) == 3
    assert "if this machine is busy, wait and start again" in one_line(failed.value)
    assert str(tmp_path) in one_line(failed.value)  # where the logs are


def test_the_folder_of_a_server_is_its_owners_and_its_token_is_its_own(monkeypatch, tmp_path):
    starting(monkeypatch, None, None)
    tokens = set()
    for _ in range(2):
        with local_ray.local_ray(Terminal("text")) as logs:
            folder = logs.parents[2]
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert os.environ["RAY_AUTH_MODE"] == "token"
            assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(folder / "auth_token")
            assert "RAY_AUTH_TOKEN" not in os.environ
            assert stat.S_IMODE((folder / "auth_token").stat().st_mode) == 0o600
            tokens.add((folder / "auth_token").read_text())
    assert len(tokens) == 2


def test_folders_of_ended_servers_are_removed_but_for_the_newest_and_for_those_that_run(monkeypatch, tmp_path):
    starting(monkeypatch, None)
    folders = [tmp_path / f"{local_ray.PREFIX}{number}" for number in range(6)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        os.utime(folder, (number, number))
    running = os.open(folders[0], os.O_RDONLY)
    fcntl.flock(running, fcntl.LOCK_EX)
    with local_ray.local_ray(Terminal("text")):
        left = {path.name for path in tmp_path.iterdir()}
    os.close(running)
    assert {folder.name for folder in (folders[0], *folders[3:])} <= left
    assert not {folder.name for folder in folders[1:3]} & left


SLOW = """Deployment 'Image' in application 'admint' has 1 replicas that have taken more than 30s to initialize.
This may be caused by a slow __init__ or reconfigure method."""
BROKEN = """The deployment failed to start 3 times in a row. See controller logs for details. Error:
ray::ServeReplica:admint:Image.initialize_and_get_metadata() (pid=7, ip=127.0.0.1)
  File "pictures.py", line 111, in __init__
models.errors.InvalidRequest: this machine has no CUDA device; use 'cpu'
"""


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            SLOW,
            "Deployment 'Image' in application 'admint' has 1 replicas that have taken more than 30s to initialize.",
        ),
        (BROKEN, "models.errors.InvalidRequest: this machine has no CUDA device; use 'cpu'"),
        ("", "no reason was given"),
    ],
)
def test_what_keeps_a_deployment_from_starting_is_one_line(message, said):
    assert server._reason(message) == said
