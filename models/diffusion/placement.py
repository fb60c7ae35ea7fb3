"""A loaded diffusers pipeline comes to its device as `spec.acceleration` says, for every family alike.

Call order: load, add adapters and LoRAs, then `place`: offload hooks and compiled blocks must see the final modules.
After every call `free_hooks`; a deterministic call runs inside `exact`.

What a deterministic call promises: the same request gives the same bits again on the same type of device with the same
driver and library versions (own CPU noise, a batch of one, no approximating cache, no autotuned kernels). On another
type of device it promises the same start noise, not the same bits. Quantisation, attention backend and compiled blocks
change bits too, but in every call alike: they belong to the model's identity.

What a machine or a model cannot do is refused here, at load time, by name.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd
from typing import Any

import diffusers
import torch
from diffusers.hooks import HookRegistry
from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

from models.diffusion.attention import NATIVE, card_facts, chosen_backend, kernel_of, missing
from models.diffusion.memory import is_out_of_memory, out_of_memory
from models.diffusion.quantisation import quantise
from models.errors import InvalidRequest
from models.spec import PictureModelSpec, Quantisation

logger = logging.getLogger(__name__)

DENOISERS = ("unet", "transformer", "transformer_2")
NOT_STORED_SMALL = (*DEFAULT_SKIP_MODULES_PATTERN, "encoder_hid_proj")
"""Parts of the denoiser that keep their precision: diffusers' own list, and the projection of an IP-Adapter's pictures,
which casts its input to what it finds its weights stored in."""
BLOCKS_PER_GROUP = 1
"""Blocks of the denoiser that group offload moves at once: the least memory; the next one loads meanwhile."""
RECOMPILE_LIMIT = 64
"""Graphs that one compiled block may have. torch's 8 are used up by what requests vary: number of references, guidance,
LoRAs, batch. 24 such variants at three sizes took 16 graphs; past the limit a full graph fails for good."""


def place(pipeline: Any, spec: PictureModelSpec, device: str) -> None:
    """Move a loaded pipeline, with its adapters, to `device` and set its accelerations.

    Raises InvalidRequest naming the setting (an unknown name, or what this machine or this denoiser lacks) and
    OutOfMemory.
    """
    try:
        _place(pipeline, spec, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(f"the weights of model {spec.name!r} on {device!r}") from error


def _place(pipeline: Any, spec: PictureModelSpec, device: str) -> None:
    wanted = spec.acceleration
    if wanted.quantisation is not None:
        _quantise(pipeline, spec, wanted.quantisation, device)
    if wanted.storage is not None:
        _store_small(pipeline, spec, getattr(torch, wanted.storage))
    if wanted.vae_tiling:
        _tile(pipeline, spec)
    if wanted.attention_backend is not None:
        _choose_attention(pipeline, spec, wanted.attention_backend, device)
    if wanted.cache is not None:
        for denoiser in _with_caches(pipeline, spec):
            denoiser.enable_cache(_cache_config(pipeline, spec, wanted.cache))
    if wanted.compile == "regional":
        _compile(pipeline, spec)
    _move(pipeline, spec, device)


def denoisers(pipeline: Any) -> list[Any]:
    """The networks that run in every step: the UNet or the transformers that this pipeline has."""
    found = (getattr(pipeline, name, None) for name in DENOISERS)
    return [denoiser for denoiser in found if denoiser is not None]


def free_hooks(*pipelines: Any) -> None:
    """After every call, also a stopped one: offload what a call left on the device, reset the state of caches.

    A stopped call skips this in diffusers, and the next one would reuse its residuals. Of pipelines that share their
    modules, only the placed one knows the hooks: give both.
    """
    for pipeline in pipelines:
        pipeline.maybe_free_model_hooks()


@contextmanager
def exact(pipeline: Any, wanted: bool = True) -> Iterator[None]:
    """Within, the denoisers of `pipeline` compute every step in full; if `wanted`. No other pipeline is touched."""
    if not wanted:
        yield
        return
    cached = [(d, d._cache_config) for d in denoisers(pipeline) if getattr(d, "is_cache_enabled", False)]
    for denoiser, _ in cached:
        denoiser.disable_cache()
    try:
        yield
    finally:
        for denoiser, config in cached:
            denoiser.enable_cache(config)


def _move(pipeline: Any, spec: PictureModelSpec, device: str) -> None:
    offload = spec.acceleration.offload
    if torch.device(device).type == "cuda":
        if not torch.cuda.is_available():
            raise InvalidRequest(
                f"model {spec.name!r} cannot be placed on {device!r}: this machine has no CUDA device; use 'cpu'"
            )
        # For every call of the process alike: switched for one call, they would change what other lanes compute.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    if offload == "none":
        pipeline.to(device)
        return
    if torch.device(device).type == "cpu":
        raise _refused(spec, "offload", offload, "it keeps weights off an accelerator and this device is 'cpu'")
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        _group_offload(pipeline, torch.device(device))


def _group_offload(pipeline: Any, device: torch.device) -> None:
    # Only what runs in every step goes block by block; the VAE decodes by methods that skip the forward hooks.
    names = {name for name in DENOISERS if getattr(pipeline, name, None) is not None}
    for name, component in pipeline.components.items():
        if name not in names and isinstance(component, torch.nn.Module):
            component.to(device)
    for denoiser in denoisers(pipeline):
        denoiser.enable_group_offload(
            onload_device=device,
            offload_type="block_level",
            num_blocks_per_group=BLOCKS_PER_GROUP,
            use_stream=device.type == "cuda",
        )


def _quantise(pipeline: Any, spec: PictureModelSpec, wanted: Quantisation, device: str) -> None:
    offload = spec.acceleration.offload
    if offload == "sequential":
        reason = "it moves weights one by one, which was not tried with rounded ones; use `offload: model` or `group`"
        raise _refused(spec, "quantisation", wanted.to, reason)
    for name in wanted.components:
        component = getattr(pipeline, name, None)
        if not isinstance(component, torch.nn.Module):
            known = ", ".join(key for key, value in pipeline.components.items() if isinstance(value, torch.nn.Module))
            raise _refused(spec, "quantisation", name, f"it has no such component, but {known}")
        try:
            quantise(component, wanted, device if offload == "none" else "cpu")
        except LookupError as error:
            raise _refused(spec, "quantisation", wanted.to, str(error)) from error


def _store_small(pipeline: Any, spec: PictureModelSpec, storage: torch.dtype) -> None:
    for denoiser in denoisers(pipeline):
        if not hasattr(denoiser, "enable_layerwise_casting"):
            reason = f"diffusers casts no layers of {type(denoiser).__name__}"
            raise _refused(spec, "storage", spec.acceleration.storage, reason)
        if spec.acceleration.quantisation is not None:
            raise _refused(spec, "storage", spec.acceleration.storage, "`quantisation` stores the weights already")
        denoiser.enable_layerwise_casting(
            storage_dtype=storage, compute_dtype=getattr(torch, spec.dtype), skip_modules_pattern=NOT_STORED_SMALL
        )


def _tile(pipeline: Any, spec: PictureModelSpec) -> None:
    vae: Any = getattr(pipeline, "vae", None)
    if not hasattr(vae, "enable_tiling"):
        raise _refused(spec, "vae_tiling", True, f"its VAE class {type(vae).__name__!r} cannot tile")
    vae.enable_tiling()


def _choose_attention(pipeline: Any, spec: PictureModelSpec, wanted: str, device: str) -> None:
    facts = card_facts(device)
    if wanted != "auto":
        kernel = kernel_of(wanted)
        if kernel is not None and (lack := missing(kernel, facts)) is not None:
            raise _refused(spec, "attention_backend", wanted, lack)
        _set_attention_backend(pipeline, spec, wanted)
        return
    widths = [denoiser.config.get("attention_head_dim") or 1 for denoiser in denoisers(pipeline)]
    name = chosen_backend(spec.family, spec.dtype, gcd(*widths), facts)
    logger.info("model %r: attention by %s on %s (%s)", spec.name, name, device, facts)
    if name != NATIVE:
        _set_attention_backend(pipeline, spec, name)


def _set_attention_backend(pipeline: Any, spec: PictureModelSpec, name: str) -> None:
    known = sorted(backend.value for backend in AttentionBackendName if not backend.value.endswith("_hub"))
    if name not in known:
        # Names that end in `_hub` would download a kernel and run it: no remote code.
        raise _refused(spec, "attention_backend", name, f"this version knows {', '.join(known)}")
    # diffusers also makes the name the default of every other model in the process: that is taken back.
    before, _ = _AttentionBackendRegistry.get_active_backend()
    try:
        for denoiser in denoisers(pipeline):
            if not any(hasattr(processor, "_attention_backend") for processor in _processors(denoiser)):
                reason = f"{type(denoiser).__name__} always uses torch's own attention"
                raise _refused(spec, "attention_backend", name, reason)
            denoiser.set_attention_backend(name)
    except RuntimeError as error:
        raise _refused(spec, "attention_backend", name, str(error)) from error
    finally:
        _AttentionBackendRegistry.set_active_backend(before)


def _processors(denoiser: Any) -> list[Any]:
    return [module.processor for module in denoiser.modules() if getattr(module, "processor", None) is not None]


def _with_caches(pipeline: Any, spec: PictureModelSpec) -> list[Any]:
    for denoiser in denoisers(pipeline):
        if not hasattr(denoiser, "enable_cache"):
            reason = f"diffusers has no caches for {type(denoiser).__name__}"
            raise _refused(spec, "cache", spec.acceleration.cache, reason)
    return denoisers(pipeline)


def _cache_config(pipeline: Any, spec: PictureModelSpec, settings: dict[str, Any]) -> Any:
    arguments = dict(settings)
    name = str(arguments.pop("class", None))
    kind: Any = getattr(diffusers, name, None)
    known = name.endswith("Config") and dataclasses.is_dataclass(kind)
    if not known:
        raise _refused(spec, "cache", name, "it must name a cache of diffusers such as 'FirstBlockCacheConfig'")
    fields = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(arguments.keys() - fields):
        raise _refused(spec, "cache", unknown[0], f"{name} takes {', '.join(sorted(fields))}")
    if "current_timestep_callback" in fields:
        arguments["current_timestep_callback"] = lambda: pipeline.current_timestep
    return kind(**arguments)


def _compile(pipeline: Any, spec: PictureModelSpec) -> None:
    # For the whole process: torch.compile takes a limit of its own from 2.13 on only, and GPU images carry 2.11.
    torch._dynamo.config.recompile_limit = max(RECOMPILE_LIMIT, torch._dynamo.config.recompile_limit)
    for denoiser in denoisers(pipeline):
        if not getattr(denoiser, "_repeated_blocks", None):
            reason = f"diffusers names no repeated blocks of {type(denoiser).__name__}"
            raise _refused(spec, "compile", "regional", reason)
        # Dynamic, or every size and batch would compile anew; caches, casts and offload hooks break full graphs.
        denoiser.compile_repeated_blocks(dynamic=True, fullgraph=not _hooked(denoiser))


def _hooked(denoiser: Any) -> bool:
    return any(isinstance(getattr(module, "_diffusers_hook", None), HookRegistry) for module in denoiser.modules())


def _refused(spec: PictureModelSpec, setting: str, value: object, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"model {spec.name!r}: `acceleration.{setting}: {value}` cannot be done ({reason});"
        f" change or leave out that setting in the model's YAML file"
    )
