"""What one model is: family, weights, licence and defaults, as its YAML file in `configs/models/` describes it."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models.errors import InvalidRequest
from models.interfaces import ImageRequest, LoraUse, LowpassShare, Plain

PACKAGES = "pip install 'admint[scores-local]'"
"""What brings the packages that hold models."""
AspectRatio = Literal["9:16", "16:9", "1:1"]
CameraMove = Literal["static", "push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "tilt_down", "orbit"]
Size = tuple[int, int]
"""Width, height in pixels."""
BUDGET_FACTOR = 4
"""A request may be this many times as large as the largest default size, unless the model's description says."""


class WeightSource(Plain):
    """One folder of weights, at a pinned revision."""

    repository: str
    """Hub repository `owner/name`, `embedded:sketch/NAME` for weights that ship with the project, or `converted:KIND`
    for weights that `admint models convert` makes from what their authors published elsewhere."""
    revision: str
    """Commit hash of the repository; the project version for embedded weights; for converted ones the sha256 of the
    published file, or `unpinned` where its authors state none."""
    allow_patterns: tuple[str, ...] = ("*.safetensors", "*.json", "*.txt", "*.model")
    variant: str | None = None
    """Infix of the weight files to load, such as `fp16` of `model.fp16.safetensors`; None: the plain names."""


class LoraSource(WeightSource):
    """A LoRA: one file, or two for a model of two denoisers."""

    weight_name: str | None = None
    """File for the first denoiser; None: the only safetensors file of the folder."""
    second_weight_name: str | None = None
    """File for the second denoiser (`transformer_2`): LoRAs of Wan 2.2 A14B come in pairs, for high and low noise."""
    scheduler: dict[str, Any] | None = None
    """What the scheduler is set to while this LoRA acts, as in `PictureModelSpec.scheduler`: a LoRA that was distilled
    to a few steps was so under one shift. None: the model's own."""


Commercial = Literal["yes", "no", "below-revenue", "territory"]
"""Whether paid work may use the weights: freely; never; below a yearly revenue; outside of some countries."""


class Quantisation(Plain):
    """Weights of 8 bits, by torchao: half the memory of 16-bit ones. Changes what a model makes, in each call alike."""

    to: Literal["int8_weights", "float8_weights", "float8_products"]
    """`int8_weights` and `float8_weights` are computed with in the model's `dtype`; `float8_products` also multiplies
    in float8, activations rounded per token: faster on Ada, Hopper and later, refused elsewhere."""
    components: Annotated[tuple[str, ...], Field(min_length=1)]
    """Of the pipeline, by name: `[transformer, text_encoder]`."""


class Acceleration(Plain):
    """How a diffusers pipeline is placed on its device and made faster. Everything off: plain diffusers."""

    offload: Literal["none", "model", "sequential", "group"] = "none"
    """What waits in host memory while it is not needed (diffusers' three ways)."""
    attention_backend: str | None = None
    """Name for `set_attention_backend`, or `auto`: the best exact one that the card and the installed packages have
    (`models.diffusion.attention`); None: torch's own choice."""
    compile: Literal["none", "regional"] = "none"
    """`regional`: the repeated blocks of the denoiser."""
    cache: dict[str, Any] | None = None
    """`{class: FirstBlockCacheConfig, threshold: 0.05}`: skips work by approximation; off in deterministic calls."""
    quantisation: Quantisation | None = None
    """Which components' weights are rounded to 8 bits when they are loaded."""
    storage: Literal["float8_e4m3fn", "float8_e5m2"] | None = None
    """The denoiser's weights as they lie in memory, cast layer by layer to `dtype` for the computation: half the memory
    of a 16-bit denoiser without a further package (diffusers' `enable_layerwise_casting`)."""
    vae_tiling: bool = False


class SpecBase(Plain):
    """What every model has: a name, a family, a licence, a need of memory and folders of weights."""

    name: str
    family: str
    """Key of `models.registry.FAMILIES`."""
    licence: str
    commercial: Commercial = "no"
    """What the licence says of paid work; a description that does not say so is taken for a no."""
    commercial_condition: str = ""
    """What `below-revenue` and `territory` mean for these weights, in a sentence."""
    vram_gb: float
    """Published or measured need of device memory at the default size; 0 for CPU and remote models."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    weights: dict[str, WeightSource] = Field(default_factory=dict)
    """Folders by part name; each family says which parts it needs (`main`, `ip_adapter`, `motion_adapter` …)."""
    weights_of: str | None = None
    """Name of the model whose folders on this machine hold the same weights; None: folders of its own name."""
    packages: tuple[str, ...] = ()
    """Packages that hold and run it, all of the extra `scores-local`, of a model without folders of weights."""

    @model_validator(mode="after")
    def _condition_is_named(self) -> Self:
        if (self.commercial in ("below-revenue", "territory")) != bool(self.commercial_condition):
            raise ValueError(
                f"commercial: {self.commercial} and commercial_condition {self.commercial_condition!r} do not fit:"
                " a condition is named for `below-revenue` and `territory`, and only there"
            )
        return self

    def parts(self) -> dict[str, WeightSource]:
        """Every folder that this model needs, by part name."""
        return self.weights


class ChatModelSpec(SpecBase):
    """A language model, in this process, in vLLM or behind an OpenAI-compatible server."""

    kind: Literal["chat"]
    vision: bool
    """Whether messages may carry images."""
    base_url: str | None = None
    """Only for the `openai` family."""
    remote_model: str | None = None
    """Model name on the remote server; only for the `openai` family."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Given to the model's chat template by vLLM and servers like it: `{enable_thinking: false}` switches the reasoning
    off that would eat up `max_tokens`."""
    temperature: float = 0.7
    max_tokens: int = 1024
    timeout_seconds: float = 120.0


Words = dict[str, tuple[str, ...]]
"""The words for each thing, the thing's own name among them."""


class Domain(Plain):
    """What a family was trained to draw, by name, with all words that mean the same. What it lacks it cannot draw."""

    products: Words
    default_product: str
    """Drawn for a brief that names no product."""
    colours: Words
    materials: Words
    settings: Words
    settings_as_said: dict[str, str]
    """Each setting as a place in a sentence: `on the beach`."""
    times: Words
    """Times of day."""
    languages: tuple[str, ...] = ("en",)
    """Of briefs that its agents understand, ISO 639-1."""
    nearest_colours: dict[str, str] = Field(default_factory=dict)
    """For colours that it lacks."""

    def own_words(self, text: str) -> str:
        """`text` with other words for what the domain knows replaced by its own: `running shoes` becomes `shoe`.

        A text encoder of a few hundred words reads what it was not trained with as nothing, and the picture shows any
        product. A phrase that already says the domain's word stays: `kitchen counter`.
        """
        names = {
            word: kind
            for words in (self.settings, self.times, self.materials, self.colours, self.products)
            for kind, several in words.items()
            for word in (kind, *several)
        }

        def own(found: re.Match[str]) -> str:
            kind = names[found[1].lower()]
            return found[0] if kind in found[0].lower().split() else kind

        longest_first = "|".join(re.escape(word) for word in sorted(names, key=len, reverse=True))
        return re.sub(rf"\b({longest_first})(?:s|es)?\b", own, text, flags=re.IGNORECASE)


class Preset(Plain):
    """Settings of a request that are right only together: a step-distilled LoRA with its few steps and no guidance."""

    loras: tuple[LoraUse, ...] = ()
    """They act beside those that the request names itself."""
    num_inference_steps: Annotated[int, Field(ge=1, le=200)]
    guidance_scale: Annotated[float, Field(ge=0.0, le=30.0)]


class PictureModelSpec(SpecBase):
    """What image and video models have in common."""

    domain: Domain | None = None
    """None: open, as for models that were trained on pictures of everything."""
    sizes: dict[AspectRatio, Size]
    size_multiple: int = 8
    num_inference_steps: int
    guidance_scale: float
    references: Annotated[int, Field(ge=0, le=3)]
    """How many references the family takes with these weights; 0 without an adapter."""
    reference_mask: bool = False
    """Whether the family can keep its references to a region of the picture."""
    adapter_weight_name: str = "ip-adapter.safetensors"
    """File in the `ip_adapter` part."""
    image_encoder: str = "image_encoder"
    """Folder in the `ip_adapter` part."""
    scheduler: dict[str, Any] | None = None
    """`{class: DPMSolverMultistepScheduler, ...config}`; None keeps the scheduler of the folder."""
    acceleration: Acceleration = Acceleration()
    max_pixels: Annotated[int, Field(ge=1)] | None = None
    """Budget of one request: width * height * frames. None: four times the largest default size and length."""
    batch_pixels: Annotated[int, Field(ge=0)] = 0
    """Requests that fit together share a batch up to width * height * frames * requests; 0: one at a time."""
    warm_up: tuple[AspectRatio, ...] = ()
    """Sizes to run once before the server says ready; none: the first of `sizes`."""
    seconds_per_step: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Measured seconds of one denoising step at the largest default size and length, by the device's name."""
    loras: dict[str, LoraSource] = Field(default_factory=dict)
    """LoRAs that a request may ask for by name."""
    presets: dict[str, Preset] = Field(default_factory=dict)
    """Settings that a request may ask for by one name: `fast`."""

    @model_validator(mode="after")
    def _presets_name_loras(self) -> Self:
        for name, preset in self.presets.items():
            for lora in preset.loras:
                if lora.name not in self.loras:
                    raise ValueError(f"presets.{name}: the model has no LoRA {lora.name!r}; describe it in `loras`")
        return self

    def preset(self, name: str | None) -> Preset:
        """The settings called `name`; the model's own for None. Raises InvalidRequest with the names that there are."""
        if name is None:
            return Preset(num_inference_steps=self.num_inference_steps, guidance_scale=self.guidance_scale)
        if name not in self.presets:
            known = ", ".join(sorted(self.presets)) or "none"
            raise InvalidRequest(f"model {self.name!r} has no preset {name!r}; it has: {known}")
        return self.presets[name]

    def parts(self) -> dict[str, WeightSource]:
        """Every folder that this model needs, by part name; a LoRA's as `lora-NAME`."""
        return {**self.weights, **{lora_part(name): source for name, source in self.loras.items()}}

    def pixel_budget(self) -> int:
        """The most width * height * frames that one request may ask for."""
        return self.max_pixels or BUDGET_FACTOR * max(width * height for width, height in self.sizes.values())

    def check_pixels(self, width: int, height: int, frames: int = 1) -> None:
        """Raises InvalidRequest with the limit when a request is over the budget: to be asked before queueing."""
        wanted, limit = width * height * frames, self.pixel_budget()
        if wanted > limit:
            clip = f" x {frames} frames" if frames > 1 else ""
            raise InvalidRequest(
                f"{width}x{height}{clip} is {wanted} pixels, but model {self.name!r} takes at most {limit} per request;"
                f" ask for a smaller size{' or a shorter clip' if clip else ''}"
            )


def lora_part(name: str) -> str:
    """Part name of the LoRA `name`."""
    return f"lora-{name}"


SHARES_ATTENTION = frozenset({"stable-diffusion", "stable-diffusion-xl"})
"""Image families whose pictures can look at each other's tokens (`models.diffusion.shared_attention`)."""


class ImageModelSpec(PictureModelSpec):
    """A model that makes pictures."""

    kind: Literal["image"]

    @property
    def attention_refusal(self) -> str | None:
        """Why pictures of this model cannot share their attention; None when they can."""
        if self.family not in SHARES_ATTENTION:
            able = " and ".join(sorted(SHARES_ATTENTION))
            return f"the family {self.family!r} of model {self.name!r} cannot; {able} can"
        if self.acceleration.compile != "none":
            return f"model {self.name!r} is compiled, and its layers cannot be hooked: set `compile: none`"
        return None

    def batch_key(self, request: ImageRequest) -> str | None:
        """What requests of one batch have in common: size, steps, guidance, LoRAs, and how the references act.

        None: this one runs alone. Needs no loaded model, so that a queue can be sorted while another model runs.
        """
        alone = request.start or request.inpaint or request.deterministic
        alone = alone or request.keep_attention is not None or request.attention_bank is not None
        if alone or not self.batch_pixels or self.acceleration.cache:
            return None  # residual caches decide for a whole batch, so its items would change each other
        shared = request.model_dump(include={"width", "height", "num_inference_steps", "guidance_scale", "loras"})
        if request.references:
            mask = request.adapter.mask
            shared["adapter"] = request.adapter.model_dump(exclude={"mask"})
            shared["mask"] = mask and mask.sha256
            shared["references"] = [(reference.role, reference.weight) for reference in request.references]
        return json.dumps(shared, sort_keys=True)


LOWPASSES_CONDITION = frozenset({"animatediff", "wan"})
"""Video families that can look at their given frames without the fine detail, in the first steps."""


class VideoModelSpec(PictureModelSpec):
    """A model that makes clips."""

    kind: Literal["video"]
    guidance_scale_2: float | None = None
    """Guidance of the second denoiser where `guidance_scale` is that of the first (Wan 2.2 A14B); None: the same."""
    native_fps: int
    max_frames: int
    frame_multiple: int = 1
    """Frame counts are `frame_multiple * k + 1` (Wan: 4), or any count when 1."""
    first_frame: Literal["required", "optional", "unused"] = "required"
    """Whether a clip starts from a keyframe: always, if one is given, or never (text-to-video)."""
    keyframe: Literal["held", "followed"] = "held"
    """What the weights are trained to see in each frame (PIA-type families): the keyframe itself, or the keyframe as
    the moved camera sees it (`models.video.animatediff`)."""
    last_frame: bool = False
    """Whether the family can end on a given frame."""
    continues: bool = False
    """Whether a clip can go on from the latents of the one before, without a picture in between."""
    sound: bool = False
    """Whether its clips can be heard."""
    camera_moves: tuple[CameraMove, ...] = ("static",)
    """Moves that the weights understand; a text family lists all and folds the words into the prompt."""
    cond_lowpass_until: LowpassShare = 0.0
    """Share of the steps in which its given frames are seen without fine detail, where an ad does not say."""

    @model_validator(mode="after")
    def _family_sees_coarsely(self) -> Self:
        if self.cond_lowpass_until and self.family not in LOWPASSES_CONDITION:
            raise ValueError(
                f"cond_lowpass_until: the family {self.family!r} cannot look at a coarse first frame: leave it out, or"
                f" describe a model of {' or '.join(sorted(LOWPASSES_CONDITION))}"
            )
        return self

    def pixel_budget(self) -> int:
        """The most width * height * frames that one request may ask for, over the longest clip."""
        return self.max_pixels or super().pixel_budget() * self.max_frames


class ScorerModelSpec(SpecBase):
    """A network behind learned quality dimensions: a CLIP model, or another backbone."""

    kind: Literal["scorer"]
    fidelity: Literal["published", "proxy", "toy"] = "proxy"
    """What its weights are: those that published metrics are defined with, others trained for the same, or those of a
    toy world."""
    device: Literal["cpu"] | None = None
    """Where it runs whatever device the profile is for: a small network beside models that fill the card; None: on the
    profile's."""


ModelSpec = Annotated[ChatModelSpec | ImageModelSpec | VideoModelSpec | ScorerModelSpec, Field(discriminator="kind")]
