"""What requests for pictures and for videos have in common: the superset fields, under the names other servers use.

Names follow vLLM-Omni and SGLang (`negative_prompt`, `num_inference_steps`, `lora`, `extra_params`); the `ip_adapter`
object speaks InvokeAI's vocabulary. An unknown field is an error: a setting that nobody reads would be a lie.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from models.interfaces import AdapterBlocks, AdapterSettings, LoraUse, Plain, ReferenceRole, Seed, Unit
from pipelines.brief import MAX_PROMPT
from serving.gateway.bodies import FileField

AdapterMethod = Literal["full", "style", "composition"]
BLOCKS: dict[AdapterMethod, AdapterBlocks] = {"full": "all", "style": "style", "composition": "layout"}
"""InvokeAI's method to the blocks of the denoiser that the references reach."""
MAX_PICTURES = 3
PictureSource = FileField | str
"""A file of a multipart body, base64 (plain or as a data URL), or the id of an artifact."""
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT)]


class IpAdapter(Plain):
    """Reference pictures that condition a generation through the IP-Adapter."""

    images: Annotated[list[PictureSource], Field(max_length=MAX_PICTURES)] = Field(default_factory=list)
    """Also under InvokeAI's other name `image`. In an edit the images of the body join them."""
    weight: Unit | Annotated[list[Unit], Field(min_length=1, max_length=MAX_PICTURES)] = AdapterSettings().scale
    """One for all, or one per image in their order."""
    method: AdapterMethod = "full"
    """`full`: everything; `style`: look without layout; `composition`: layout without look."""
    begin_step_percent: Unit = 0.0
    end_step_percent: Unit = 1.0
    role: ReferenceRole | Annotated[list[ReferenceRole], Field(min_length=1, max_length=MAX_PICTURES)] = "product"
    """What the images show: one for all, or one per image in their order."""
    mask: PictureSource | None = None
    """Where the images act: white or transparent there. Pictures only, and models that say `reference_mask`."""

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
    shared_strength: Unit = 0.0
    """0: none of it; 1: all start from the same noise. It is the correlation between the noises."""


class Sampling(Plain):
    """How a picture or clip is sampled. What is left out is as the model's description says."""

    prompt: Prompt
    model: str | None = None
    """One of `/v1/models`; none: the first of its kind."""
    negative_prompt: Annotated[str, StringConstraints(max_length=MAX_PROMPT)] = ""
    num_inference_steps: Annotated[int, Field(ge=1, le=200)] | None = None
    guidance_scale: Annotated[float, Field(ge=0.0, le=30.0)] | None = None
    lora: LoraUse | list[LoraUse] = Field(default_factory=list)
    """LoRAs that the model's description lists."""
    ip_adapter: IpAdapter | None = None
    deterministic: bool = False
    """Run alone and without approximating caches: the same bits whatever else the server does."""
    user: str | None = None
    """Taken for compatibility; not used."""
    extra_params: dict[str, Any] | None = None
    """Fields of this request for clients that can only send a dict; a key that is no field is an error."""

    @model_validator(mode="before")
    @classmethod
    def _spread_extra_params(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("extra_params"), dict):
            return data
        extra = data["extra_params"]
        twice = [key for key in extra if key in data]
        if twice:
            raise ValueError(f"{twice[0]!r} is given both as a field and in extra_params: give it once")
        return {**{key: value for key, value in data.items() if key != "extra_params"}, **extra}

    @property
    def loras(self) -> tuple[LoraUse, ...]:
        return (self.lora,) if isinstance(self.lora, LoraUse) else tuple(self.lora)
