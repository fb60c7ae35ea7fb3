"""`admint backup`, `restore`, `gc` and `disk` on the store of a server, as an operator uses them."""

import asyncio
import stat
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from pipelines.errors import BadInput, StorageFailed
from pipelines.records import NewEvent
from pipelines.steps import StoredArtifact
from pipelines.store.tables import generations, owned_artifacts
from pipelines.store.transaction import insert_artifacts
from serving.cli.main import app
from serving.server.store import open_server_store
from tests.support.stored_generations import BRIEF, RECIPE

DONE = NewEvent(kind="generation_completed", message="done")
LONG_AGO = datetime.now(UTC) - timedelta(days=40)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("ADMINT_DATABASE", raising=False)
    monkeypatch.delenv("ADMINT_ARTIFACTS", raising=False)
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


def admint(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def with_store(work):
    async def opened():
        store = await open_server_store()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def fill(old=()):
    """Two finished generations of Anna's with a file each, and a single file; those named in `old` are 40 days old."""

    async def make(store):
        made = {}
        for name in ("first", "second"):
            made[name] = await store.store.create("anna", BRIEF, RECIPE, {}, {})
            lease = await store.store.claim(made[name], "worker")
            file = store.artifacts.put(f"the file of {name}".encode(), "video/mp4")
            await store.database.write(lambda c, id=made[name], file=file: insert_artifacts(c, id, [file]))
            await store.store.end(lease, "completed", DONE)
            made[f"{name} file"] = file.sha256
        single: StoredArtifact = store.artifacts.put(b"a single file", "image/png")
        await store.owners.record("anna", single)
        made["single"] = single.sha256
        for name in old:
            change = (
                update(owned_artifacts).values(created_at=LONG_AGO)
                if name == "single"
                else update(generations).where(generations.c.id == made[name]).values(completed_at=LONG_AGO)
            )
            await store.database.write(lambda c, change=change: c.execute(change))
        return made

    return with_store(make)


def ids():
    return set(with_store(lambda store: store.store.list_ids("anna")))


def test_what_was_backed_up_is_restored_into_another_home(tmp_path, monkeypatch):
    made = fill()
    file = tmp_path / "admint.backup"
    said = admint("backup", file)
    assert "2 generations, 3 files" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(BadInput, match="is there already"):
        admint("backup", file)
    with pytest.raises(BadInput, match="is not empty"):
        admint("restore", file)
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path / "other"))
    assert "2 generations, 3 files" in admint("restore", file)
    assert ids() == {made["first"], made["second"]}
    assert "every file is whole" in admint("disk", "--verify")
    assert [path.name for path in tmp_path.glob(".admint.backup*")] == []


def test_a_file_that_is_no_backup_is_refused(tmp_path):
    for content in (b"", b"something else"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(BadInput, match="cut off"):
            admint("restore", tmp_path / "file")
    with pytest.raises(BadInput, match="cannot be read"):
        admint("restore", tmp_path / "missing")


def test_old_things_go_when_told_to_and_only_then(home):
    made = fill(old=("first", "single"))
    assert admint("gc") == "deleted: 0 ended generations, 0 single files, 0 files that nothing names\n"
    assert "would go: 1 ended generations, 1 single files" in admint("gc", "--older-than", "30d", "--dry-run")
    assert ids() == {made["first"], made["second"]}
    assert "deleted: 1 ended generations, 1 single files" in admint("gc", "--older-than", "30d")
    assert ids() == {made["second"]}
    left = {path.parent.name + path.name for path in (home / "server" / "artifacts").rglob("*") if path.is_file()}
    assert left == {made["second file"]}
    assert "deleted: 0 ended generations" in admint("gc", "--older-than", "6w")


@pytest.mark.parametrize("age", ["30", "d", "-1d", "1.5d", "30 days", ""])
def test_an_age_that_is_none_is_refused(age):
    with pytest.raises(BadInput, match="write it as 30d"):
        admint("gc", f"--older-than={age}")


def test_the_disk_is_shown_by_owner_and_damaged_files_are_named(home):
    made = fill()
    shown = admint("disk")
    assert "owner:anna" in shown
    assert "kB" in shown
    path = home / "server" / "artifacts" / made["first file"][:2] / made["first file"][2:]
    path.write_bytes(b"cut")
    result = CliRunner().invoke(app, ["disk", "--verify"])
    assert isinstance(result.exception, StorageFailed)
    assert f"{made['first file']} is damaged or gone: {made['first']}" in result.stdout
