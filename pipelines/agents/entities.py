"""The agents that describe what an ad shows: one looks at a reference image, one reads the product out of the brief.

Each is asked once; later agents read only their words. The brief is not shown to the vision agent: its description must
come from the pixels.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.interfaces import ReferenceRole
from pipelines.agents.conversation import Answer, Phrase, Question, schema_of
from pipelines.agents.prompting import brief_lines
from pipelines.brief import Brief, BriefReference

VISION_SYSTEM = (
    "You describe a reference image for a video ad. Say what the thing is, then describe its look in one "
    "noun phrase of at most 15 words: colour and material first, then the thing, then marks that make it "
    "recognisable. Leave out the background. Answer in JSON."
)
_WANTED: dict[ReferenceRole, str] = {
    "product": "the product",
    "character": "the person or figure",
    "style": "the visual style: palette, light, mood",
}


class Seen(Answer):
    """What one reference shows."""

    name: Phrase
    description: Phrase

    def text(self) -> str:
        return f"{self.name}: {self.description}"


def look_question(reference: BriefReference, seed: int) -> Question:
    """Question about one reference image."""
    return Question(
        agent="vision",
        system=VISION_SYSTEM,
        user=f"Role: {reference.role}\nDescribe {_WANTED[reference.role]}.",
        json_schema=schema_of(Seen),
        seed=seed,
        images=(reference.artifact,),
    )


NAMER_SYSTEM = (
    "You read the brief of a video ad. Name the product that it sells, in the brief's own words, and "
    "describe its look in one noun phrase of at most 15 words, adding nothing that the brief contradicts. "
    "List the places that the brief names, in their order, none when it names none. Answer in JSON."
)


class Named(Answer):
    """The product as the brief has it."""

    name: Phrase
    description: Phrase
    places: Annotated[tuple[Phrase, ...], Field(max_length=3)]

    def text(self) -> str:
        where = f" Places: {', '.join(self.places)}." if self.places else ""
        return f"The product is {self.name}: {self.description}.{where}"


def product_question(brief: Brief, seed: int) -> Question:
    """Question for the product of the brief."""
    return Question(
        agent="director",
        system=NAMER_SYSTEM,
        user=brief_lines(brief),
        json_schema=schema_of(Named),
        seed=seed,
    )
