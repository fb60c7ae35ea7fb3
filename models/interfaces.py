"""The three model interfaces and the plain frozen data that crosses them.

Every engine implements one of `ChatModel`, `ImageModel`, `VideoModel`: a blocking call that takes a frozen request and
a `Watcher`, and returns a frozen result. Requests hold only numbers, strings and encoded image bytes, so that they
can be hashed, stored and sent to another process. Results hold uint8 arrays, which can be shared without a copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from models.errors import ModelError

if TYPE_CHECKING:  # commands that only talk to a server do without numpy, an eighth of their start
    import numpy as np
    import numpy.typing as npt

Frames: TypeAlias = "npt.NDArray[np.uint8]"
"""Shape (frames, height, width, 3), RGB, 0..255."""
Pixels: TypeAlias = "npt.NDArray[np.uint8]"
"""Shape (height, width, 3), RGB, 0..255."""
Samples: TypeAlias = "npt.NDArray[np.float32]"
"""Shape (channels, samples), -1..1."""

ReferenceRole = Literal["character", "product", "style"]
FinishReason = Literal["stop", "length"]
AdapterBlocks = Literal["all", "style", "layout"]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


LowpassShare = Annotated[float, Field(ge=0.0, le=0.2)]
Cutoff = Annotated[float, Field(ge=0.0, le=0.5)]
WRITTEN_IF_SET: Any = Field(exclude_if=lambda value: value is None)
"""Of a field that came later: data without it is written as before, so that steps keep the keys that they had."""


class Plain(BaseModel):
    """Base of all plain data: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EncodedImage(Plain):
    """One PNG, JPEG or WebP file held as bytes."""

    data: bytes
    """The bytes of the file."""

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the file."""
        return hashlib.sha256(self.data).hexdigest()


class Watcher(Protocol):
    """Follows one running call, and may stop it: `step` is called after every denoising step or block of tokens."""

    def step(self, done: int, total: int) -> None:
        """Record progress. Raises `Cancelled` to stop the call within this very step."""


class Unwatched:
    """The watcher of a call that nobody follows."""

    def step(self, done: int, total: int) -> None:
        return None


def unread(piece: str) -> None:
    """The `write` of a chat call whose pieces nobody reads."""


# --- chat -----------------------------------------------------------------------------------------------------------


class ChatMessage(Plain):
    """One turn of a conversation; its images come before its text."""

    role: Literal["system", "user", "assistant"]
    content: str
    images: tuple[EncodedImage, ...] = ()


class ChatRequest(Plain):
    """A conversation to be continued, and how."""

    messages: tuple[ChatMessage, ...]
    json_schema: dict[str, Any] | None = None
    """When given, the answer is guaranteed to be JSON that validates against this schema."""
    seed: Seed = 0
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.7
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """The answer ends before the first of these strings. Not beside `json_schema`, whose answers end by themselves."""
    timeout_seconds: Annotated[float, Field(gt=0.0)] = 120.0
    first_token: bool = False
    """Whether the result says how probable the tokens were that the answer could have begun with."""


@dataclass(frozen=True)
class ChatResult:
    """An answer, and what it took."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    finish_reason: FinishReason = "stop"
    notes: tuple[str, ...] = ()
    """What was not done as asked."""
    first_token: Mapping[str, float] = field(default_factory=dict)
    """Log-probability of the likeliest first tokens, at most 20, by their text, before any sampling. Empty where it was
    not asked for, or where a server does not say."""


class ChatModel(Protocol):
    """A language model that answers one conversation at a time."""

    def complete(self, request: ChatRequest, watcher: Watcher) -> ChatResult:
        """Answer `request` to its end: `finish_reason` is always `stop`.

        Raises InvalidRequest, BudgetExceeded (also when the tokens ran out), Cancelled, InferenceFailed.
        """
        ...

    def stream(self, request: ChatRequest, watcher: Watcher, write: Callable[[str], None]) -> ChatResult:
        """Answer `request` and hand each piece of the text to `write`, in this thread, as soon as it is certain.

        Raises as `complete`, but an answer that ran out of tokens is returned, with `finish_reason` `length`.
        """
        ...


# --- conditioning shared by images and video -------------------------------------------------------------------------


class NoiseSpec(Plain):
    """Start noise as two integers, a strength and a cut-off.

    z = sqrt(1 - a) * e(seed) + sqrt(a) * e(shared_seed) with a = `shared_strength`: variance-preserving, and the
    correlation between two scenes that share `shared_seed` is a. With `shared_cutoff` only low frequencies are blended
    (`models.diffusion.noise`).
    """

    seed: Seed
    """Seed of the noise of its own."""
    shared_seed: Seed = 0
    """Seed of the noise that it has in common with others."""
    shared_strength: Unit = 0.0
    """Share of the common noise, 0 (none of it) to 1 (nothing else)."""
    shared_cutoff: Annotated[Cutoff | None, WRITTEN_IF_SET] = None
    """Only what is coarser than this is shared, in cycles per latent cell, 0 (nothing) to 0.5 (all that the cells can
    show along a side); None: every frequency. In clips the frames are filtered one by one, in space."""


class Reference(Plain):
    """An image that conditions a generation through the IP-Adapter, with its own weight."""

    image: EncodedImage
    role: ReferenceRole
    weight: Unit = 1.0


class AdapterSettings(Plain):
    """How strongly, where and when the references act (IP-Adapter)."""

    scale: Unit = 0.6
    """Strength of the references, 0 (none) to 1."""
    blocks: AdapterBlocks = "all"
    """Blocks of the denoiser that they reach: `all`, `style` or `layout`."""
    begin_step_percent: Unit = 0.0
    """Where in the denoising they begin to act, 0 to 1 (its end)."""
    end_step_percent: Unit = 1.0
    """Where in the denoising they cease to act, 0 to 1 (its end)."""
    mask: EncodedImage | None = None
    """Where in the picture they act: white there, black elsewhere, grey in between; None: everywhere."""


class LoraUse(Plain):
    """One of the LoRAs that the model's description lists, with its strength."""

    name: Annotated[str, Field(max_length=200)]
    """One of the model's `loras`."""
    scale: Annotated[float, Field(ge=-2.0, le=2.0)] = 1.0
    """Strength, -2 to 2; 0 has no effect."""


class StartImage(Plain):
    """Image to start from instead of pure noise; strength 1.0 keeps nothing of it, 0.0 all (SDEdit)."""

    image: EncodedImage
    strength: Unit


class StartLatents(Plain):
    """Latents of an earlier picture or clip to start from, without the round trip through pixels.

    Strength as in StartImage.
    """

    data: bytes
    """A safetensors file with one float32 tensor `latents` in latent cells, as `ImageResult.latents` gives it for a
    picture, (channels, height, width), and `VideoResult.latents` for a clip, (channels, frames, height, width). A clip
    with sound has a second one, `audio_latents`, (channels, frames, bins)."""
    strength: Unit


class Inpaint(Plain):
    """Repaint part of an image. Mask: same aspect, white = repaint."""

    image: EncodedImage
    mask: EncodedImage
    strength: Unit = 1.0


# --- images ---------------------------------------------------------------------------------------------------------


class ImageRequest(Plain):
    """One picture: what it shows, its size in pixels, its noise, and what conditions it."""

    prompt: str
    negative_prompt: str = ""
    width: Annotated[int, Field(ge=16)]
    height: Annotated[int, Field(ge=16)]
    noise: NoiseSpec
    num_inference_steps: Annotated[int, Field(ge=1, le=200)]
    guidance_scale: Annotated[float, Field(ge=0.0, le=30.0)]
    references: Annotated[tuple[Reference, ...], Field(max_length=3)] = ()
    adapter: AdapterSettings = AdapterSettings()
    start: StartImage | StartLatents | None = None
    inpaint: Inpaint | None = None
    loras: tuple[LoraUse, ...] = ()
    deterministic: bool = False
    """Run alone and without approximating caches: the same bits whatever else the machine is asked for."""
    keep_latents: bool = False
    """Also return the clean latents, for a later `StartLatents`."""
    keep_attention: Seed | None = None
    """Also return an attention bank, whose tokens are drawn by this seed, for the `attention_bank` of others."""
    attention_bank: bytes | None = None
    """The bank of another picture of the same model: its tokens are looked at beside the picture's own."""


@dataclass(frozen=True)
class ImageResult:
    """A picture, and how it came about."""

    image: Pixels
    noise_sha256: str
    """sha256 of the float32 start noise, little-endian, before the scheduler scales it."""
    seconds: float
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds of the parts `encode`, `denoise` and `decode`."""
    notes: tuple[str, ...] = ()
    """What was not done as asked, in plain words."""
    latents: bytes | None = None
    """A safetensors file with the clean latents, when the request kept them."""
    attention_bank: bytes | None = None
    """A safetensors file with tokens of self-attention, when the request kept them."""


class ImageModel(Protocol):
    """A model that makes one picture per request."""

    def generate(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        """Make one image. Raises InvalidRequest, Cancelled, InferenceFailed."""
        ...


class BatchingImageModel(ImageModel, Protocol):
    """An image model that serves several requests in one forward pass."""

    def batch_key(self, request: ImageRequest) -> str | None:
        """Requests of equal keys may share a batch; None: this one runs alone. Raises InvalidRequest."""
        ...

    def generate_batch(
        self, requests: Sequence[ImageRequest], watchers: Sequence[Watcher]
    ) -> list[ImageResult | ModelError]:
        """One outcome per request, in order. One watcher's `Cancelled` ends only its own request."""
        ...


# --- video ----------------------------------------------------------------------------------------------------------


class VideoRequest(Plain):
    """One clip: what it shows, its size in pixels and frames, its noise, and what conditions it."""

    prompt: str
    negative_prompt: str = ""
    width: Annotated[int, Field(ge=16)]
    height: Annotated[int, Field(ge=16)]
    num_frames: Annotated[int, Field(ge=1)]
    camera: str = "static"
    """Camera move, one of the model's declared moves; text families fold it into the prompt."""
    noise: NoiseSpec
    num_inference_steps: Annotated[int, Field(ge=1, le=200)]
    guidance_scale: Annotated[float, Field(ge=0.0, le=30.0)]
    first_frame: EncodedImage | None = None
    """The keyframe: the clip starts from it. The model's description says whether it takes or needs one."""
    last_frame: EncodedImage | None = None
    cond_lowpass_until: LowpassShare = 0.0
    """Share of the steps, from the first, in which the model sees the given frames without their fine detail."""
    references: Annotated[tuple[Reference, ...], Field(max_length=3)] = ()
    adapter: AdapterSettings = AdapterSettings()
    start: StartLatents | None = None
    """Clean latents of an earlier clip of the same model, size and length to start from (SDEdit)."""
    continues: bytes | None = None
    """The kept latents of another clip of the same model and size, which this one goes on from. Not beside
    `first_frame`."""
    loras: tuple[LoraUse, ...] = ()
    deterministic: bool = False
    """As in ImageRequest."""
    keep_latents: bool = False
    """Also return the clean latents, for a later `start` or, of models that go on from clips, `continues`."""


@dataclass(frozen=True)
class Audio:
    """The sound of a clip."""

    samples: Samples
    sample_rate: int
    """Samples a second, in each channel."""


@dataclass(frozen=True)
class VideoResult:
    """A clip, and how it came about."""

    frames: Frames
    noise_sha256: str
    """As in ImageResult; the noise of the sound comes from the same integers and does not enter."""
    seconds: float
    timings: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What was not done as asked, in plain words."""
    latents: bytes | None = None
    """A safetensors file with the clean latents, when the request kept them."""
    audio: Audio | None = None
    """What is heard, exactly as long as the frames at the model's own rate; None: the model makes no sound."""


class VideoModel(Protocol):
    """A model that makes one clip per request."""

    def generate(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        """Make one clip of exactly `num_frames` frames. Raises InvalidRequest, Cancelled, InferenceFailed."""
        ...
