"""The fields that requests for pictures and for videos share, and their checks against a model's description.

Names follow vLLM-Omni and SGLang (`negative_prompt`, `num_inference_steps`, `lora`, `extra_params`); the `ip_adapter`
object speaks InvokeAI's vocabulary. An unknown field is an error: a setting that nobody reads would be a lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, StringConstraints, model_validator

from models.interfaces import (
    AdapterBlocks,
    AdapterSettings,
    Cutoff,
    EncodedImage,
    LoraUse,
    NoiseSpec,
    Plain,
    Reference,
    ReferenceRole,
    Seed,
    Unit,
)
from models.spec import ChatModelSpec, ImageModelSpec, PictureModelSpec, Preset, VideoModelSpec
from pipelines.brief import MAX_PROMPT
from serving.backends.interface import Spec
from serving.gateway.problems import Problem, refuse
from serving.gateway.requests import Id, PictureSource
from serving.model_names import ModelKind, stand_in, stand_in_note, unknown_model

KINDS: Mapping[type[Spec], ModelKind] = {ChatModelSpec: "chat", ImageModelSpec: "image", VideoModelSpec: "video"}
ADDRESSES = {"chat": "/v1/chat/completions", "image": "/v1/images/generations", "video": "/v1/videos"}
MAX_PICTURES = 3
MAX_LORAS = 16
AdapterMethod = Literal["full", "style", "composition"]
BLOCKS: dict[AdapterMethod, AdapterBlocks] = {"full": "all", "style": "style", "composition": "layout"}
"""InvokeAI's method to the blocks of the denoiser that the references reach."""
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT)]
Word = Annotated[str, StringConstraints(max_length=1000)]
"""A short text that is not used, or names something."""
Kind = TypeVar("Kind", ChatModelSpec, ImageModelSpec, VideoModelSpec)


class IpAdapter(Plain):
    """Reference pictures that condition a generation through the IP-Adapter."""

    images: Annotated[list[PictureSource], Field(max_length=MAX_PICTURES)] = Field(default_factory=list)
    """Also under InvokeAI's other name `image`. In an edit the images of the body join them."""
    weight: Unit | Annotated[list[Unit], Field(min_length=1, max_length=MAX_PICTURES)] = AdapterSettings().scale
    """One for all, or one per image in their order."""
    method: AdapterMethod = "full"
    """`full`: everything; `style`: look without layout; `composition`: layout without look."""
    begin_step_percent: Unit = 0.0
    """Where in the denoising the images begin to act, 0 to 1 (its end)."""
    end_step_percent: Unit = 1.0
    """Where in the denoising the images cease to act, 0 to 1 (its end)."""
    role: ReferenceRole | Annotated[list[ReferenceRole], Field(min_length=1, max_length=MAX_PICTURES)] = "product"
    """What the images show: one for all, or one per image in their order."""
    mask: PictureSource | None = None
    """Where the images act: its transparent parts; in a file without any, the white ones. Pictures only, and models
    that say `reference_mask`."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, data: Any) -> Any:
        if isinstance(data, dict) and "image" in data and "images" not in data:
            data = {**data, "images": data["image"]}
            del data["image"]
        if isinstance(data, dict) and "images" in data and not isinstance(data["images"], list):
            data = {**data, "images": [data["images"]]}
        return data

    @model_validator(mode="after")
    def _sound(self) -> IpAdapter:
        if self.begin_step_percent > self.end_step_percent:
            raise ValueError("begin_step_percent must not be greater than end_step_percent")
        return self


class SharedNoise(Plain):
    """Start noise that several requests have in common, so that their pictures resemble each other."""

    shared_seed: Seed = 0
    """Seed of the noise that they have in common."""
    shared_strength: Unit = 0.0
    """0: none of it; 1: all start from the same noise. It is the correlation between the noises."""
    shared_cutoff: Cutoff | None = None
    """Only what is coarser than this is shared, in cycles per latent cell, 0 (nothing) to 0.5; null: every
    frequency."""

    def noise(self, seed: int) -> NoiseSpec:
        """The start noise of a request with this `seed`."""
        return NoiseSpec(
            seed=seed,
            shared_seed=self.shared_seed,
            shared_strength=self.shared_strength,
            shared_cutoff=self.shared_cutoff,
        )


class Sampling(Plain):
    """How a picture or clip is sampled. Fields that are left out are as the model's description says."""

    prompt: Prompt
    """What to show, at most 5,000 characters."""
    model: Id | None = None
    """One of `/v1/models`; none: the first of its kind. The name of a model that runs elsewhere (`flux-pro`, `sora-2`)
    is answered by the nearest one here, said in `notes`."""
    strict: bool = False
    """Refuse a model, size or length that is not to be had here, instead of making the nearest and saying so."""
    negative_prompt: Annotated[str, StringConstraints(max_length=MAX_PROMPT)] = ""
    """What the picture must not show, at most 5,000 characters; empty: nothing is excluded."""
    preset: Word | None = None
    """Settings that the model has under this name (`presets` in `/v1/models`), such as `fast`: LoRAs, steps and
    guidance together. What is given beside it comes before it; null: none."""
    num_inference_steps: Annotated[int, Field(ge=1, le=200)] | None = None
    """Denoising steps, 1 to 200; null: the model's default."""
    guidance_scale: Annotated[float, Field(ge=0.0, le=30.0)] | None = None
    """How strictly the prompt is followed, 0 to 30; null: the model's default."""
    lora: LoraUse | Annotated[list[LoraUse], Field(max_length=MAX_LORAS)] = Field(default_factory=list)
    """LoRAs that the model's description lists."""
    ip_adapter: IpAdapter | None = None
    """Reference pictures, and how they act; null: none."""
    deterministic: bool = False
    """Run alone and without approximating caches: the same bits whatever else the server does."""
    user: Word | None = None
    """Taken for compatibility; not used."""
    extra_params: Annotated[dict[str, Any], Field(max_length=100)] | None = None
    """Fields of this request for clients that can only send a dict; a key that is no field is an error."""

    @model_validator(mode="before")
    @classmethod
    def _spread_extra_params(cls, data: Any) -> Any:
        """The fields that were given. A field that is null was left out: so OpenAI's own schema has it."""
        if not isinstance(data, dict):
            return data
        data = {key: value for key, value in data.items() if value is not None}
        if not isinstance(data.get("extra_params"), dict):
            return data
        extra = data["extra_params"]
        twice = [key for key in extra if key in data]
        if twice:
            raise ValueError(f"{twice[0]!r} is given both as a field and in extra_params: give it once")
        return {**{key: value for key, value in data.items() if key != "extra_params"}, **extra}

    @property
    def loras(self) -> tuple[LoraUse, ...]:
        return (self.lora,) if isinstance(self.lora, LoraUse) else tuple(self.lora)


def find_model(
    specs: Mapping[str, Spec], name: str | None, kind: type[Kind], strict: bool = False
) -> tuple[Kind, tuple[str, ...]]:
    """The model `name`, or the first of its kind, and a note where it stands in for one that runs elsewhere.

    Raises Problem: 404 for a name that nobody knows, and under `strict` for every other name; 422 of another kind.
    """
    of_kind = [spec for spec in specs.values() if isinstance(spec, kind)]
    word = KINDS[kind]
    if name is None:
        if not of_kind:
            raise Problem("model_not_found", f"this server has no {word} model", "model")
        return of_kind[0], ()
    spec = specs.get(name)
    if isinstance(spec, kind):
        return spec, ()
    known = [each.name for each in of_kind]
    if spec is not None:
        text = f"model {name!r} makes {spec.kind}s: ask {ADDRESSES[spec.kind]}, or take one of {', '.join(known)}"
        refuse("model", text)
    nearest = None if strict else stand_in(name, word, known)
    if nearest is None:
        raise Problem("model_not_found", unknown_model(name, word, known), "model")
    return next(each for each in of_kind if each.name == nearest), (stand_in_note(name, nearest),)


def sampled(body: Sampling, spec: PictureModelSpec) -> Preset:
    """Steps, guidance and LoRAs of a request: its own, else those of its preset, else the model's.

    Raises Problem 422 for a preset or LoRA that the model does not have, and for a LoRA that is named twice.
    """
    if body.preset is not None and body.preset not in spec.presets:
        known = ", ".join(spec.presets) or "none"
        refuse("preset", f"model {spec.name!r} has no preset {body.preset!r}: choose from {known}")
    preset = spec.preset(body.preset)
    loras = (*preset.loras, *body.loras)
    check_loras(spec, loras)
    return Preset(
        loras=loras,
        num_inference_steps=body.num_inference_steps or preset.num_inference_steps,
        guidance_scale=preset.guidance_scale if body.guidance_scale is None else body.guidance_scale,
    )


def check_loras(spec: PictureModelSpec, loras: Sequence[LoraUse]) -> None:
    """Raises Problem 422 for a LoRA that the model does not have, or that is named twice."""
    names = [lora.name for lora in loras]
    for name in names:
        if name not in spec.loras:
            known = ", ".join(spec.loras) or "none"
            refuse("lora", f"model {spec.name!r} has no LoRA {name!r}: choose from {known}")
        if names.count(name) > 1:
            refuse("lora", f"LoRA {name!r} is named twice: give it once with one scale")


def check_references(spec: PictureModelSpec, count: int, param: str) -> None:
    """Raises Problem 422 when the model takes fewer than `count` references."""
    if count > spec.references:
        text = f"{param}: model {spec.name!r} takes {spec.references} reference images, not {count}"
        refuse(param, text, max_references=spec.references)


def check_strength(strength: float, steps: int, param: str) -> None:
    """Raises Problem 422 when `strength` leaves no denoising step to run."""
    if int(steps * strength) < 1:
        refuse(param, f"{param} {strength} of {steps} steps runs no step", min_strength=round(1 / steps, 4))


def takes_references_natively(spec: PictureModelSpec) -> bool:
    """Whether the family reads several images itself (Flux.2, Qwen-Image-Edit-Plus), without an adapter."""
    return spec.references > 0 and "ip_adapter" not in spec.weights


def adapter_settings(adapter: IpAdapter | None, mask: EncodedImage | None = None) -> AdapterSettings:
    """The settings of an adapter as engines take them; `mask` is its decoded mask.

    One weight is the scale; several weigh the references against each other, at a scale of 1.
    """
    if adapter is None:
        return AdapterSettings()
    return AdapterSettings(
        scale=1.0 if isinstance(adapter.weight, list) else adapter.weight,
        blocks=BLOCKS[adapter.method],
        begin_step_percent=adapter.begin_step_percent,
        end_step_percent=adapter.end_step_percent,
        mask=mask,
    )


def check_adapter(spec: PictureModelSpec, adapter: IpAdapter | None, joined: int = 0) -> None:
    """Raises Problem 422 when the model cannot do what the adapter asks for.

    `joined`: images of the body that act as references beside the adapter's own.
    """
    if adapter is None:
        check_references(spec, joined, "image")
        return
    count = len(adapter.images) + joined
    if adapter.mask is not None and not spec.reference_mask:
        text = f"ip_adapter.mask: model {spec.name!r} cannot keep its references to a region; leave it out"
        raise Problem("unsupported", text, "ip_adapter.mask")
    if count == 0:
        refuse("ip_adapter.images", "ip_adapter.images: give at least one image")
    if isinstance(adapter.weight, list) and len(adapter.weight) != count:
        text = f"ip_adapter.weight: {len(adapter.weight)} weights for {count} images: give one weight, or one each"
        refuse("ip_adapter.weight", text)
    if isinstance(adapter.role, list) and len(adapter.role) != count:
        text = f"ip_adapter.role: {len(adapter.role)} roles for {count} images: give one role, or one each"
        refuse("ip_adapter.role", text)
    check_references(spec, count, "ip_adapter.images")


def sources(adapter: IpAdapter | None) -> list[tuple[str, PictureSource]]:
    """The adapter's own images with the names of their fields."""
    images = adapter.images if adapter else []
    return [(f"ip_adapter.images.{index}", image) for index, image in enumerate(images)]


def weights(adapter: IpAdapter | None, count: int) -> list[float]:
    """The weight of each of `count` references."""
    return adapter.weight if adapter and isinstance(adapter.weight, list) else [1.0] * count


def roles(adapter: IpAdapter | None, count: int) -> list[ReferenceRole]:
    """The role of each of `count` references."""
    role = adapter.role if adapter else "product"
    return role if isinstance(role, list) else [role] * count


def references(adapter: IpAdapter | None, images: list[EncodedImage]) -> tuple[Reference, ...]:
    """`images` with the roles and weights that the adapter gives them."""
    count = len(images)
    return tuple(
        Reference(image=image, role=role, weight=weight)
        for image, role, weight in zip(images, roles(adapter, count), weights(adapter, count), strict=True)
    )
