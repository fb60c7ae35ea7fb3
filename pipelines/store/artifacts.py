"""Files named by their sha256, in a local folder. A file under its final name is whole and on disk.

Order of a write: temporary file, fsync, rename, fsync of the folder; only then may a row name it. A file's time is when
its bytes were last put: files that were put since are not removed.

A disk can lose or change bytes later. What is read is compared with its name, and what is put again with what is there:
a damaged file is never handed out, and the next put of the same bytes repairs it.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from pipelines.errors import DamagedArtifact, NotFound, StorageFailed
from pipelines.steps import StoredArtifact
from pipelines.store.fault_points import fault_point

PART, ASIDE = ".part-", ".aside-"
"""First letters of a file that is being written, and of one that is being removed."""


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all. Raises StorageFailed when the disk is full or not writable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fault_point("before_temp_write")
        temporary = path.parent / f"{PART}{secrets.token_hex(8)}"
        # The process's umask decides who may read it: a server's lets nobody else.
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                fault_point("before_temp_sync")
                os.fsync(file.fileno())
            fault_point("before_rename")
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fault_point("before_folder_sync")
        sync_folder(path.parent)
        fault_point("after_folder_sync")
    except OSError as error:
        raise storage_failure(path, error) from error


def storage_failure(path: Path, error: OSError) -> StorageFailed:
    """The error for a disk that is full or not writable, in one wording."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFailed(f"no space left while writing {str(path)!r}: free some disk space, then resume")
    return StorageFailed(f"cannot write {str(path)!r} ({error.strerror}): make the folder writable, then resume")


REMEMBERED_FILES = 4096
"""Files that are known to be whole until they change: serving one range of a video does not read all of it."""
_CHUNK = 1024 * 1024


class LocalArtifacts:
    """Artifacts under `root/ab/cdef…`. The same bytes are stored once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._whole: OrderedDict[str, tuple[int, int, int]] = OrderedDict()
        """Inode, size and time of change of files whose bytes were compared with their names."""

    def path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256[2:]

    def put(self, data: bytes, media_type: str) -> StoredArtifact:
        """Store `data`; returns when it is on disk, also where a damaged file was. Raises StorageFailed."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        if not _holds(path, data) or not _put_again(path):
            write_durably(path, data)
        return StoredArtifact(sha256=sha256, media_type=media_type, size=len(data))

    def read(self, sha256: str) -> bytes:
        """The bytes of an artifact. Raises NotFound, DamagedArtifact, StorageFailed."""
        with self._reading(sha256):
            data = self.path(sha256).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise _damaged(sha256)
        return data

    def whole_file(self, sha256: str) -> Path:
        """The file of an artifact, all of it compared with its name once after each change of it.

        Raises as `read`.
        """
        path = self.path(sha256)
        with self._reading(sha256):
            found = path.stat()
            state = (found.st_ino, found.st_size, found.st_ctime_ns)
            if self._whole.get(sha256) == state:
                return path
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256:
            raise _damaged(sha256)
        self._whole[sha256] = state
        while len(self._whole) > REMEMBERED_FILES:
            self._whole.popitem(last=False)
        return path

    def is_whole(self, sha256: str) -> bool:
        """Whether the artifact can be read. Raises StorageFailed when that cannot be told."""
        try:
            self.whole_file(sha256)
        except (NotFound, DamagedArtifact):
            return False
        return True

    @contextmanager
    def _reading(self, sha256: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"artifact {sha256!r} is not in the store: run the step that makes it again") from None
        except OSError as error:
            if error.errno == errno.EIO:  # the disk cannot give back these bytes
                raise _damaged(sha256) from error
            failure = (
                f"cannot read {str(self.path(sha256))!r} ({error.strerror}): make the folder readable, then resume"
            )
            raise StorageFailed(failure) from error

    def remove(self, sha256: str, unused_since: datetime) -> bool:
        """Delete the file unless its bytes were put again after `unused_since`. Only for one that no row names.

        It is first moved aside, so that a process that puts the bytes meanwhile writes a file of its own. Returns
        whether a file was deleted. Raises StorageFailed.
        """
        path = self.path(sha256)
        aside = path.with_name(ASIDE + path.name)
        try:
            os.replace(path, aside)
            if aside.stat().st_mtime > unused_since.timestamp():
                os.replace(aside, path)
                return False
            aside.unlink()
        except FileNotFoundError:  # another process removes it too
            return False
        except OSError as error:
            raise StorageFailed(f"cannot delete {str(path)!r} ({error.strerror}): make the folder writable") from error
        return True

    def prefixes(self) -> tuple[str, ...]:
        """The first two letters of all hashes here: the folders below the root."""
        return tuple(sorted(path.name for path in self._root.iterdir() if path.is_dir()))

    def older_than(self, prefix: str, unused_since: datetime) -> tuple[str, ...]:
        """Hashes with `prefix` whose bytes nobody put since `unused_since`; half-written files of that age are deleted.

        What a crash left aside is first put back: a row may name it. Raises StorageFailed.
        """
        folder = self._root / prefix
        try:
            for path in folder.glob(f"{ASIDE}*"):
                _put_back(path)
            aged = [path for path in folder.iterdir() if _mtime(path) <= unused_since.timestamp()]
            for path in aged:
                if path.name.startswith(PART):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(f"cannot sweep {str(folder)!r} ({error.strerror}): make it writable") from error
        return tuple(prefix + path.name for path in aged if not path.name.startswith(PART))


def _damaged(sha256: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"artifact {sha256!r} was altered on disk: make it again or send the same file again, which repairs it; a"
        " generation that made it makes it again when it is resumed"
    )


def _holds(path: Path, data: bytes) -> bool:
    """Whether the file has exactly these bytes: what is damaged or cannot be read is written anew."""
    try:
        if path.stat().st_size != len(data):
            return False
        with path.open("rb") as file:
            return all(file.read(_CHUNK) == data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK))
    except OSError:
        return False


def _put_back(aside: Path) -> None:
    """Give a file that a crash left aside its name back, unless there is one of that name since."""
    with suppress(FileExistsError, FileNotFoundError):
        os.link(aside, aside.with_name(aside.name.removeprefix(ASIDE)))
    aside.unlink(missing_ok=True)


def _mtime(path: Path) -> float:
    """When a file's bytes were last put, in seconds; infinite for a file that another process just removed."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _put_again(path: Path) -> bool:
    """Note that the bytes of an existing file were put again; whether it exists. Raises StorageFailed.

    Its folder is synced because the process that renamed it may have died before.
    """
    try:
        os.utime(path)
        sync_folder(path.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_failure(path, error) from error
    return True
