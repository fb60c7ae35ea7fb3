"""Bodies and answers of `/v1/videos`: OpenAI's fields and their superset."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.interfaces import Plain, Seed
from models.spec import CameraMove
from serving.gateway.openai.sampling import Sampling, SharedNoise
from serving.gateway.openai.sizes import SizeText
from serving.gateway.requests import EncodedPicture, FileField, Id, PictureSource

VideoStatus = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


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
    """The picture that the clip starts from; none: drawn first where the model needs one."""
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
