"""Stores on both databases, and gateways that serve the tests of one file."""

import openai
import pytest

from pipelines.store.generations import GenerationStore
from tests.support import databases, postgres
from tests.support.ad_server import SpeakingServer
from tests.support.offering import offer
from tests.support.stored_generations import BRIEF, RECIPE


def pytest_configure(config):
    offer(config, databases, postgres)


@pytest.fixture
async def store(database):
    return GenerationStore(database)


@pytest.fixture
async def generation_id(store):
    """A generation of Anna's that waits for a worker."""
    return await store.create("anna", BRIEF, RECIPE, {}, {"models": {}})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A gateway that makes whole ads."""
    with SpeakingServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def http(server):
    return server.http


@pytest.fixture(scope="module")
def client(server):
    """OpenAI's own client."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def idle_server(tmp_path_factory):
    """A gateway whose generations nobody runs."""
    with SpeakingServer(tmp_path_factory.mktemp("idle"), working=False) as server:
        yield server


@pytest.fixture(scope="module")
def idle(idle_server):
    return idle_server.http
