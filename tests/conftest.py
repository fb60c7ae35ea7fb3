"""Shared by all tiers: one torch thread, because tiny models lose more to waiting threads than they win."""

import pytest

from tests.ray_session import ray_session as ray_session


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    import torch

    torch.set_num_threads(1)
