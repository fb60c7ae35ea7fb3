"""Bodies of `/v1/images/generations` and `/v1/images/edits`: OpenAI's fields and their superset."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator

from models.interfaces import Plain, Seed, Unit
from serving.gateway.openai.sampling import MAX_PICTURES, Sampling, SharedNoise, Word
from serving.gateway.openai.sizes import SizeText
from serving.gateway.requests import PictureSource

OutputFormat = Annotated[
    Literal["png", "jpeg", "webp"], BeforeValidator(lambda value: "jpeg" if value == "jpg" else value)
]
MAX_OUTPUTS = 10


class Start(Plain):
    """An earlier result to start from, by its artifact id: a picture, or the latents that a request kept."""

    artifact: Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9a-f]{64}$")]
    """Its id: 64 hex digits."""
    strength: Unit = 0.8
    """1.0 keeps nothing of it, 0.0 all."""


class ImageCoherence(SharedNoise):
    """What a picture has in common with others."""

    start: Start | None = None
    """An earlier result to start from; null: from noise."""
    keep_latents: bool = False
    """Keep the clean latents as an artifact, for a later `start` without the loss of a trip through pixels."""


class ImageGeneration(Sampling):
    """Body of `POST /v1/images/generations`."""

    n: Annotated[int, Field(ge=1, le=MAX_OUTPUTS)] = 1
    """Pictures to draw, 1 to 10."""
    size: SizeText = "auto"
    """`WIDTHxHEIGHT` in pixels, or `auto` for the model's own."""
    seed: Seed | Annotated[list[Seed], Field(min_length=1, max_length=MAX_OUTPUTS)] | None = None
    """One per output, or one for all: output 0 uses it as it is, output k one derived from it."""
    response_format: Literal["b64_json", "url"] = "b64_json"
    """`url` is a path on this server: `/v1/artifacts/{sha256}`."""
    output_format: OutputFormat = "png"
    """`png`, `jpeg` or `webp`."""
    output_compression: Annotated[int, Field(ge=0, le=100)] = 100
    """Quality of JPEG and WebP; 100 stands for this server's own choice, as OpenAI's default is 100."""
    coherence: ImageCoherence = ImageCoherence()
    """What the picture has in common with others."""
    background: Literal["auto", "opaque", "transparent"] | None = None
    """No model here draws transparency: `transparent` is refused."""
    quality: Word | None = None
    """Noted, not used: ask for `num_inference_steps`."""
    style: Word | None = None
    """Noted, not used: say it in the prompt."""
    moderation: Literal["auto", "low"] | None = None
    """Taken for compatibility; not used."""
    stream: bool = False
    """Answer by server-sent events, one per finished image, as they carry it in `b64_json`."""
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    """Taken for compatibility: no image is sent before it is finished."""

    def unused(self) -> tuple[str, ...]:
        """Notes on fields that are accepted and not used."""
        notes = []
        if self.quality not in (None, "auto", "standard"):
            notes.append(f"quality {self.quality!r} is not used: ask for num_inference_steps and guidance_scale")
        if self.style is not None:
            notes.append(f"style {self.style!r} is not used: say it in the prompt")
        if self.output_compression != 100 and self.output_format == "png":
            notes.append("output_compression is not used: PNG keeps every pixel as it is; ask for jpeg or webp")
        if self.partial_images:
            notes.append("partial_images is not used: an image is sent when it is finished")
        return tuple(notes)


class ImageEdit(ImageGeneration):
    """Body of `POST /v1/images/edits`.

    With a mask: the first image is repainted where the mask says so, further images are references. Without: the first
    image is the start image and further ones are references; a model with native references takes all as references,
    and so does an edit that names `ip_adapter`, whose own images may then be left out.
    """

    image: Annotated[list[PictureSource], Field(min_length=1, max_length=MAX_PICTURES)]
    """One to three pictures: files, base64 or artifact ids."""
    mask: PictureSource | None = None
    """Transparent parts are repainted; in a picture without transparency, white ones."""
    strength: Unit | None = None
    """How much of the first image is redrawn: 1.0 all; the default is 0.8, and 1.0 under a mask."""
    input_fidelity: Literal["low", "high"] | None = None
    """Noted, not used: ask for `strength`."""

    @field_validator("image", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    def unused(self) -> tuple[str, ...]:
        notes = super().unused()
        if self.input_fidelity is not None:
            notes += (f"input_fidelity {self.input_fidelity!r} is not used: ask for strength",)
        return notes


class ImageObject(Plain):
    """One image that was made."""

    b64_json: str | None = None
    """The file as base64; null with `response_format=url`."""
    url: str | None = None
    """Address of the file; null with `response_format=b64_json`."""
    revised_prompt: str | None = None
    """The prompt that was used, where it is not the one that was sent."""
    seed: int
    """The seed of this output."""
    artifact: str
    """sha256 of the file."""
    latents_artifact: str | None = None
    """Id of the latents that were kept for `start`; null: none were asked for."""
    noise_sha256: str
    """sha256 of the float32 start noise."""
    notes: tuple[str, ...] = ()
    """What was not done as asked."""
    timings: dict[str, float] = Field(default_factory=dict)
    """Seconds, by part of the work."""
    seconds: float
    """The model's time for this output."""


class ImageEvent(ImageObject):
    """One image that was made, as the event of a stream."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    """OpenAI's name of the event."""
    created_at: int
    """Unix seconds."""
    model: str
    """The model that drew it."""
    size: str
    """`WIDTHxHEIGHT` in pixels."""
    output_format: OutputFormat
    """`png`, `jpeg` or `webp`."""
    background: Literal["opaque"] = "opaque"
    """No model here draws transparency."""
    usage: None = None
    """Always null: no tokens are counted here."""


class ImagesResponse(Plain):
    """Pictures that were made."""

    created: int
    """Unix seconds."""
    data: list[ImageObject]
    """One for each output, in order."""
    model: str
    """The model that drew them."""
    size: str
    """`WIDTHxHEIGHT` in pixels."""
    output_format: OutputFormat
    """`png`, `jpeg` or `webp`."""
    background: Literal["opaque"] = "opaque"
    """No model here draws transparency."""
    notes: tuple[str, ...] = ()
    """What was not done as asked."""
