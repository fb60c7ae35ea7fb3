"""A single clip (`/v1/videos`) as an order that is checked and complete, and the generation that makes it.

Uploads are artifacts by now, and defaults of the model are filled in.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated

from pydantic import Field

from models.interfaces import AdapterSettings, LoraUse, NoiseSpec, Plain
from models.spec import AspectRatio, CameraMove, Size, VideoModelSpec
from pipelines.brief import Brief, BriefReference
from pipelines.coherence import CoherenceSettings
from pipelines.recipe import ClipSettings, Recipe, SampleSettings
from pipelines.screenplay import Scene, SceneDraft, ScenesResult
from pipelines.stages.storyboard import Keyframe
from pipelines.steps import Json


class ClipOrder(Plain):
    """One clip of one video model."""

    prompt: Annotated[str, Field(min_length=1)]
    model: str
    """Name of the video model."""
    size: Size
    """Width, height in pixels, of keyframe and clip; both even and multiples of the model's `size_multiple`."""
    num_frames: Annotated[int, Field(ge=1)]
    """Frames at the model's native rate."""
    noise: NoiseSpec
    """Start noise of the clip, and of the keyframe that is drawn for it."""
    num_inference_steps: Annotated[int, Field(ge=1, le=200)]
    guidance_scale: Annotated[float, Field(ge=0.0, le=30.0)]
    negative_prompt: str = ""
    camera: CameraMove = "static"
    first_frame: str | None = None
    """sha256 of the PNG artifact to start from (`input_reference`); None: the storyboard stage draws the keyframe
    where the model needs one."""
    references: tuple[BriefReference, ...] = ()
    adapter: AdapterSettings = AdapterSettings()
    loras: tuple[LoraUse, ...] = ()
    deterministic: bool = False


def clip_generation(order: ClipOrder, spec: VideoModelSpec, recipe: Recipe) -> tuple[Brief, Recipe, Json]:
    """Brief, recipe and given stage outputs of the generation that makes `order`'s one clip.

    `recipe` is `clip`. Without a first frame the storyboard stage draws one where the model needs it, with the image
    model's own steps and guidance: those of the order are the clip's.
    """
    brief = Brief(
        prompt=order.prompt,
        duration=ceil(order.num_frames / spec.native_fps),
        aspect_ratio=nearest_ratio(order.size),
        num_scenes=1,
        references=order.references,
        coherence=_coherence(order),
        seed=order.noise.seed,
    )
    given: Json = {"scenes": _scene(order).model_dump(mode="json")}
    if order.first_frame is not None:
        still = Keyframe(scene_number=1, artifact=order.first_frame, noise_sha256=None)
        given["keyframes"] = [still.model_dump(mode="json")]
    elif spec.first_frame != "required":
        given["keyframes"] = []
    sampled = recipe.model_copy(
        update={
            "image": SampleSettings(
                size=order.size, negative_prompt=order.negative_prompt, deterministic=order.deterministic
            ),
            "video": ClipSettings(
                size=order.size,
                num_inference_steps=order.num_inference_steps,
                guidance_scale=order.guidance_scale,
                negative_prompt=order.negative_prompt,
                loras=order.loras,
                deterministic=order.deterministic,
                num_frames=order.num_frames,
            ),
        }
    )
    return brief, sampled, given


def nearest_ratio(size: Size) -> AspectRatio:
    """The contract's ratio that is closest to a size."""
    ratios: dict[AspectRatio, float] = {"9:16": 9 / 16, "1:1": 1.0, "16:9": 16 / 9}
    return min(ratios, key=lambda name: abs(ratios[name] - size[0] / size[1]))


def _coherence(order: ClipOrder) -> CoherenceSettings:
    noise, adapter = order.noise, order.adapter
    shares = noise.shared_strength > 0.0
    return CoherenceSettings(
        seed_policy="exact",
        shared_seed=noise.shared_seed if shares else None,
        blend_strength=noise.shared_strength,
        shared_cutoff=noise.shared_cutoff,
        adapter_scale=adapter.scale,
        adapter_blocks=adapter.blocks,
        adapter_begin=adapter.begin_step_percent,
        adapter_end=adapter.end_step_percent,
    )


def _scene(order: ClipOrder) -> ScenesResult:
    draft = SceneDraft(setting="", action=order.prompt, camera=order.camera, entities=())
    scene = Scene(
        scene_number=1,
        purpose="",
        frames=order.num_frames,
        draft=draft,
        image_prompt=order.prompt,
        video_prompt=order.prompt,
        content=order.prompt,
        iterations=0,
        approved=True,
        critique=None,
    )
    return ScenesResult(scenes=(scene,), cohesion=None, cohesion_rounds=0)
