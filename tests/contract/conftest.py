"""Contracts are kept on both databases."""

from tests.support import databases
from tests.support.offering import offer


def pytest_configure(config):
    offer(config, databases)
