"""The lines that the agents' prompts share: brief, entities, story and scene as short structured text.

Pure functions. One line per fact, so that a small model finds it and a large one does not mind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.agents.facts import head_noun
from pipelines.brief import Brief
from pipelines.facts import BriefFacts
from pipelines.reading.language import NAMES
from pipelines.screenplay import BrokenFact, Critique, Entity, SceneDraft, Story

MAX_IMAGE_WORDS = 25
"""The sketch family's text encoder reads about 30 tokens; CLIP's reads 77."""

_PLACED = re.compile(
    r"^(?:in|on|at|by|before|among|under|over|near|inside|outside|beside|behind|along|against)\b", re.I
)


def image_prompt(draft: SceneDraft, entities: tuple[Entity, ...]) -> str:
    """Subject and setting, and the action when the whole stays within `MAX_IMAGE_WORDS` words."""
    subject = _subject(draft, entities)
    full = f"{subject}, {_action(draft, entities)}"
    return full if len(full.split()) <= MAX_IMAGE_WORDS else subject


def video_prompt(draft: SceneDraft, entities: tuple[Entity, ...]) -> str:
    """Subject and setting, and the action whatever its length. The video model itself words the camera move."""
    return f"{_subject(draft, entities)}, {_action(draft, entities)}"


def revised_image_prompt(prompt: str, feedback: str) -> str:
    """A picture's prompt with the owner's feedback, for which the last clauses go beyond `MAX_IMAGE_WORDS`."""
    clauses = prompt.split(", ")
    while len(clauses) > 1 and len(f"{' '.join(clauses)} {feedback}".split()) > MAX_IMAGE_WORDS:
        clauses.pop()
    return ", ".join([*clauses, feedback])


def revised_video_prompt(prompt: str, feedback: str) -> str:
    """A clip's prompt with the owner's feedback."""
    return f"{prompt}, {feedback}"


def look(entity: Entity) -> str:
    """How an entity is drawn: its description, led by its name where the description does not say what it is."""
    described = entity.description
    if head_noun(entity.name).lower() in described.lower():
        return described
    return f"{entity.name}, {described}"


def style_words(draft: SceneDraft, entities: tuple[Entity, ...]) -> str | None:
    """The look that a scene's prompts ask for, in words: the descriptions of its entities of role `style`; None: it has
    none."""
    shown = [entity for entity in entities if entity.handle in draft.entities and entity.role == "style"]
    return ", ".join(entity.description for entity in shown) or None


def _subject(draft: SceneDraft, entities: tuple[Entity, ...]) -> str:
    shown = [entity for entity in entities if entity.handle in draft.entities]
    things = " and ".join(_with_article(look(entity)) for entity in shown if entity.role != "style")
    style = "" if (words := style_words(draft, entities)) is None else f", {words}"
    place = draft.setting if _PLACED.match(draft.setting) else f", {draft.setting}"
    return re.sub(r"\s+,", ",", f"a photo of {things or 'the scene'} {place}{style}")


def _action(draft: SceneDraft, entities: tuple[Entity, ...]) -> str:
    """The action without the look in the names, which the subject has already said, and without the call to action,
    which is said and not seen."""
    action = draft.action.split(": ")[0].rstrip(".")
    action = re.sub(r"^(?:A|An|The|In|On|At|One|Then|Now)\b", lambda first: first[0].lower(), action)
    for entity in entities:
        action = re.sub(re.escape(entity.name), head_noun(entity.name), action, flags=re.IGNORECASE)
    return action


def _with_article(noun: str) -> str:
    if re.match(r"(?:an?|the|his|her|their|its|two|three|some)\b", noun, re.IGNORECASE):
        return noun
    head = head_noun(noun.split(",")[0]).lower()
    if head.endswith("s") and not head.endswith(("ss", "us", "is")):
        return noun  # several, as shoes are
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def brief_lines(brief: Brief, brand: str | None = None) -> str:
    """The brief, and its brand: `brand`, or as its field has it."""
    lines = [f"Brief: {' '.join(brief.prompt.split())}"]
    if named := brand or brief.brand_name:
        lines.append(f"Brand: {named}")
    return "\n".join(lines)


def fact_lines(facts: BriefFacts) -> tuple[str, ...]:
    """What the story must say besides brand, product and places, and what it must not."""
    lines = [f"Claim: {claim.value}" for claim in facts.claims]
    if facts.offer is not None:
        lines.append(f"Offer: {facts.offer.text.value}")
    if facts.call_to_action is not None:
        lines.append(f"Wanted call to action: {facts.call_to_action.value}")
    if facts.audience is not None:
        lines.append(f"Audience: {facts.audience.value}")
    lines += [f"Avoid: {fact.value}" for fact in facts.avoid]
    if facts.language != "en":
        lines.append(f"Language: {NAMES.get(facts.language, facts.language)}")
    return tuple(lines)


def broken_lines(broken: Sequence[BrokenFact]) -> tuple[str, ...]:
    """What the judge of facts found, for a critic, who may add to it."""
    return tuple(f"To fix: {one.fix}" for one in broken)


def entity_lines(entities: tuple[Entity, ...]) -> str:
    lines = (f"{entity.handle} = {entity.name} ({entity.description})" for entity in entities)
    return "\n".join(["Entities:", *lines])


def story_lines(story: Story) -> str:
    beats = (
        f"{number} {beat.purpose}, {beat.setting}: {beat.event}" for number, beat in enumerate(story.beats, start=1)
    )
    return "\n".join([f"Title: {story.title}", *beats, f"Call to action: {story.call_to_action}"])


def draft_lines(draft: SceneDraft) -> str:
    return "\n".join(
        [
            f"Setting: {draft.setting}",
            f"Action: {draft.action}",
            f"Camera: {draft.camera}",
            f"With: {', '.join(draft.entities) or 'none'}",
        ]
    )


def note_line(note: str | None) -> tuple[str, ...]:
    """Line with what the owner said when they approved the stage before; none without a note."""
    return (f"Note of the owner: {note}",) if note else ()


def feedback_line(feedback: str | None) -> tuple[str, ...]:
    return (f"Feedback: {feedback}",) if feedback else ()


def feedback_of(critique: Critique) -> str:
    """What a critique asks to be changed, most important first."""
    wishes = dict.fromkeys((*critique.priority_fixes, *critique.improvements))
    return " ".join(wishes) if wishes else critique.critique
