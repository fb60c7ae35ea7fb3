"""The vision agent: looks at one reference image, once, and says what is in it. Later agents read only its words.

The brief is not shown to it: the description must come from the pixels.
"""

from __future__ import annotations

from models.interfaces import ReferenceRole
from pipelines.agents.conversation import Answer, Phrase, Question, schema_of
from pipelines.brief import BriefReference

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
