"""Files that no row names are collected after their time, and never one that somebody needs."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.steps import StoredArtifact
from pipelines.store.artifacts import ASIDE, PART, LocalArtifacts
from pipelines.store.ownership import OwnedArtifacts
from pipelines.store.sweep import Disposal, sweep

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=9)
YESTERDAY = NOW - timedelta(days=1)
TOMORROW = NOW + timedelta(days=1)  # a suite runs for longer than minutes between this line and a test


@pytest.fixture
def folder(tmp_path):
    return LocalArtifacts(tmp_path / "artifacts")


def age(path, when=LONG_AGO):
    os.utime(path, (when.timestamp(), when.timestamp()))
    return path


async def test_an_old_file_that_no_row_names_is_removed_and_a_young_one_stays(folder, database):
    old, young = folder.put(b"old", "text/plain"), folder.put(b"young", "text/plain")
    age(folder.path(old.sha256))
    assert await sweep(folder, Disposal(database), YESTERDAY) == 1
    assert not folder.path(old.sha256).exists()
    assert folder.path(young.sha256).exists()


async def test_a_file_that_a_row_names_stays_however_old(folder, database):
    stored: StoredArtifact = folder.put(b"kept", "text/plain")
    await OwnedArtifacts(database).record("anna", stored)
    age(folder.path(stored.sha256))
    assert await sweep(folder, Disposal(database), TOMORROW) == 0
    assert folder.read(stored.sha256) == b"kept"


async def test_half_written_files_go_with_age(folder, database):
    stored = folder.put(b"kept", "text/plain")
    shelf = folder.path(stored.sha256).parent
    old, young = shelf / f"{PART}old", shelf / f"{PART}young"
    for path in (old, young):
        path.write_bytes(b"half")
    age(old)
    await sweep(folder, Disposal(database), YESTERDAY)
    assert not old.exists()
    assert young.exists()


async def test_bytes_that_were_put_again_are_young_again(folder, database):
    stored = folder.put(b"again", "text/plain")
    age(folder.path(stored.sha256))
    folder.put(b"again", "text/plain")
    assert await sweep(folder, Disposal(database), YESTERDAY) == 0
    assert folder.read(stored.sha256) == b"again"


async def test_a_file_that_a_crash_left_aside_is_put_back_for_the_row_that_names_it(folder, database):
    stored = folder.put(b"named", "text/plain")
    await OwnedArtifacts(database).record("anna", stored)
    path = age(folder.path(stored.sha256))
    path.rename(path.with_name(ASIDE + path.name))
    assert await sweep(folder, Disposal(database), YESTERDAY) == 0
    assert folder.read(stored.sha256) == b"named"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_file_that_was_put_after_its_generations_end_is_not_removed_with_it(folder):
    stored = folder.put(b"shared", "text/plain")
    assert not folder.remove(stored.sha256, YESTERDAY)
    assert folder.read(stored.sha256) == b"shared"
    assert folder.remove(stored.sha256, TOMORROW)
    assert not folder.remove(stored.sha256, TOMORROW)
