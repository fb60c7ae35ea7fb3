"""The weight folders of a shipped description, in the layout of their hub repositories, with tiny random weights.

Only what `allow_patterns` take is kept, and a manifest is written: so a description whose patterns miss a file, or name
a variant that its loader does not read, fails as it would after a real pull.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from diffusers import DiffusionPipeline, MotionAdapter
from transformers import CLIPImageProcessor, CLIPModel
from transformers.models.clip.configuration_clip import CLIPConfig

from configs.settings import AnySpec
from models.interfaces import Unwatched
from models.manifest import write_manifest
from models.spec import Acceleration, ImageModelSpec, PictureModelSpec, VideoModelSpec, WeightSource, lora_part
from models.weights import Library
from tests.support import tiny_clips, tiny_models
from tests.support.engine_calls import image_request, reference, video_request

SHARD = "20KB"
LARGE = ("transformer", "transformer_2", "text_encoder", "text_encoder_2")
"""Components that are published in shards with an index, where the description asks for all of their files."""
SAVERS: dict[str, Callable[[Path], Path]] = tiny_models.IMAGE_FAMILIES | tiny_clips.VIDEO_FAMILIES
MAINS: dict[str, Callable[[Path], Path]] = {
    "animatediff-pia": tiny_models.save_stable_diffusion,
    "wan2.2-i2v-a14b": tiny_clips.save_wan_experts,
    "wan2.2-ti2v-5b": tiny_clips.save_wan_residual,
    "flux.1-schnell": lambda folder: tiny_models.save_flux(folder, guided=False),
}
"""Where a description's main part is not the family's plain one."""
SPIECE = ("ltx-video-2b-0.9.5",)
"""Repositories that publish a tokenizer as SentencePiece's own file alone: `sentencepiece` reads it, and no other."""
SMALL = {"sizes": {"1:1": (64, 64)}, "max_pixels": 64 * 64 * 40, "size_multiple": 8}


def small(spec: Any, **changes: Any) -> Any:
    """The shipped description, but for what only a card can do and for its sizes; rounded weights stay."""
    plain = Acceleration(quantisation=spec.acceleration.quantisation)
    return spec.model_copy(update={**SMALL, "acceleration": plain, **changes})


def make(engine: Any, spec: ImageModelSpec | VideoModelSpec, **changes: Any) -> npt.NDArray[np.uint8]:
    """Pixels of one small request to the engine of `spec`, with two references where it takes them."""
    references = tuple(reference(seed) for seed in range(min(2, spec.references)))
    if spec.kind == "image":
        request = image_request(references=references, num_inference_steps=2, **changes)
        pixels: npt.NDArray[np.uint8] = engine.generate(request, Unwatched()).image
        return pixels
    frames = (2 * spec.frame_multiple if spec.frame_multiple > 1 else 3) + 1
    start = None if spec.first_frame == "unused" or spec.family == "wan-text" else tiny_models.png(1)
    clip = video_request(references=references, num_frames=frames, first_frame=start, num_inference_steps=2, **changes)
    pixels = engine.generate(clip, Unwatched()).frames
    return pixels


def publish(spec: AnySpec, root: Path) -> Library:
    """Write every part of `spec` below `root`, as a pull would leave it; gives the library that holds them."""
    library, work = Library(root / "models"), root / "work"
    for part, source in spec.parts().items():
        if source.repository.startswith("embedded:"):
            continue
        folder = work / part
        _WRITERS.get(part, _main)(spec, source, folder, work)
        _keep(folder, source, library.folder_of(spec, part))
    return library


def _main(spec: AnySpec, source: WeightSource, folder: Path, work: Path) -> None:
    if spec.kind == "scorer":
        _clip(folder)
        return
    plain = (MAINS.get(spec.weights_of or spec.name) or SAVERS[spec.family])(work / "plain")
    # As published: sharded, in the variant that the description asks for, in full precision.
    looks = {"processor": None} if (plain / "processor").exists() else {}
    pipeline = DiffusionPipeline.from_pretrained(plain, local_files_only=True, **looks)
    pipeline.save_pretrained(folder, variant=source.variant)
    if looks:
        tiny_models.add_vision_processor(folder)
    if spec.name in SPIECE:
        tiny_models.as_sentencepiece(folder / "tokenizer")
    for name in LARGE:
        if getattr(pipeline, name, None) is not None and f"{name}/*.safetensors" in _asked(source):
            for whole in (folder / name).glob("*.safetensors"):
                whole.unlink()
            getattr(pipeline, name).save_pretrained(folder / name, max_shard_size=SHARD)


def _asked(source: WeightSource) -> set[str]:
    """The patterns of `source`, with `*.safetensors` said for each large component."""
    every = {f"{name}/*.safetensors" for name in LARGE} if "*.safetensors" in source.allow_patterns else set()
    return {*source.allow_patterns, *every}


def _clip(folder: Path) -> None:
    text, vision = tiny_models.clip_text_config(), tiny_models.clip_vision_config()
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    tiny_models.clip_tokenizer().save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)


def _ip_adapter(spec: AnySpec, source: WeightSource, folder: Path, work: Path) -> None:
    assert isinstance(spec, PictureModelSpec)
    adapter, main = work / "plain-adapter", work / "plain"
    if spec.family == "flux":
        made = tiny_models.save_flux_ip_adapter(adapter, main)
    else:
        made = tiny_models.save_ip_adapter(adapter, main, plus="-plus" in spec.adapter_weight_name)
    for name, path in ((spec.adapter_weight_name, "ip-adapter.safetensors"), (spec.image_encoder, "image_encoder")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made / path, folder / name)


def _image_encoder(spec: AnySpec, source: WeightSource, folder: Path, work: Path) -> None:
    made = tiny_models.save_flux_ip_adapter(work / "plain-encoder", work / "plain")
    shutil.move(made / "image_encoder", folder)


def _motion_adapter(spec: AnySpec, source: WeightSource, folder: Path, work: Path) -> None:
    plain = tiny_clips.save_motion_adapter(work / "plain-motion")
    MotionAdapter.from_pretrained(plain, local_files_only=True).save_pretrained(folder, variant=source.variant)


def _lora(spec: AnySpec, source: WeightSource, folder: Path, work: Path) -> None:
    assert isinstance(spec, PictureModelSpec)
    lora = spec.loras["fast"]
    if lora.second_weight_name is None:
        (name,) = lora.allow_patterns
        tiny_models.save_lightning_lora(work / "plain", folder / name)
    else:
        tiny_clips.save_expert_loras(work / "plain", folder, lora)


_WRITERS: dict[str, Callable[[AnySpec, WeightSource, Path, Path], None]] = {
    "ip_adapter": _ip_adapter,
    "image_encoder": _image_encoder,
    "motion_adapter": _motion_adapter,
    lora_part("fast"): _lora,
}


def _keep(folder: Path, source: WeightSource, target: Path) -> None:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and any(fnmatch(name, pattern) for pattern in source.allow_patterns):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
    write_manifest(target, source.repository, source.revision)
