"""From a scene draft to the prompts of its picture and its clip. Pure functions.

What matters most comes first, because text encoders cut long prompts off: the product's look, the setting,
then the action. The look is said even when a reference binds the product: adapter and text then pull in the
same direction.
"""

from __future__ import annotations

import re

from pipelines.agents.lint import head_noun
from pipelines.story import Entity, SceneDraft

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


def directed_image_prompt(prompt: str, wish: str) -> str:
    """A picture's prompt with the owner's wish; beyond `MAX_IMAGE_WORDS` the prompt's last clauses give way to it."""
    clauses = prompt.split(", ")
    while len(clauses) > 1 and len(f"{' '.join(clauses)} {wish}".split()) > MAX_IMAGE_WORDS:
        clauses.pop()
    return ", ".join([*clauses, wish])


def directed_video_prompt(prompt: str, wish: str) -> str:
    return f"{prompt}, {wish}"


def look(entity: Entity) -> str:
    """How an entity is drawn: its description, led by its name where the description does not say what it
    is.
    """
    described = entity.description
    if head_noun(entity.name).lower() in described.lower():
        return described
    return f"{entity.name}, {described}"


def _subject(draft: SceneDraft, entities: tuple[Entity, ...]) -> str:
    shown = [entity for entity in entities if entity.handle in draft.entities]
    things = " and ".join(_with_article(look(entity)) for entity in shown if entity.role != "style")
    style = "".join(f", {entity.description}" for entity in shown if entity.role == "style")
    place = draft.setting if _PLACED.match(draft.setting) else f", {draft.setting}"
    return re.sub(r"\s+,", ",", f"a photo of {things or 'the scene'} {place}{style}")


def _action(draft: SceneDraft, entities: tuple[Entity, ...]) -> str:
    """The action without the look in the names, which the subject has already said."""
    action = draft.action.rstrip(".")
    for entity in entities:
        action = re.sub(re.escape(entity.name), head_noun(entity.name), action, flags=re.IGNORECASE)
    return action


def _with_article(noun: str) -> str:
    if re.match(r"(?:an?|the|his|her|their|its|two|three|some)\b", noun, re.IGNORECASE):
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
