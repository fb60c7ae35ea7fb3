"""Shared by all tiers: one torch thread, because tiny models lose more to waiting threads than they win."""

import os
import secrets

import pytest

from tests.support.databases import (
    database,  # noqa: F401, a fixture
    database_url,  # noqa: F401, a fixture
    empty_database_url,  # noqa: F401, a fixture
    migrated,  # noqa: F401, a fixture
    migrated_postgres,  # noqa: F401, a fixture
    postgres_database_url,  # noqa: F401, a fixture
    server_database_url,  # noqa: F401, a fixture
    sqlite_database_url,  # noqa: F401, a fixture
)
from tests.support.postgres import postgres  # noqa: F401, a fixture
from tests.support.ray_session import ray_session  # noqa: F401, a fixture

# Ray reads these when it is imported, which tests do that start none. A token of this run's own: Ray would write one
# into the home folder.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    import torch

    torch.set_num_threads(1)
