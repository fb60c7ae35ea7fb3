"""What the reference images show: each is looked at once, views of one product become one description, and a picture
that contradicts its role or the brief is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.interfaces import ReferenceRole
from pipelines.agents.entities import Seen, look_question
from pipelines.agents.judge import coloured, look_of
from pipelines.brief import BriefReference
from pipelines.coherence import derived_seed
from pipelines.reading.vocabulary import COLOURS, MATERIALS, OTHER_PRODUCTS, PEOPLE, word_set
from pipelines.stages.context import StageContext, consult
from pipelines.steps import Json, Step, StepContext, StepOutput

MAX_LOOK = 120
"""Characters of a description that several views add to: prompts have room for little more."""
_FIGURES = PEOPLE - word_set("hand hands face faces model models customer customers crowd") | word_set(
    "astronaut portrait figure lady guy gentleman surfer student athlete dancer doctor worker farmer waiter waitress"
)


async def look(context: StageContext, index: int, reference: BriefReference) -> Seen:
    """What the reference with `index` (from 0) of the brief shows."""
    seed = derived_seed(context.seed, "story", "vision", index)
    return await consult(context, f"story/reference-{index + 1}", look_question(reference, seed), Seen)


def product_look(name: str, views: Sequence[tuple[int, Seen]]) -> tuple[str, list[str]]:
    """The product's look from all its views, by index, and what is to be warned of.

    A view that shows something else than the brief's product `name`, or that contradicts the first one, is left out.
    """
    looks: list[tuple[int, str]] = []
    warnings: list[str] = []
    for index, seen in views:
        fitting = look_of(name, seen.description)
        if fitting is None:
            warnings.append(
                f"reference {index + 1} shows a {seen.description}, and the brief says {name!r}: the brief's words are "
                "used"
            )
        elif looks and (difference := _difference(looks[0][1], fitting)):
            warnings.append(
                f"reference {index + 1} shows the product {difference}, and reference {looks[0][0] + 1} does not: the "
                "first one is used"
            )
        else:
            looks.append((index, fitting))
    if looks:
        return merged_look([one for _, one in looks]), warnings
    return coloured(name, views[0][1].description if views else ""), warnings


def merged_look(looks: Sequence[str]) -> str:
    """One description of a thing that was looked at from several sides: the first, with what the others add to it."""
    merged = looks[0]
    for other in looks[1:]:
        for family in (MATERIALS, COLOURS):
            added = [word for word in _words(other) if word in family]
            if added and not family & set(_words(merged)):
                merged = f"{added[0]} {merged}"
        marks = re.search(r"\bwith\s+(.+)$", other)
        if marks and marks[1].lower() not in merged.lower() and len(merged) + len(marks[1]) < MAX_LOOK:
            merged = f"{merged} {'and' if re.search(r' with ', merged) else 'with'} {marks[1]}"
    return merged


def role_problem(index: int, role: ReferenceRole, seen: Seen) -> str | None:
    """A warning where a picture shows something else than its role says; `index` counts from 0."""
    named, shown = _words(seen.name), {*_words(seen.name), *_words(seen.description)}
    figure = bool(shown & _FIGURES)
    if role == "product" and set(named) & _FIGURES:
        return f"reference {index + 1} is given as a product and shows a {seen.name}: give it the role 'character'"
    if role == "character" and not figure and named and named[-1] in OTHER_PRODUCTS:
        return f"reference {index + 1} is given as a character and shows a {seen.name}: give it the role 'product'"
    return None


async def warn_of_references(context: StageContext, step_name: str, warnings: Sequence[str]) -> None:
    """Note `warnings` in the event log, once."""
    if not warnings:
        return

    async def work(step: StepContext) -> StepOutput:
        for warning in warnings:
            await step.notice("reference_contradicts", warning, "warning")
        return StepOutput(value={})

    inputs: Json = {"warnings": list(warnings)}
    await context.finish(Step(name=step_name, inputs=inputs, work=work))


async def check_uploaded(context: StageContext, references: Sequence[BriefReference], name: str) -> None:
    """Look at references that were uploaded later, and warn of what contradicts their role or the product."""
    if not references or not context.chat_model.vision:
        return
    warnings: list[str] = []
    for index, reference in enumerate(references):
        question = look_question(reference, derived_seed(context.seed, "reference_image", "vision", index))
        seen = await consult(context, f"reference_image/look-{index + 1}", question, Seen)
        problem = role_problem(index, reference.role, seen)
        if problem is None and reference.role == "product" and look_of(name, seen.description) is None:
            problem = f"reference {index + 1} shows a {seen.description}, and the ad is for the {name}"
        warnings += [problem] if problem else []
    await warn_of_references(context, "reference_image/look-check", warnings)


def _difference(one: str, other: str) -> str | None:
    """The colour in which two looks contradict each other."""
    first, second = (set(_words(text)) & COLOURS for text in (one, other))
    return f"in {sorted(second)[0]}" if first and second and not first & second else None


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())
