"""Bodies and answers of `/api/v1/interactive`: the contract's fields, and a few more that a page needs."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from models.interfaces import Plain, Seed
from models.spec import AspectRatio, CameraMove
from pipelines.direction import Modifications, Prompt, Wish
from serving.gateway.generations.schemas import Brand, QualityBody
from serving.gateway.interactive.answers import SessionStage
from serving.gateway.orders import OpenBody, ReferenceRoles
from serving.gateway.requests import FileField, OpenObject

SceneNumber = Annotated[int, Field(ge=1, le=99)]
MOVES = frozenset(get_args(CameraMove))
MAX_WISHES = 1500
"""Characters of the fields of `modifications` that are wishes."""
MAX_MASK_TEXT = 16 * 1024 * 1024
"""Characters; the picture in it has the limit of an upload."""


class SessionStart(OpenBody):
    """Body of `POST /start`."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10, max_length=5000)]
    """What the ad is for, 10 to 5,000 characters."""
    target_duration: Annotated[int, Field(ge=9, le=60)] = 15
    """Seconds."""
    mode: Literal["interactive", "auto"] = "interactive"
    """`auto` asks for no approval and runs to the end."""
    title: Annotated[str, StringConstraints(max_length=200)] | None = None
    """A working title, at most 200 characters; null: none."""
    seed: Seed | None = None
    """None: a random one, which the session reports."""
    aspect_ratio: AspectRatio = "9:16"
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    brand_name: Brand | None = None
    """The brand, which the agents then keep to; at most 100 characters."""
    quality: QualityBody | None = None
    """What is measured of the video, and what each of its scenes must reach."""
    number_of_reference_images: Annotated[int, Field(ge=1, le=3)] = 1
    """Drawn of the product, to select from when you approve them; your own take their place."""
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""


class Approval(Plain):
    """Body of `POST /{session_id}/approve`."""

    stage: SessionStage
    """Must be the current one."""
    notes: Wish | None = None
    """A remark that is kept in the conversation; it changes nothing."""
    selected_indices: Annotated[tuple[int, ...], Field(min_length=1, max_length=20)] | None = None
    """0-based, which of the stage's outputs are kept; null: as the stage has them."""


class SceneModifications(Modifications, OpenObject):
    """What is set outright. Any other field is a wish in words: `{"tone": "funny"}`, `{"setting": "on the beach"}`."""

    model_config = OpenObject.model_config

    scene_number: SceneNumber | None = None
    """Only this scene is regenerated; none: the whole stage."""

    @property
    def settings(self) -> Modifications:
        return Modifications(**{name: getattr(self, name) for name in Modifications.model_fields})

    @model_validator(mode="before")
    @classmethod
    def _in_other_words(cls, data: Any) -> Any:
        """A camera move said freely (`zoom in`) is a wish; a scene may be called `scene`."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        camera = data.get("camera")
        if isinstance(camera, str) and (move := camera.strip().lower().replace(" ", "_").replace("-", "_")) in MOVES:
            data["camera"] = move
        elif isinstance(camera, str):
            data["camera_move"] = data.pop("camera")
        if "scene_number" not in data and isinstance(data.get("scene"), int):
            data["scene_number"] = data.pop("scene")
        return data

    @model_validator(mode="after")
    def _bounded(self) -> SceneModifications:
        if len(json.dumps(self.model_extra or {}, default=str)) > MAX_WISHES:
            raise ValueError(f"the wishes may have at most {MAX_WISHES} characters together")
        return self


class Regeneration(Plain):
    """Body of `POST /{session_id}/regenerate`."""

    stage: SessionStage
    """The current one, or an earlier one to go back to."""
    feedback: Wish | None = None
    """What should be otherwise, in words; at most 2,000 characters."""
    modifications: SceneModifications | None = None
    """What is set outright, and wishes by name. A text, or a list of texts, is feedback."""

    @model_validator(mode="before")
    @classmethod
    def _texts_are_feedback(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        said = data.get("modifications")
        texts = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        if not texts or not all(isinstance(text, str) for text in texts):
            return data
        feedback = [data["feedback"]] if isinstance(data.get("feedback"), str) else []
        return {**data, "modifications": None, "feedback": "; ".join([*feedback, *texts])}


class ReferenceUpload(Plain):
    """Form of `POST /{session_id}/reference-images/upload`."""

    images: Annotated[tuple[FileField, ...], Field(min_length=1, max_length=3)]
    """JPEG, PNG or WebP. Files of a form count whatever their field is called."""
    reference_roles: ReferenceRoles = Field(default_factory=list)
    """What the pictures show, in their order; empty: by their files' names, else `product`."""


class InpaintOrder(Plain):
    """Body of `POST /{session_id}/inpaint`."""

    image_id: Annotated[int, Field(ge=0, le=99)]
    """The index of the image among those of the current stage, or of the storyboard when a later stage is current."""
    mask_data: Annotated[str, StringConstraints(min_length=1, max_length=MAX_MASK_TEXT)]
    """A PNG, JPEG or WebP as base64, with or without `data:` before it, of the image's shape. White is repainted, black
    stays; of a file with transparent parts, these stay, and strokes of any colour but black are repainted."""
    prompt: Prompt
    """What to paint there, at most 5,000 characters."""
    negative_prompt: Annotated[str, StringConstraints(max_length=5000)] | None = None
    """What the picture must not show, at most 5,000 characters; empty: nothing is excluded."""


class ChatMessage(Plain):
    """Body of `POST /{session_id}/chat`; with `"type": "chat"` a message on the WebSocket."""

    type: Literal["chat"] = "chat"
    """Distinguishes it on the WebSocket."""
    message: Wish
    """What the owner says, at most 2,000 characters."""
    scene_number: SceneNumber | None = None
    """The scene that is selected on the page, for a message that names none."""
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    """The client's name for this message: sent again with it, it counts once."""


class Ping(Plain):
    """Asks on the WebSocket whether the connection stands; answered with `pong`."""

    type: Literal["ping"]
    """Distinguishes it from a chat message."""


SessionCommand = Annotated[ChatMessage | Ping, Field(discriminator="type")]
"""What the WebSocket of a session takes; a text that is no JSON object is the `message` of a chat."""
