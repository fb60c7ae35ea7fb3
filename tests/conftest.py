"""Shared by all tiers: one torch thread, because tiny models lose more to waiting threads than they win."""

import os
import secrets

import pytest

# Ray reads these when it is imported, which tests do that start none. A token of this run's own: Ray would write one
# into the home folder.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

from tests.databases import database as database
from tests.databases import database_url as database_url
from tests.databases import empty_database_url as empty_database_url
from tests.databases import migrated as migrated
from tests.databases import migrated_postgres as migrated_postgres
from tests.databases import postgres as postgres
from tests.databases import postgres_database_url as postgres_database_url
from tests.databases import server_database_url as server_database_url
from tests.databases import sqlite_database_url as sqlite_database_url
from tests.ray_session import ray_session as ray_session


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    import torch

    torch.set_num_threads(1)
