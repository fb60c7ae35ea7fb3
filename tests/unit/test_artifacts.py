import errno
import hashlib
import os

import pytest

from pipelines.errors import DamagedArtifact, NotFound, StorageFailed
from pipelines.store.artifacts import LocalArtifacts, write_durably


def test_an_artifact_is_named_by_its_sha256_and_reads_back(tmp_path):
    artifacts = LocalArtifacts(tmp_path)
    stored = artifacts.put(b"abc", "text/plain")
    assert stored.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert artifacts.read(stored.sha256) == b"abc"


def test_the_same_bytes_are_stored_once(tmp_path):
    artifacts = LocalArtifacts(tmp_path)
    assert artifacts.put(b"abc", "text/plain") == artifacts.put(b"abc", "text/plain")
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_an_unknown_artifact_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="'0000"):
        LocalArtifacts(tmp_path).read("0" * 64)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(b"ab"),
    "emptied": lambda path: path.write_bytes(b""),
    "altered": lambda path: path.write_bytes(b"abd"),
    "longer": lambda path: path.write_bytes(b"abcabc"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def keep_its_times(path, change):
    """Change a file as a failing disk does: its time of change stays."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("damage", list(DAMAGES)[:4])
def test_a_damaged_artifact_is_never_handed_out_and_putting_its_bytes_again_repairs_it(tmp_path, damage):
    artifacts = LocalArtifacts(tmp_path)
    stored = artifacts.put(b"abc", "text/plain")
    assert artifacts.is_whole(stored.sha256)
    keep_its_times(artifacts.path(stored.sha256), DAMAGES[damage])
    for ask in (artifacts.read, artifacts.whole_file):
        with pytest.raises(DamagedArtifact, match="altered on disk: make it again"):
            ask(stored.sha256)
    assert not artifacts.is_whole(stored.sha256)
    assert artifacts.put(b"abc", "text/plain") == stored
    assert artifacts.read(stored.sha256) == artifacts.whole_file(stored.sha256).read_bytes() == b"abc"
    assert artifacts.is_whole(stored.sha256)


def test_what_is_no_file_is_a_storage_failure(tmp_path):
    artifacts = LocalArtifacts(tmp_path)
    stored = artifacts.put(b"abc", "text/plain")
    DAMAGES["a folder"](artifacts.path(stored.sha256))
    with pytest.raises(StorageFailed, match="make the folder readable"):
        artifacts.read(stored.sha256)


def test_a_whole_file_is_read_once_however_many_ranges_are_asked_for(tmp_path, monkeypatch):
    artifacts = LocalArtifacts(tmp_path)
    stored = artifacts.put(b"abc" * 1000, "text/plain")
    artifacts.whole_file(stored.sha256)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert artifacts.whole_file(stored.sha256).stat().st_size == 3000


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_written_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFailed, match=r"no space left while writing .*report.html.*free some disk space"):
        write_durably(tmp_path / "report.html", b"x" * 1000)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_storage_failure(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot write"):
        write_durably(tmp_path / "file" / "final.mp4", b"x")
