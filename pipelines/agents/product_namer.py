"""The product namer: reads the brief and says which product the ad is for and where it plays, in the brief's own words.

Gives every ad a `product` entity, also when no reference shows one. It speaks in the director's role.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.agents.conversation import Answer, Phrase, Question, schema_of
from pipelines.agents.prompting import brief_lines
from pipelines.brief import Brief

SYSTEM = (
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
        system=SYSTEM,
        user=brief_lines(brief),
        json_schema=schema_of(Named),
        seed=seed,
    )
