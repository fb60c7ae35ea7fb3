"""Loading stock pipelines from local folders: safetensors only, no hub, no chatter, one dtype.

Knows which library calls load, not which family is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from models.errors import InvalidRequest, WeightsError
from models.memory import is_out_of_memory, out_of_memory
from models.spec import PictureModelSpec, SpecBase

LOCAL = {"local_files_only": True, "use_safetensors": True}


def part(spec: PictureModelSpec, folders: Mapping[str, Path], name: str) -> Path:
    """Folder of the weight part `name`. Raises WeightsError when the model has none."""
    if name not in folders:
        raise WeightsError(f"model {spec.name!r} needs the weight part {name!r}; add it to the model's YAML file")
    return folders[name]


@contextmanager
def loading(spec: SpecBase) -> Iterator[torch.dtype]:
    """Gives the dtype to load in; keeps the libraries quiet; turns their load errors into errors of ours.

    Their progress bars and warnings ("deprecated pipeline", "no torchvision") would tear a live display, and name
    nothing that a user of a pinned version set could change. Raises WeightsError for what cannot be loaded,
    InvalidRequest for a library that the spec asks for and this machine lacks, OutOfMemory.
    """
    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    _ignore_copy_warning()
    try:
        yield getattr(torch, spec.dtype)
    except ImportError as error:
        raise InvalidRequest(f"model {spec.name!r} needs a library that is not installed: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"the weights of model {spec.name!r}") from error
        raise WeightsError(
            f"the weights of model {spec.name!r} cannot be loaded: {error}; check them with `admint models verify`"
        ) from error
    finally:
        for library, (level, had_bars) in zip(libraries, before, strict=True):
            library.set_verbosity(level)
            if had_bars:
                library.enable_progress_bar()


def scheduler(spec: PictureModelSpec, own: Any) -> Any:
    """The scheduler that the spec asks for, configured like the folder's `own` where it says nothing else."""
    if spec.scheduler is None:
        return own
    changes = dict(spec.scheduler)
    name = changes.pop("class", None)
    kind = getattr(diffusers, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise InvalidRequest(
            f"model {spec.name!r} asks for the scheduler class {name!r}, which diffusers {diffusers.__version__} lacks;"
            " use a name such as 'DPMSolverMultistepScheduler'"
        )
    loader: Any = kind
    return loader.from_config(own.config, **changes)


def renew_scheduler(pipeline: Any) -> None:
    """Give `pipeline` a fresh scheduler of the same configuration: a stopped call leaves state in the old one."""
    _ignore_copy_warning()
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)


def _ignore_copy_warning() -> None:
    # diffusers' schedulers call `numpy.array(tensor)`, and torch 2.13's tensors do not know numpy 2.4's `copy` keyword.
    # Not `catch_warnings`: models run in threads, and one leaving it would take the filter away from another.
    warnings.filterwarnings(
        "ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning, r"diffusers\."
    )
