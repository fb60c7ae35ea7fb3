"""Answers of `/v1`: OpenAI's objects and their superset."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.interfaces import Plain
from models.spec import Commercial
from quality.catalogue import Entry
from quality.score import Score

OutputFormat = Annotated[
    Literal["png", "jpeg", "webp"], BeforeValidator(lambda value: "jpeg" if value == "jpg" else value)
]


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


VideoStatus = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class VideoError(Plain):
    """Why a clip failed."""

    code: str
    """For programs; as in error answers."""
    message: str
    """For people."""


class VideoObject(Plain):
    """One clip, finished or not."""

    id: str
    """Id of the clip; it is also the id of its generation."""
    object: Literal["video"] = "video"
    """OpenAI's name for this kind of object."""
    model: str
    """The model that makes it."""
    status: VideoStatus
    """`queued`, `in_progress`, `completed`, `failed` or `cancelled`."""
    progress: Annotated[int, Field(ge=0, le=100)]
    """From the denoising steps that were really done."""
    created_at: int
    """Unix seconds."""
    completed_at: int | None
    """Unix seconds; null: not finished."""
    expires_at: None = None
    """Kept until it is deleted."""
    prompt: str
    """What it shows."""
    size: str
    """`WIDTHxHEIGHT` in pixels."""
    seconds: str
    """Its length, as text: OpenAI's type."""
    error: VideoError | None
    """Why it failed; null: it did not."""
    remixed_from_video_id: None = None
    """Always null: clips are not remixed here."""
    queue_position: int | None = None
    """1: the next to run; only while queued."""
    cancellation_requested: bool = False
    """Still in progress, and stopping at its next denoising step."""
    num_frames: int
    """Frames of the clip."""
    fps: int
    """Frames per second."""
    seed: int
    """The seed that it is made with."""
    artifact: str | None = None
    """sha256 of the MP4, once completed."""
    first_frame: str | None = None
    """sha256 of the picture that the clip starts from: at once if it was given, at the end if it was drawn."""
    noise_sha256: str | None = None
    """sha256 of the float32 start noise, once completed."""
    notes: tuple[str, ...] = ()
    """What was not done as asked."""


class VideoList(Plain):
    """One page of clips."""

    object: Literal["list"] = "list"
    """OpenAI's name for this kind of object."""
    data: list[VideoObject]
    """The clips, in the order asked for."""
    first_id: str | None
    """Id of the first one; null: there is none."""
    last_id: str | None
    """Id of the last one, for `after` of the next page; null: there is none."""
    has_more: bool
    """Whether more follow behind these."""


class VideoDeleted(Plain):
    """What a DELETE did: it cancelled a clip that waited or ran, or deleted one that had ended."""

    id: str
    """Id of the clip."""
    object: Literal["video.deleted"] = "video.deleted"
    """OpenAI's name for this kind of object."""
    deleted: bool
    """Whether the record is gone; a cancelled one is kept, and can be deleted then."""
    status: VideoStatus
    """What it is now, or was last."""


class PictureLimits(Plain):
    """What an image or video model accepts."""

    sizes: dict[str, str]
    """Default `WIDTHxHEIGHT` by aspect ratio."""
    size_multiple: int
    """Both sides in pixels are multiples of it."""
    max_pixels: int
    """Width x height x frames of one request."""
    max_references: int
    """Reference images that a request may have; 0: none."""
    reference_mask: bool
    """Whether `ip_adapter.mask` can keep the references to a region."""
    num_inference_steps: int
    """Its default number of denoising steps."""
    guidance_scale: float
    """Its default guidance."""
    loras: tuple[str, ...]
    """Names of the LoRAs that can be asked for."""
    presets: tuple[str, ...]
    """Names of the settings that `preset` may ask for: `fast`."""
    fps: int | None = None
    """Video models: frames per second of its clips."""
    max_frames: int | None = None
    """Video models: frames of a clip at most."""
    frame_multiple: int | None = None
    """Frame counts are a multiple of it plus 1; any count when 1."""
    first_frame: Literal["required", "optional", "unused"] | None = None
    """Video models: whether a clip starts from a picture."""
    camera_moves: tuple[str, ...] | None = None
    """Video models: the moves of the camera that it knows."""
    sound: bool | None = None
    """Video models: whether its clips can be heard."""


class ModelObject(Plain):
    """A model that this server offers."""

    id: str
    """What it is asked for by."""
    object: Literal["model"] = "model"
    """OpenAI's name for this kind of object."""
    created: int = 0
    """Not known of local weights; 0."""
    owned_by: str = "local"
    """Always `local`: it runs on this server's machines."""
    kind: Literal["chat", "image", "video"]
    """What it makes: `chat`, `image` or `video`."""
    family: str
    """The code that runs it, such as `animatediff`."""
    licence: str
    """Licence of its weights."""
    commercial: Commercial
    """Whether paid work may use its pictures and texts: `yes`; `no`; `below-revenue`: below a yearly revenue;
    `territory`: outside of some countries."""
    commercial_condition: str | None = None
    """What `below-revenue` or `territory` means for these weights, in a sentence; null for `yes` and `no`."""
    vision: bool | None = None
    """Chat models: whether messages may carry images."""
    limits: PictureLimits | None = None
    """Image and video models: what can be asked of it."""


class ModelList(Plain):
    """The models of this server."""

    object: Literal["list"] = "list"
    """OpenAI's name for this kind of object."""
    data: list[ModelObject]
    """One for each model."""


class ScoredFile(Plain):
    """One of several videos that were scored in one request."""

    filename: str
    """As it was sent; of a video of this server its artifact id."""
    sha256: str
    """Of the video."""
    data: list[Score]
    """One per dimension, in the order asked for; none when the video could not be measured."""
    reason: str | None = None
    """Why it could not be measured; null: it was."""


class ScoreLists(Plain):
    """Scores of several videos."""

    object: Literal["list"] = "list"
    """OpenAI's name for this kind of object."""
    data: list[ScoredFile]
    """One per video, in the order sent."""


class DimensionObject(Entry):
    """One dimension of quality, with what is missing in this deployment."""


class DimensionList(Plain):
    """The dimensions of quality."""

    object: Literal["list"] = "list"
    """OpenAI's name for this kind of object."""
    data: list[DimensionObject]
    """All that are known, those that cannot be measured here too."""


class ScoreList(Plain):
    """Scores of a video."""

    object: Literal["list"] = "list"
    """OpenAI's name for this kind of object."""
    sha256: str
    """Of the video that was scored."""
    data: list[Score]
    """One per dimension, in the order asked for; a score without a value says why."""
