"""Bodies and answers of `/api/master-mode`, exactly as the contract types them, and what is ours."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from models.interfaces import Seed
from models.spec import AspectRatio
from pipelines.brief import MAX_REFERENCES
from serving.gateway.generations.schemas import AdPrompt, Brand, QualityBody, Title
from serving.gateway.orders import OpenBody, ReferenceRoles, with_pictures
from serving.gateway.requests import PictureSource

ClientId = Annotated[str, StringConstraints(max_length=200, pattern=r"^[\x21-\x2e\x30-\x7e]{1,200}$")]
"""Printable, without blanks and slashes: it is part of an address."""


class StoryRequest(OpenBody):
    """Body of `POST /api/master-mode/generate-story`."""

    prompt: AdPrompt
    """What the ad is for, at most 5,000 characters."""
    title: Title | None = None
    """A working title, at most 200 characters; null: none."""
    brand_name: Brand | None = None
    """The brand, which the agents then keep to; at most 100 characters."""
    client_generation_id: ClientId | None = None
    """Names this request: its progress is found under it, and sent again it is the same request."""
    reference_images: Annotated[list[PictureSource], Field(max_length=MAX_REFERENCES)] = Field(default_factory=list)
    """At most three files, base64 or artifact ids."""
    reference_roles: ReferenceRoles = Field(default_factory=list)
    """What they show, in their order; empty: by their files' names, else `product`."""
    max_iterations: Annotated[int, Field(ge=1, le=10)] = 3
    """Drafts of the story at most."""
    generate_scenes: bool = True
    """Whether the story is made into scenes."""
    generate_videos: bool = False
    """Whether the scenes are made into the finished video; needs `generate_scenes`."""
    duration: Annotated[int, Field(ge=9, le=60)] = 15
    """Seconds of the finished video, 9 to 60."""
    aspect_ratio: AspectRatio = "9:16"
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    num_scenes: Annotated[int, Field(ge=2, le=20)] | None = None
    """Number of scenes; null: as many as the framework has for this duration."""
    seed: Seed | None = None
    """The same seed makes the same ad, as long as models and settings are the same. Null: a random one, which the
    answer reports as `seed_value`."""
    quality: QualityBody | None = None
    """What is measured of the video, and what each of its scenes must reach."""
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""

    @model_validator(mode="before")
    @classmethod
    def _pictures_together(cls, data: Any) -> Any:
        return with_pictures(data)

    @model_validator(mode="after")
    def _videos_need_scenes(self) -> StoryRequest:
        if self.generate_videos and not self.generate_scenes:
            raise ValueError("generate_videos needs generate_scenes: a video is made from scenes")
        return self
