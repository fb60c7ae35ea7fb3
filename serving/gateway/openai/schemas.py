"""Bodies of `/v1/images` and `/v1/videos`: OpenAI's fields and their superset."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from models.interfaces import Plain, Seed, Unit
from models.spec import CameraMove
from serving.gateway.openai.answers import OutputFormat
from serving.gateway.openai.sampling import MAX_PICTURES, Sampling, SharedNoise, Word
from serving.gateway.openai.sizes import SizeText
from serving.gateway.requests import EncodedPicture, FileField, Id, PictureSource

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
    """`url`: a signed address, which opens for an hour without a key."""
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
    and so does an edit that names `ip_adapter`, whose own images may then be left out. Nothing of an image is cut off:
    one of another shape than `size` lies whole in its middle, a blurred copy around it, and a note says so.
    """

    image: Annotated[list[PictureSource], Field(min_length=1, max_length=MAX_PICTURES)]
    """One to three pictures: files, base64 or artifact ids."""
    mask: PictureSource | None = None
    """Of the first image's size. Its transparent parts are repainted; in a file without any, the white ones. Soft edges
    blend. The rest of the image stays as it is, pixel by pixel, also in size when `size` is `auto`."""
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


class InputReference(Plain):
    """OpenAI's object form of a picture."""

    image_url: EncodedPicture | None = None
    """A data URL; other URLs are not fetched."""
    file_id: Id | None = None
    """The id of an artifact."""

    @model_validator(mode="after")
    def _one(self) -> InputReference:
        if (self.image_url is None) == (self.file_id is None):
            raise ValueError("give either image_url or file_id")
        return self

    @property
    def source(self) -> str:
        return self.image_url or self.file_id or ""


class VideoCreate(Sampling):
    """Body of `POST /v1/videos`."""

    seconds: Annotated[float, Field(gt=0.0, le=3600.0)] | None = None
    """Made as the nearest frame count that the model can do, at most its longest clip; none: its longest clip."""
    num_frames: Annotated[int, Field(ge=1)] | None = None
    """Exact; instead of `seconds`."""
    fps: Annotated[int, Field(ge=1)] | None = None
    """Only the model's own rate can be asked for."""
    size: SizeText = "auto"
    """`WIDTHxHEIGHT` in pixels, or `auto` for the model's own."""
    input_reference: PictureSource | InputReference | None = None
    """The picture that the clip starts from; none: drawn first where the model needs one. Nothing of it is cut off: one
    of another shape than `size` lies whole in its middle, a blurred copy around it, and a note says so."""
    seed: Seed | None = None
    """The same seed makes the same clip; null: a random one, which the answer reports."""
    camera: CameraMove = "static"
    """Move of the camera; one of the model's `camera_moves`."""
    coherence: SharedNoise = SharedNoise()
    """Start noise that it has in common with other clips."""

    @property
    def first_picture(self) -> FileField | str | None:
        picture = self.input_reference
        return picture.source if isinstance(picture, InputReference) else picture
