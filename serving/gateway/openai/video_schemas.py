"""Bodies and answers of `/v1/videos`: OpenAI's fields and their superset."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.interfaces import Plain, Seed
from models.spec import CameraMove
from serving.gateway.openai.image_schemas import SizeText
from serving.gateway.openai.sampling import Sampling, SharedNoise
from serving.gateway.requests import FileField, PictureSource

VideoStatus = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class InputReference(Plain):
    """OpenAI's object form of a picture."""

    image_url: str | None = None
    """A data URL; other URLs are not fetched."""
    file_id: str | None = None
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
    """Made as the nearest frame count that the model can do; none: the longest clip of the model."""
    num_frames: Annotated[int, Field(ge=1)] | None = None
    """Exact; instead of `seconds`."""
    fps: Annotated[int, Field(ge=1)] | None = None
    """Only the model's own rate can be asked for."""
    size: SizeText = "auto"
    input_reference: PictureSource | InputReference | None = None
    """The picture that the clip starts from; none: drawn first where the model needs one."""
    seed: Seed | None = None
    camera: CameraMove = "static"
    coherence: SharedNoise = SharedNoise()

    @property
    def first_picture(self) -> FileField | str | None:
        picture = self.input_reference
        return picture.source if isinstance(picture, InputReference) else picture


class VideoError(Plain):
    code: str
    message: str


class VideoObject(Plain):
    """One clip, finished or not."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: VideoStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    """From the denoising steps that were really done."""
    created_at: int
    completed_at: int | None
    expires_at: None = None
    """Kept until it is deleted."""
    prompt: str
    size: str
    seconds: str
    error: VideoError | None
    remixed_from_video_id: None = None
    queue_position: int | None = None
    """1: the next to run; only while queued."""
    cancellation_requested: bool = False
    """Still in progress, and stopping at its next denoising step."""
    num_frames: int
    fps: int
    seed: int
    artifact: str | None = None
    """sha256 of the MP4, once completed."""
    first_frame: str | None = None
    """sha256 of the picture that the clip starts from: at once if it was given, at the end if it was drawn."""
    noise_sha256: str | None = None
    notes: tuple[str, ...] = ()
    """What was not done as asked."""


class VideoList(Plain):
    object: Literal["list"] = "list"
    data: list[VideoObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(Plain):
    """What a DELETE did: it cancelled a clip that waited or ran, or deleted one that had ended."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool
    """Whether the record is gone; a cancelled one is kept, and can be deleted then."""
    status: VideoStatus
    """What it is now, or was last."""
