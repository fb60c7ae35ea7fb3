"""The store and the artifacts of a server. Every process of a server opens its own, as the environment says."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from configs.settings import Settings, server_artifacts, server_database
from pipelines.store.artifacts import LocalArtifacts, storage_failure
from pipelines.store.database import Database
from pipelines.store.engines import database_address
from pipelines.store.generations import GenerationStore
from pipelines.store.ownership import OwnedArtifacts, Quota
from pipelines.store.sweep import Retention


@dataclass(frozen=True)
class ServerStore:
    """One database and one artifact folder, under the quota of each user."""

    database: Database
    store: GenerationStore
    artifacts: LocalArtifacts
    owners: OwnedArtifacts
    quota: Quota | None
    """None: users have no bound."""
    retention: Retention

    async def close(self) -> None:
        await self.database.close()


async def open_server_store() -> ServerStore:
    """Open the store that the environment names. Raises StorageFailed, BadInput for a malformed database address.

    From then on this process writes for its owner only: a store holds password hashes and everybody's prompts.
    """
    make_folders()
    settings = Settings()
    quota = Quota(
        generations=settings.generations_per_user,
        stored_bytes=int(settings.stored_gb_per_user * 1e9),
        stored_generations=settings.stored_generations_per_user,
    )
    retention = Retention(
        single_files=_days(settings.single_files_days), ended_generations=_days(settings.ended_generations_days)
    )
    return await open_store(server_database(), server_artifacts(), quota, settings.lease_seconds, retention)


def _days(days: float | None) -> timedelta | None:
    return None if days is None else timedelta(days=days)


def make_folders() -> None:
    """Make the folders of the store that the environment names, and close them to others, now and from now on.

    Raises StorageFailed, BadInput.
    """
    os.umask(0o077)
    artifacts, url = server_artifacts(), database_address(server_database())
    folders = [artifacts]
    if url.get_backend_name() == "sqlite" and url.database:
        folders.append(Path(url.database).parent)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_failure(folder, error) from error
    _close_to_others(Settings().home.expanduser() / "server")


async def open_store(
    url: str, artifacts: Path, quota: Quota | None, lease_seconds: float, retention: Retention | None = None
) -> ServerStore:
    """Open a database, with its schema brought to the newest, and a folder of artifacts. Raises StorageFailed."""
    database = Database(url)
    await database.migrate()
    return ServerStore(
        database=database,
        store=GenerationStore(database, quota, lease_seconds),
        artifacts=LocalArtifacts(artifacts),
        owners=OwnedArtifacts(database, quota),
        quota=quota,
        retention=retention or Retention(),
    )


def _close_to_others(folder: Path) -> None:
    """Take everybody's rights from our own folder and the files in it: version 0.1 left them readable."""
    if not folder.exists():
        return
    for path in (folder, *folder.iterdir()):
        try:
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode & 0o077 and not path.is_symlink():
                path.chmod(mode & 0o700)
        except FileNotFoundError:  # a journal of SQLite's that has ended meanwhile
            continue
        except OSError as error:
            raise storage_failure(path, error) from error
