"""Shared by all tiers: one torch thread, because tiny models lose more to waiting threads than they win.

Light: `tests/gpu` is collected where neither Ray nor a database is installed. Tiers that need these offer their
fixtures in a conftest of their own.
"""

import os
import secrets

import pytest

try:
    from hypothesis import settings
except ImportError:  # a machine with a GPU, which runs `tests/gpu` alone
    pass
else:
    # A loaded machine is no failure: nothing here asserts a time.
    settings.register_profile("suite", deadline=None)
    settings.load_profile("suite")

# Ray reads these when it is imported, which tests do that start none. A token of this run's own: Ray would write one
# into the home folder.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what wants the machine for itself: leases of a second, kills, and a cluster with its models."""
    for item in items:
        if item.path.parent.name == "chaos" or "ray_session" in item.fixturenames:
            item.add_marker(pytest.mark.serial)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    import torch

    torch.set_num_threads(1)
