"""Files named by their sha256, in a local folder. A file under its final name is whole and on disk.

Order of a write: temporary file, fsync, rename, fsync of the folder; only then may a row name it. Knows no database.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from pathlib import Path

from pipelines.errors import NotFound, StorageFailed
from pipelines.steps import StoredArtifact
from pipelines.store.fault_points import reach


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
        reach("before_temp_write")
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                reach("before_temp_sync")
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            reach("before_rename")
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        reach("before_folder_sync")
        sync_folder(path.parent)
        reach("after_folder_sync")
    except OSError as error:
        raise storage_failure(path, error) from error


def storage_failure(path: Path, error: OSError) -> StorageFailed:
    """The one wording for a disk that refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFailed(f"no space left while writing {str(path)!r}: free some disk space, then resume")
    return StorageFailed(f"cannot write {str(path)!r} ({error.strerror}): make the folder writable, then resume")


class LocalArtifacts:
    """Artifacts under `root/ab/cdef…`. The same bytes are stored once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256[2:]

    def put(self, data: bytes, media_type: str) -> StoredArtifact:
        """Store `data`; returns when it is on disk. Raises StorageFailed."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        if not path.exists():
            write_durably(path, data)
        return StoredArtifact(sha256=sha256, media_type=media_type, size=len(data))

    def read(self, sha256: str) -> bytes:
        """The bytes of an artifact. Raises NotFound, or StorageFailed when the file was altered."""
        try:
            data = self.path(sha256).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"artifact {sha256!r} is not in the store: run the step that makes it again") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StorageFailed(f"artifact {sha256!r} was altered on disk: delete {str(self.path(sha256))!r}, resume")
        return data

    def remove(self, sha256: str) -> None:
        """Delete the file if it is there. Only for one that no row names. Raises StorageFailed."""
        path = self.path(sha256)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(f"cannot delete {str(path)!r} ({error.strerror}): make the folder writable") from error
