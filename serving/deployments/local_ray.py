"""A Ray of this machine alone: it listens on loopback only, and starts nothing that a single machine has no use for.

Everything it writes lies in a folder of its own that only its owner can enter, so servers of one machine never meet:
no shared session, no shared token, no fixed port.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
import ray._private.auto_init_hook
import ray._private.node
import ray._private.worker
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

from serving.errors import StartFailed
from serving.logs import LogReader, Terminal, line_of

OBJECT_STORE_BYTES = 512 * 2**20
"""Clips pass through the object store, and stay for a moment."""
PREFIX = "admint-ray-"
KEPT_FOLDERS = 3
"""Of servers that have ended: their logs say why a replica died."""
LONGEST_FOLDER = 36
"""Letters: Ray adds 66 to reach its sockets, and the system takes 107."""
LOOPBACK = "127.0.0.1"
TRIES = 2
MESSAGE_LETTERS = 160
"""Of a message of Ray's: what follows is advice for clusters, and all of it is in its logs."""


@contextmanager
def local_ray(terminal: Terminal) -> Iterator[Path]:
    """Run a Ray while the context lasts; entered when it answers, with the folder of its logs.

    What its processes log goes to `terminal`. A busy machine gets a second try. Raises StartFailed, and SystemExit when
    SIGTERM comes meanwhile.
    """
    with _own_folder() as folder:
        _environment(folder)
        lines = LogReader(folder / "log.sock", terminal.show)
        os.environ["ADMINT_LOG_SOCKET"] = str(folder / "log.sock")
        try:
            with _messages_to(terminal):
                _start(folder, terminal.say)
                yield folder / "ray" / "session_latest" / "logs"
        finally:
            # Ray starts another Ray for whoever calls it when it has ended, Serve's client of the controller too.
            ray._private.auto_init_hook.enable_auto_connect = False
            leave_ray()
            del os.environ["ADMINT_LOG_SOCKET"]
            lines.close()


def ray_environment() -> None:
    """What every Ray of this project is told, here or on a cluster: no usage statistics, and never without a token.

    Without a token whoever reaches one of Ray's ports runs what he likes, as the server's user.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Ray's own lines would bury those that a user waits for; its logs are in the session's folder.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    # Ray has read the environment when it was imported.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def leave_ray() -> None:
    """End this process's connection to Ray, and a Ray that is its own.

    Nobody tells Serve's client of the controller: what it has still to do then fails with a traceback that is of no use
    to anyone (seen once, at a Ctrl-C during the start).
    """
    logging.getLogger("asyncio").addFilter(_of_no_ended_client)
    ray.shutdown()


def _of_no_ended_client(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Exception in callback LongPollClient")


QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
"""Of `ray.init`."""


def _environment(folder: Path) -> None:
    os.environ["RAY_AUTH_MODE"] = "token"
    token = folder / "auth_token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.environ.pop("RAY_AUTH_TOKEN", None)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    # Ray gives every replica the same low priority (15); here the gateway takes a lower one by itself.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # A busy machine takes its time: Ray's own patience is half a minute and a minute.
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
    ray_environment()


def _start(folder: Path, tell: Callable[[str], None]) -> None:
    for left in reversed(range(TRIES)):
        try:
            with _lone_node():
                ray.init(
                    address="local",  # whatever RAY_ADDRESS says
                    # Replicas of the embedded profile share cores: shares below one, two whole ones in all.
                    num_cpus=max(2, os.cpu_count() or 2),
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=str(folder / "ray"),  # Ray opens it to everybody; the folder above it stays closed
                    **QUIET,
                )
            return
        except Exception as error:  # Ray raises plain exceptions when one of its processes is late or dies
            ray.shutdown()
            _LoneNode.end_last()
            if not left:
                raise StartFailed(
                    f"Ray did not start ({_first_line(error)}): if this machine is busy, wait and start again; "
                    f"Ray's logs are in {folder}/ray/session_latest/logs"
                ) from error
            tell(f"Ray did not start in time ({_first_line(error)}): trying once more")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0][:200] or type(error).__name__


class _LoneNode(ray._private.node.Node):  # type: ignore[misc]
    """A head node without the three processes that serve others: dashboard, autoscaler and log collector.

    They take 0.3 GB, 2 s of CPU and a second of every start, and two of them listen. `ray.init` has no options for
    that, nor for a loopback address, which it replaces by the machine's own.
    """

    last: _LoneNode | None = None

    def __init__(self, ray_params: Any, **options: Any) -> None:
        _LoneNode.last = self
        ray_params.node_ip_address = LOOPBACK
        ray_params.include_log_monitor = False
        ray_params.no_monitor = True
        ray_params.dashboard_agent_listen_port = 0
        super().__init__(ray_params, **options)

    @classmethod
    def end_last(cls) -> None:
        """End what a start that failed has left running: `ray.shutdown` does not know of it."""
        if cls.last is not None:
            with suppress(Exception):
                cls.last.kill_all_processes(check_alive=False)

    def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        self._webui_url = ""


@contextmanager
def _lone_node() -> Iterator[None]:
    usual = ray._private.node.Node
    ray._private.node.Node = _LoneNode
    try:
        yield
    finally:
        ray._private.node.Node = usual


@contextmanager
def _messages_to(terminal: Terminal) -> Iterator[None]:
    """Let what Ray itself reports, such as a process that died, be a line like any other."""

    def show(data: Mapping[str, Any], **_: Any) -> None:
        for message in data["lines"]:
            terminal.show(line_of("Ray", "WARNING", message[:MESSAGE_LETTERS]))

    usual = ray._private.worker.print_to_stdstream
    ray._private.worker.print_to_stdstream = show
    try:
        yield
    finally:
        ray._private.worker.print_to_stdstream = usual


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A new folder, locked while the context lasts. It stays, for its logs, until KEPT_FOLDERS later ones have ended.

    The lock also keeps systemd-tmpfiles from cleaning away the sockets of a server that runs for weeks.
    """
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) + len(PREFIX) + 8 > LONGEST_FOLDER:
        parent = Path("/tmp")  # noqa: S108  (mkdtemp below makes a folder of our own)
    _remove_ended(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(held)


def _remove_ended(parent: Path) -> None:
    """Remove the folders of servers of this user that have ended, but for the newest."""
    ended: list[tuple[float, Path]] = []
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink() and _unlocked(folder):
                ended.append((status.st_mtime, folder))
    for _, folder in sorted(ended, reverse=True)[KEPT_FOLDERS:]:
        shutil.rmtree(folder, ignore_errors=True)


def _unlocked(folder: Path) -> bool:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(held)
    return True


def close_to_others(logs: Path) -> None:
    """Take back the rights for everybody that Ray gives to its session, once all of its processes have started.

    Nobody else gets there in any case; this is for those who look at the modes.
    """
    for path, folders, files in os.walk(logs.parents[1]):
        for name in (".", *folders, *files):
            each = Path(path, name)
            if not each.is_symlink():
                with suppress(OSError):
                    each.chmod(each.stat().st_mode & 0o700)
