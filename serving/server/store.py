"""The server's store and artifacts, opened as the environment says. Every process of a server opens its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from configs.settings import Settings, server_artifacts, server_database
from pipelines.store.artifacts import LocalArtifacts, storage_failure
from pipelines.store.database import Database
from pipelines.store.engines import database_address
from pipelines.store.generations import GenerationStore
from pipelines.store.ownership import OwnedArtifacts, Quota


@dataclass(frozen=True)
class ServerStore:
    database: Database
    store: GenerationStore
    artifacts: LocalArtifacts
    owners: OwnedArtifacts

    async def close(self) -> None:
        await self.database.close()


async def open_server_store() -> ServerStore:
    """Open both, with the newest schema. Raises StorageFailed, BadInput for an address that is none."""
    artifacts, url = server_artifacts(), database_address(server_database())
    folders = [artifacts]
    if url.get_backend_name() == "sqlite" and url.database:
        folders.append(Path(url.database).parent)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_failure(folder, error) from error
    database, quota = Database(server_database()), server_quota()
    await database.migrate()
    store = GenerationStore(database, quota, Settings().lease_seconds)
    owners = OwnedArtifacts(database, quota)
    return ServerStore(database, store, LocalArtifacts(artifacts), owners)


def server_quota() -> Quota:
    """Of each user."""
    settings = Settings()
    return Quota(generations=settings.generations_per_user, stored_bytes=int(settings.stored_gb_per_user * 1e9))
