"""The lines that the agents' prompts share: brief, entities, story and scene as short structured text.

Pure functions. One line per fact, so that a small model finds it and a large one does not mind.
"""

from __future__ import annotations

from pipelines.brief import Brief
from pipelines.story import Critique, Entity, SceneDraft, Story


def brief_lines(brief: Brief) -> str:
    lines = [f"Brief: {' '.join(brief.prompt.split())}"]
    if brief.brand_name:
        lines.append(f"Brand: {brief.brand_name}")
    return "\n".join(lines)


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
    """What the owner said when they approved the stage before."""
    return (f"Note of the owner: {note}",) if note else ()


def feedback_line(feedback: str | None) -> tuple[str, ...]:
    return (f"Feedback: {feedback}",) if feedback else ()


def feedback_of(critique: Critique) -> str:
    """What a critique asks to be changed, most important first."""
    wishes = dict.fromkeys((*critique.priority_fixes, *critique.improvements))
    return " ".join(wishes) if wishes else critique.critique
