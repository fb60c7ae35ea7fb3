"""Parts that work together, on both databases and in one Ray."""

from tests.support import databases, directed_world, engine_calls, engine_world, postgres, ray_session
from tests.support.offering import offer


def pytest_configure(config):
    offer(config, databases, directed_world, engine_calls, engine_world, postgres, ray_session)
