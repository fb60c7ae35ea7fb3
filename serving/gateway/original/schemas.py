"""Bodies and answers of `/api/generations`, the contract's original pipeline."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from models.interfaces import Plain, Seed
from models.spec import AspectRatio
from pipelines.brief import MAX_REFERENCES, FrameworkName
from pipelines.orders.ad import MAX_VARIATIONS, MIN_VARIATIONS
from pipelines.records import ComparisonType
from serving.gateway.generations.schemas import AdPrompt, Brand, CoherenceBody, QualityBody, Title
from serving.gateway.orders import OpenBody, ReferenceRoles, with_pictures
from serving.gateway.requests import Id, PictureSource


class OpenCoherence(CoherenceBody, OpenBody):
    """Coherence settings of an order; other fields than these are not used."""


class AdFields(OpenBody):
    """The fields that one ad and all ads of a comparison share."""

    framework: FrameworkName | None = None
    """`AIDA`, `PAS` or `BAB`, in any case: the order in which the ad argues; null: the recipe's."""
    duration: Annotated[int, Field(ge=9, le=60)] = 15
    """Seconds of the finished video, 9 to 60."""
    aspect_ratio: AspectRatio = "9:16"
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    title: Title | None = None
    """A working title, at most 200 characters; null: none."""
    brand_name: Brand | None = None
    """The brand, which the agents then keep to; at most 100 characters."""
    num_scenes: Annotated[int, Field(ge=2, le=20)] | None = None
    """Number of scenes; null: as many as the framework has for this duration."""
    use_llm: bool = True
    """False: no agent is asked, and every scene shows the prompt itself."""
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""
    seed: Seed | None = None
    """Null: that of the coherence settings, else a random one, which the answer reports as `seed_value`."""
    coherence_settings: OpenCoherence | None = None
    """How the scenes are kept alike; fields that are left out are as the recipe says."""
    quality: QualityBody | None = None
    """What is measured, and what each scene must reach."""
    reference_images: Annotated[list[PictureSource], Field(max_length=MAX_REFERENCES)] = Field(default_factory=list)
    """Files, base64 or artifact ids."""
    reference_roles: ReferenceRoles = Field(default_factory=list)
    """What they show, in their order; empty: by their files' names, else `product`."""

    @model_validator(mode="before")
    @classmethod
    def _pictures_together(cls, data: Any) -> Any:
        return with_pictures(data)


class GenerateBody(AdFields):
    """Body of `POST /api/generations/generate`."""

    prompt: AdPrompt
    """What the ad is for, at most 5,000 characters."""


class VariationBody(OpenBody):
    """What one ad of a comparison has of its own; `{}`: nothing, it is the base to compare with."""

    prompt: AdPrompt | None = None
    """In a comparison of type `prompt`; null: the base's."""
    coherence_settings: OpenCoherence | None = None
    """In a comparison of type `settings`: what differs from the base; null: nothing."""


class ParallelBody(AdFields):
    """Body of `POST /api/generations/generate/parallel`."""

    base_prompt: AdPrompt
    """What all of them are for, at most 5,000 characters."""
    variations: Annotated[list[VariationBody], Field(min_length=MIN_VARIATIONS, max_length=MAX_VARIATIONS)]
    """One for each generation."""
    comparison_type: ComparisonType
    """What the generations differ in: `settings` or `prompt`."""


class WinnerBody(Plain):
    """Body of `POST /api/generations/comparison/{group_id}/winner`."""

    generation_id: Id
    """One of the comparison's generations."""
