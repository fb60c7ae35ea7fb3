import errno
import hashlib
import os

import pytest

from pipelines.errors import NotFound, StorageFailed
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


def test_an_altered_artifact_is_refused(tmp_path):
    artifacts = LocalArtifacts(tmp_path)
    stored = artifacts.put(b"abc", "text/plain")
    artifacts.path(stored.sha256).write_bytes(b"abd")
    with pytest.raises(StorageFailed, match="altered on disk"):
        artifacts.read(stored.sha256)


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
