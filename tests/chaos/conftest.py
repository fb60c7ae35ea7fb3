"""Worlds on both databases, the manifest of their models, and what an undisturbed run makes."""

import asyncio
from pathlib import Path

import pytest

from configs.settings import library_root
from pipelines.steps import Json
from pipelines.store.generations import LEASE_SECONDS
from serving.profile_models import model_set
from tests.chaos.processes import small_profile
from tests.chaos.world import ChaosWorld
from tests.support import databases, directed_world, postgres, ray_session
from tests.support.offering import offer


def pytest_configure(config):
    offer(config, databases, directed_world, postgres, ray_session)


@pytest.fixture(scope="session")
def chaos_home(tmp_path_factory):
    """With the weights of this machine: whatever of them is untrained was built once, by whoever needed it first."""
    home = tmp_path_factory.mktemp("home")
    library_root().mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(library_root())
    return home


@pytest.fixture(scope="session")
def manifest(chaos_home: Path) -> Json:
    """Of the embedded models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMINT_HOME", str(chaos_home))
        return model_set(small_profile()).manifest


@pytest.fixture
async def chaos(tmp_path, chaos_home, database_url, manifest):
    made = ChaosWorld(tmp_path, chaos_home, database_url, manifest)
    yield made
    await made.close()


@pytest.fixture
async def unhurried(tmp_path, chaos_home, database_url, manifest):
    """With leases as they are shipped: none runs out on a machine that has much else to do."""
    made = ChaosWorld(tmp_path, chaos_home, database_url, manifest, LEASE_SECONDS)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, chaos_home, migrated, manifest):
    """The sha256 of the video that nobody disturbs, of the first seed."""

    async def made():
        folder = tmp_path_factory.mktemp("undisturbed")
        url = f"sqlite:///{folder / 'store.sqlite'}"
        (folder / "store.sqlite").write_bytes(migrated.read_bytes())
        world = ChaosWorld(folder, chaos_home, url, manifest)
        try:
            generation_id = await world.order()
            world.worker()
            await world.until_ended(generation_id)
            return await world.check(generation_id)
        finally:
            await world.close()

    return asyncio.run(made())
