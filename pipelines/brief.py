"""The brief: what the user asks for, validated once, before anything runs.

What a recipe asks beyond that (an ad has 9 to 60 seconds) is in `Recipe.limits`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, StringConstraints

from models.interfaces import Plain, ReferenceRole, Seed, Unit
from models.spec import AspectRatio
from pipelines.coherence import CoherenceSettings

Framework = Literal["AIDA", "PAS", "BAB"]


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


FrameworkName = Annotated[Framework, BeforeValidator(_upper)]
"""A framework as people write it: `pas` is PAS."""
MAX_PROMPT = 5000
MAX_REFERENCES = 3


class BriefReference(Plain):
    """A reference image of the user, already checked, re-encoded as PNG and stored."""

    artifact: str
    """sha256 in the artifact store."""
    role: ReferenceRole
    """What it shows: `character`, `product` or `style`."""
    filename: str
    """Name of the file as it was uploaded."""
    weight: Unit = 1.0
    """Weight among the references, 0 to 1."""


def role_of(filename: str) -> ReferenceRole:
    """The role that a file's name begins with, as in `character-anna.png` and `style=gold.jpg`; `product` otherwise."""
    return next((role for role in get_args(ReferenceRole) if filename.lower().startswith(role)), "product")


class Brief(Plain):
    """What the user asks for, as it was checked."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT)]
    """What the ad is for, at most 5,000 characters."""
    title: Annotated[str, StringConstraints(max_length=200)] | None = None
    """A working title, at most 200 characters; null: none."""
    brand_name: Annotated[str, StringConstraints(max_length=100)] | None = None
    """The brand, which the agents then keep to; at most 100 characters."""
    duration: Annotated[int, Field(ge=1)] = 15
    """Seconds of the finished video, met exactly, in frames."""
    aspect_ratio: AspectRatio = "9:16"
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    framework: FrameworkName | None = None
    """None: the recipe's."""
    num_scenes: Annotated[int, Field(ge=1, le=20)] | None = None
    """None: the framework's own count for this duration."""
    references: Annotated[tuple[BriefReference, ...], Field(max_length=MAX_REFERENCES)] = ()
    """Reference images, at most three."""
    coherence: CoherenceSettings = CoherenceSettings()
    """How the scenes are kept alike."""
    seed: Seed
    """The same seed makes the same ad. Whoever makes a brief draws one where nobody gave it (`AdPlanner`)."""

    @property
    def acting_seed(self) -> int:
        """The seed that acts: that of the coherence settings where they have one."""
        return self.seed if self.coherence.seed_value is None else self.coherence.seed_value
