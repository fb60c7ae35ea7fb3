"""Log lines of libraries that tell a user nothing, turned off before the libraries are imported."""

from __future__ import annotations

import logging

SAY_NOTHING_NEW = ("torchao", "torch.utils._pytree")
"""torchao says on every CPU that its CUDA libraries do not load, and torch that torchao calls it as before."""


def quiet_libraries() -> None:
    """Let them log errors only, unless a program that uses this package has set their level."""
    for library in SAY_NOTHING_NEW:
        logger = logging.getLogger(library)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.ERROR)
