"""Parts work together on both databases and in one Ray."""

from tests.support import databases, ray_session
from tests.support.offering import offer


def pytest_configure(config):
    offer(config, databases, ray_session)
