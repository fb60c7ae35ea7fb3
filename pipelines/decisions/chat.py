"""A chat message of the owner: read, acted upon and answered, in one decision."""

from __future__ import annotations

import re
from dataclasses import replace

from pipelines.agents.direction_reader import read_direction
from pipelines.decisions.actions import REVISABLE, approve
from pipelines.decisions.edits import edit_plan, listed, plan_of, scope_of
from pipelines.decisions.situation import Decision, Situation
from pipelines.direction import DirectionEdit
from pipelines.recipe import StageName
from pipelines.steps import Message

SESSION_STAGES: dict[StageName, str] = {
    "story": "story",
    "scenes": "reference image",
    "reference_image": "reference image",
    "storyboard": "storyboard",
    "video": "video",
    "stitch": "video",
    "quality": "video",
}
"""The stages as their owner knows them: the contract's."""


def say(
    situation: Situation, text: str, focus: int | None, reading: tuple[DirectionEdit, ...] | None = None
) -> Decision:
    """What comes of `text`. A message that cannot be acted upon is answered, and changes nothing.

    `focus` is the scene that the owner has selected, for a message that names none. `reading` is what a chat model read
    in the message, already checked; without it the rules read.
    """
    stage = situation.waiting_stage
    if stage is None:
        return _talk(Decision(situation.direction), text, _not_waiting(situation), focus)
    if reading is None or any(edit.stage != stage for edit in reading):
        reading = read_direction(text, scope_of(situation, stage, focus))
    edits = reading
    decision, answer = _act(situation, stage, edits, text)
    named = {number for edit in edits for number in edit.scenes}
    return _talk(decision, text, answer, named.pop() if len(named) == 1 else None)


def _act(situation: Situation, stage: StageName, edits: tuple[DirectionEdit, ...], text: str) -> tuple[Decision, str]:
    unchanged = Decision(situation.direction)
    intents = {edit.intent for edit in edits}
    if intents == {"approve"}:
        return approve(situation, stage, None, None), f"The {SESSION_STAGES[stage]} is approved. Next: {after(stage)}."
    if intents == {"reject"}:
        return unchanged, (
            f"The {SESSION_STAGES[stage]} is not approved, and nothing is thrown away. Say what shall be "
            f"different, for "
            "example 'scene 2 at night'."
        )
    if intents == {"ask"}:
        return unchanged, _answered(situation, stage, text)
    if "change" not in intents:
        questions = [edit.question for edit in edits if edit.question]
        return unchanged, " ".join(questions) or f"The {SESSION_STAGES[stage]} waits for you."
    if stage not in REVISABLE:
        return unchanged, f"The {SESSION_STAGES[stage]} follows from the scenes: regenerate one of them, or approve."
    return edit_plan(situation, stage, edits)


def after(stage: StageName) -> str:
    """What comes next, in the owner's words."""
    order = tuple(dict.fromkeys(SESSION_STAGES.values()))
    position = order.index(SESSION_STAGES[stage]) + 1
    return order[position] if position < len(order) else "the finished ad"


def _answered(situation: Situation, stage: StageName, text: str) -> str:
    """The answer to a question, from the plan; what it does not hold is not made up."""
    plan, asked = plan_of(situation, stage), text.lower()
    waits = f"The {SESSION_STAGES[stage]} waits for you: approve it, or say what to change."
    scenes = [int(number) for number in re.findall(r"\b(?:scene|shot)\s*#?(\d{1,2})\b", asked)]
    if re.search(r"\bapproved?\b", asked):
        return f"The {SESSION_STAGES[stage]} is not approved yet: it waits for you."
    if plan.story is not None and re.search(r"call[- ]to[- ]action|slogan|\bcta\b", asked):
        return f"The call to action is '{plan.story.call_to_action}'. {waits}"
    if scenes and 1 <= scenes[0] <= len(plan.settings):
        number = scenes[0]
        shown = (
            plan.drafts[number - 1].action if plan.drafts else plan.story.beats[number - 1].event if plan.story else ""
        )
        return f"Scene {number} plays {plan.settings[number - 1]}: {shown.rstrip('.')}. {waits}"
    if re.search(r"\b(?:colou?r|product|material|look)\b", asked):
        return f"The product is the {plan.product}. {waits}"
    if re.search(r"\b(?:how long|seconds|duration|length)\b", asked):
        return f"The ad lasts {situation.generation.brief.duration} seconds in {len(plan.settings)} scenes. {waits}"
    if re.search(r"\b(?:how many|which|what) (?:scenes|shots)\b", asked):
        return f"There are {len(plan.settings)} scenes: {'; '.join(plan.settings)}. {waits}"
    if re.search(r"\b(?:what can|help|how (?:do|can) i)\b", asked):
        return (
            "You can approve, or change a scene's place, time of day, light, action or camera, the order "
            "of the scenes, and "
            f"the product's colour: for example 'scene {listed({min(2, len(plan.settings))})} at night'."
        )
    return f"I can answer what the plan says: its scenes, product, length and call to action. {waits}"


def _talk(decision: Decision, text: str, answer: str, scene_number: int | None) -> Decision:
    messages = (
        Message(role="user", iteration=1, content=text, scene_number=scene_number),
        Message(role="assistant", iteration=1, content=answer, scene_number=scene_number),
    )
    return replace(decision, messages=messages)


def _not_waiting(situation: Situation) -> str:
    generation = situation.generation
    if generation.status in ("pending", "processing"):
        stage = generation.current_stage or situation.stages[0]
        return f"At work: {SESSION_STAGES[stage]}. Say it again when it is ready for you."
    if generation.status == "completed":
        return "The ad is finished. Regenerate a scene or select another take to change it."
    return f"The generation is {generation.status}. Resume it first."
