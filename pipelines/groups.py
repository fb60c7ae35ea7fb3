"""Groups: 2 to 10 generations made to be compared, which differ in their coherence settings or in their prompt only.

All else is the same, the seed too, so that what differs in the result comes from what was varied. Pure; the rows are in
`pipelines/store/groups.py`.
"""

from __future__ import annotations

from pydantic import ValidationError

from models.interfaces import Plain
from pipelines.brief import Brief
from pipelines.errors import BadInput, first_problem
from pipelines.steps import Json
from pipelines.store.records import ComparisonType

MIN_VARIATIONS, MAX_VARIATIONS = 2, 10


class Variation(Plain):
    """What one generation of a group has of its own."""

    prompt: str | None = None
    """Only of a comparison of prompts, and then needed."""
    coherence: Json | None = None
    """The coherence fields that differ from the base; only of a comparison of settings."""


def vary(base: Brief, comparison_type: ComparisonType, variations: tuple[Variation, ...]) -> tuple[Brief, ...]:
    """One brief per variation, in order. Raises BadInput, also when two would be the same."""
    if not MIN_VARIATIONS <= len(variations) <= MAX_VARIATIONS:
        raise BadInput(f"variations: {len(variations)} given, {MIN_VARIATIONS} to {MAX_VARIATIONS} can be compared")
    briefs = tuple(
        _varied(base, comparison_type, number, variation) for number, variation in enumerate(variations, start=1)
    )
    for number, brief in enumerate(briefs, start=1):
        if brief in briefs[: number - 1]:
            raise BadInput(f"variation {number} is the same as variation {briefs.index(brief) + 1}: nothing to compare")
    return briefs


def _varied(base: Brief, comparison_type: ComparisonType, number: int, variation: Variation) -> Brief:
    if comparison_type == "prompt" and (variation.prompt is None or variation.coherence is not None):
        raise BadInput(f"variation {number}: a comparison of prompts needs a prompt each, and nothing else")
    if comparison_type == "settings" and (variation.coherence is None or variation.prompt is not None):
        raise BadInput(f"variation {number}: a comparison of settings needs coherence settings each, and nothing else")
    changes: Json = {"prompt": variation.prompt}
    if variation.coherence is not None:
        changes = {"coherence": {**base.coherence.model_dump(), **variation.coherence}}
    try:
        return Brief.model_validate({**base.model_dump(), **changes})
    except ValidationError as error:
        raise BadInput(f"variation {number}: {first_problem(error)}") from None
