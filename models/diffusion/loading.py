"""Loading stock pipelines, schedulers and LoRAs from local folders: safetensors only, no hub, no chatter, one dtype."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import logging as transformers_logging

from models.diffusion.memory import is_out_of_memory, out_of_memory
from models.errors import InvalidRequest, WeightsError
from models.interfaces import LoraUse
from models.spec import PictureModelSpec, SpecBase, lora_part

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
    # A scorer is loaded without diffusers, which takes seconds and 200 MB to import.
    libraries: list[Any] = [transformers_logging]
    if "diffusers" in sys.modules:
        libraries.append(importlib.import_module("diffusers.utils.logging"))
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


def load_pipeline(kind: Any, spec: PictureModelSpec, folders: Mapping[str, Path], dtype: Any, **options: Any) -> Any:
    """The pipeline of class `kind` in the part `main`; inside `loading`.

    `dtype` is one for all components or a dict by component; `options` go to `from_pretrained`.
    """
    folder = part(spec, folders, "main")
    return kind.from_pretrained(folder, dtype=dtype, **variant(spec, "main"), **options, **LOCAL)


def variant(spec: PictureModelSpec, name: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` for the files that the weight part `name` is loaded from."""
    infix = spec.weights[name].variant if name in spec.weights else None
    return {} if infix is None else {"variant": infix}


def scheduler(spec: PictureModelSpec, own: Any, loras: Sequence[LoraUse] = ()) -> Any:
    """A fresh scheduler like `own`, with what the spec says, and then its `loras`, in place of that.

    Fresh, because a stopped call leaves state in the one it used. Raises InvalidRequest for a class that diffusers does
    not have.
    """
    import diffusers

    _ignore_copy_warning()
    changes = dict(spec.scheduler or {})
    for lora in loras:
        changes |= spec.loras[lora.name].scheduler or {}
    name = changes.pop("class", type(own).__name__)
    kind = getattr(diffusers, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise InvalidRequest(
            f"model {spec.name!r} asks for the scheduler class {name!r}, which diffusers {diffusers.__version__} lacks;"
            " use a name such as 'DPMSolverMultistepScheduler'"
        )
    loader: Any = kind
    return loader.from_config(own.config, **changes)


def _ignore_copy_warning() -> None:
    # diffusers' schedulers call `numpy.array(tensor)`, and torch 2.13's tensors do not know numpy 2.4's `copy` keyword.
    # Not `catch_warnings`: models run in threads, and one leaving it would take the filter away from another.
    warnings.filterwarnings(
        "ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning, r"diffusers\."
    )
    # The same of HeliosScheduler, which has numpy count from a tensor to a tensor.
    warnings.filterwarnings("ignore", "__array_wrap__ must accept context", DeprecationWarning)


class Loras:
    """The LoRAs of one pipeline. Not for concurrent calls."""

    def __init__(self, pipeline: Any, spec: PictureModelSpec, folders: Mapping[str, Path]) -> None:
        """Load every LoRA of the spec into `pipeline`, switched off. Before `placement.place`.

        Raises InvalidRequest for a family without LoRAs, WeightsError for a folder without one safetensors file.
        """
        if spec.loras and not hasattr(pipeline, "load_lora_weights"):
            raise InvalidRequest(f"model {spec.name!r} takes no LoRAs; leave out `loras` in its YAML file")
        # Several LoRAs beside each other are meant here. Not `catch_warnings`: models are loaded in threads.
        warnings.filterwarnings("ignore", "Already found a `peft_config` attribute", UserWarning)
        # PEFT makes module names of adapter names, which may hold no dots.
        self._names = {name: f"lora_{index}" for index, name in enumerate(spec.loras)}
        for name, adapter in self._names.items():
            source, folder = spec.loras[name], part(spec, folders, lora_part(name))
            first = _weights_of(folder, source.weight_name)
            pipeline.load_lora_weights(str(first.parent), weight_name=first.name, adapter_name=adapter, **LOCAL)
            if (source.second_weight_name is None) != (getattr(pipeline, "transformer_2", None) is None):
                raise InvalidRequest(
                    f"model {spec.name!r}: a LoRA of a model with two denoisers is two files, of any other model one;"
                    f" put the LoRA {name!r} right in the model's YAML file (`second_weight_name`)"
                )
            if source.second_weight_name is not None:
                # diffusers loads one LoRA into one denoiser per call; both then answer to the same adapter name.
                second = _weights_of(folder, source.second_weight_name)
                pipeline.load_lora_weights(
                    str(second.parent), weight_name=second.name, adapter_name=adapter, load_into_transformer_2=True,
                    **LOCAL,
                )  # fmt: skip
        self._pipeline = pipeline
        self._layers = _layers(pipeline) if spec.loras else []
        self._switch(False)
        self.key = ""
        """Names the LoRAs that act now: what a text encoder gives depends on them."""

    @contextmanager
    def use(self, loras: Sequence[LoraUse]) -> Iterator[None]:
        """Within, the named LoRAs act with their scales; none of them outside."""
        if not loras:
            yield
            return
        self._pipeline.set_adapters([self._names[lora.name] for lora in loras], [lora.scale for lora in loras])
        self._switch(True)
        self.key = ";".join(f"{lora.name}={lora.scale!r}" for lora in loras)
        try:
            yield
        finally:
            self._switch(False)
            self.key = ""

    def _switch(self, on: bool) -> None:
        for layer in self._layers:
            layer.enable_adapters(on)


def check_loras(spec: PictureModelSpec, loras: Sequence[LoraUse]) -> None:
    """Raises InvalidRequest for a LoRA that the spec does not list, and for one that is named twice."""
    for index, lora in enumerate(loras):
        if lora.name not in spec.loras:
            known = ", ".join(sorted(spec.loras)) or "none"
            raise InvalidRequest(f"model {spec.name!r} has no LoRA {lora.name!r}; it has: {known}")
        if lora.name in {other.name for other in loras[:index]}:
            raise InvalidRequest(f"the LoRA {lora.name!r} is named twice; give it once, with one scale")


def _weights_of(folder: Path, name: str | None) -> Path:
    if name is not None:
        if not (folder / name).is_file():
            raise WeightsError(f"{str(folder)!r} has no file {name!r}, which the model's YAML file names for a LoRA")
        return folder / name
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise WeightsError(
            f"{str(folder)!r} has {len(files)} safetensors files, but a LoRA is one file; name that file in"
            " `allow_patterns` of the model's YAML file, or as the LoRA's `weight_name`"
        )
    return files[0]


def _layers(pipeline: Any) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer  # only models with LoRAs need it

    modules = [component for component in pipeline.components.values() if isinstance(component, nn.Module)]
    return [layer for module in modules for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
