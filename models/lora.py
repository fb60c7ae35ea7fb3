"""LoRAs of one pipeline: loaded once from the folders of the model's description, switched on per call by name.

They are loaded beside the weights, never fused into them: a call without LoRAs runs the untouched weights, to the bit.
Knows diffusers' LoRA loaders and PEFT's layers, no family.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from models.errors import InvalidRequest, WeightsError
from models.image.loading import LOCAL, part
from models.interfaces import LoraUse
from models.spec import PictureModelSpec, lora_part


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
            file = _weights_of(part(spec, folders, lora_part(name)))
            pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=adapter, **LOCAL)
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


def _weights_of(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise WeightsError(
            f"{str(folder)!r} has {len(files)} safetensors files, but a LoRA is one file; name that file in"
            " `allow_patterns` of the model's YAML file"
        )
    return files[0]


def _layers(pipeline: Any) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer  # only models with LoRAs need it

    modules = [component for component in pipeline.components.values() if isinstance(component, nn.Module)]
    return [layer for module in modules for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
