"""Fixtures that some tiers share and others must not even import: a tier's conftest offers them by module.

They are plugins and not imported names, because a session's fixture that two conftest files import is made twice.
"""

from __future__ import annotations

from types import ModuleType

import pytest


def offer(config: pytest.Config, *modules: ModuleType) -> None:
    """Make the fixtures of `modules` known; to be called from `pytest_configure`."""
    for module in modules:
        if not config.pluginmanager.is_registered(module):
            config.pluginmanager.register(module, module.__name__)
