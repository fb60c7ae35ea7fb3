"""A chat message of the owner: read, acted upon and answered, in one decision."""

from __future__ import annotations

from dataclasses import replace

from pipelines.agents.feedback import Reading, read_feedback
from pipelines.decisions.actions import REVISABLE, approve, regenerate
from pipelines.decisions.situation import Decision, Situation
from pipelines.direction import Modifications
from pipelines.recipe import StageName
from pipelines.steps import Message


def say(situation: Situation, text: str, focus: int | None) -> Decision:
    """Decide what `text` asks for, and answer it. A message that cannot be acted upon is answered, and changes nothing.

    `focus` is the scene that the owner has selected, for a message that names none.
    """
    stage = situation.waiting_stage
    if stage is None:
        return _talk(Decision(situation.direction), text, _not_waiting(situation), focus)
    scenes = situation.scene_numbers(stage)
    reading = read_feedback(text, None if scenes == (None,) else len(scenes), focus)
    decision, answer = _act(situation, stage, reading, text)
    return _talk(decision, text, answer, reading.scene_numbers[0] if len(reading.scene_numbers) == 1 else None)


def _act(situation: Situation, stage: StageName, reading: Reading, text: str) -> tuple[Decision, str]:
    unchanged = Decision(situation.direction)
    if reading.intent == "approve":
        decision = approve(situation, stage, None, None)
        return decision, f"The {_named(stage)} is approved. Next: {_named(decision.continues_at or stage)}."
    if reading.intent == "question":
        return unchanged, f"The {_named(stage)} waits for you: approve it, or say what to change."
    if reading.intent == "which_scene":
        return unchanged, _which_scene(situation, stage, reading)
    if stage not in REVISABLE:
        return unchanged, f"The {_named(stage)} follows from the scenes: regenerate one of them, or approve."
    if not reading.scene_numbers:
        return regenerate(situation, stage, None, text, Modifications()), f"The {_named(stage)} is regenerated."
    listed = ", ".join(map(str, reading.scene_numbers))
    return _regenerate_each(situation, stage, reading.scene_numbers, text), f"Regenerated: scene {listed}."


def _regenerate_each(situation: Situation, stage: StageName, scenes: tuple[int, ...], text: str) -> Decision:
    """One decision that regenerates each of `scenes`."""
    decision = Decision(situation.direction)
    for number in scenes:
        generation = situation.generation.model_copy(update={"direction": decision.direction})
        one = regenerate(replace(situation, generation=generation), stage, number, text, Modifications())
        decision = replace(one, events=(*decision.events, *one.events))
    return decision


def _talk(decision: Decision, text: str, answer: str, scene_number: int | None) -> Decision:
    messages = (
        Message(role="user", iteration=1, content=text, scene_number=scene_number),
        Message(role="assistant", iteration=1, content=answer, scene_number=scene_number),
    )
    return replace(decision, messages=messages)


def _which_scene(situation: Situation, stage: StageName, reading: Reading) -> str:
    count = len(situation.scene_numbers(stage))
    if reading.unknown_scene is not None:
        return f"There is no scene {reading.unknown_scene}: the {_named(stage)} has scenes 1 to {count}."
    return f"Which scene do you mean, 1 to {count}? Say for example 'scene 2: …', or 'all scenes: …'."


def _not_waiting(situation: Situation) -> str:
    generation = situation.generation
    if generation.status in ("pending", "processing"):
        stage = generation.current_stage or situation.stages[0]
        return f"At work: {_named(stage)}. Say it again when it is ready for you."
    if generation.status == "completed":
        return "The ad is finished. Regenerate a scene or select another take to change it."
    return f"The generation is {generation.status}. Resume it first."


def _named(stage: StageName) -> str:
    return stage.replace("_", " ")
