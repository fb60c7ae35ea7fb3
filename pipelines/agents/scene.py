"""The agents of one scene: the writer turns a beat into a scene that can be drawn and filmed, the critic judges it.

The writer sees the story's neighbouring beats and not the other scenes: so all scenes can be written at the same time,
a rewritten scene leaves the others' checkpoints valid, and the story stays the one source of settings. What still does
not fit together is found by the cohesor.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.spec import CameraMove
from pipelines.agents.conversation import Answer, CritiqueAnswer, Line, Phrase, Question, schema_of
from pipelines.agents.facts import scene_facts
from pipelines.agents.prompting import (
    brief_lines,
    broken_lines,
    draft_lines,
    entity_lines,
    feedback_line,
    note_line,
)
from pipelines.brief import Brief
from pipelines.screenplay import Beat, BrokenFact, Entity, SceneDraft, Story
from pipelines.steps import Json

WRITER_SYSTEM = (
    "You write one scene of a video ad. Keep the beat's setting and event, say in one sentence what the "
    "camera sees, name the product, choose the camera move, and list the handles of the entities that are "
    "in the picture. Answer in JSON."
)
_HANDLE = re.compile(r"\b(?:product|character|style|reference)-\d+\b")


class SceneAnswer(Answer):
    """A scene as the writer gives it."""

    setting: Phrase
    action: Line
    camera: CameraMove
    entities: tuple[str, ...]

    def text(self) -> str:
        return draft_lines(self.draft())

    def draft(self, beat: Beat | None = None) -> SceneDraft:
        """The scene; in the setting of `beat`, whatever the answer says."""
        handles = tuple(dict.fromkeys(self.entities))  # a grammar cannot forbid repeats
        setting = beat.setting if beat else self.setting
        return SceneDraft(setting=setting, action=self.action, camera=self.camera, entities=handles)


def scene_question(
    brief: Brief,
    story: Story,
    entities: tuple[Entity, ...],
    scene_number: int,
    camera_moves: tuple[CameraMove, ...],
    seed: int,
    iteration: int = 1,
    feedback: str | None = None,
    previous: SceneDraft | None = None,
    note: str | None = None,
) -> Question:
    """Question for one scene; `camera_moves` are those that the video model understands.

    `note` is what the owner said when they approved the story.
    """
    beat = story.beats[scene_number - 1]
    lines = [
        brief_lines(brief),
        entity_lines(entities),
        *_neighbours(story, scene_number),
        f"Scene {scene_number} of {len(story.beats)}, purpose: {beat.purpose}",
        f"Beat, {beat.setting}: {beat.event}",
    ]
    if scene_number == len(story.beats):
        lines.append(f"Call to action: {story.call_to_action}")
    if previous is not None:
        lines.append(f"Earlier draft:\n{draft_lines(previous)}")
    return Question(
        agent="writer",
        system=WRITER_SYSTEM,
        user="\n".join([*lines, *note_line(note), *feedback_line(feedback)]),
        json_schema=_schema(entities, camera_moves, beat),
        seed=seed,
        iteration=iteration,
        scene_number=scene_number,
        creative=True,
    )


def check_scene(answer: SceneAnswer, entities: tuple[Entity, ...]) -> None:
    """Raises ValueError unless every handle, listed or mentioned, is bound to an entity."""
    bound = {entity.handle for entity in entities}
    bound |= {f"reference-{e.reference_index + 1}" for e in entities if e.reference_index is not None}
    mentioned = _HANDLE.findall(f"{answer.setting} {answer.action}")
    unbound = [handle for handle in (*answer.entities, *mentioned) if handle not in bound]
    if unbound:
        raise ValueError(f"entities: {unbound[0]!r} is not bound, use only {', '.join(sorted(bound))}")


def _neighbours(story: Story, scene_number: int) -> list[str]:
    lines = []
    if scene_number > 1:
        before = story.beats[scene_number - 2]
        lines.append(f"Before, {before.setting}: {before.event}")
    if scene_number < len(story.beats):
        after = story.beats[scene_number]
        lines.append(f"After, {after.setting}: {after.event}")
    return lines


def _schema(entities: tuple[Entity, ...], camera_moves: tuple[CameraMove, ...], beat: Beat) -> Json:
    schema = schema_of(SceneAnswer)
    properties = schema["properties"]
    properties["setting"] = {"const": beat.setting}
    properties["camera"] = {"type": "string", "enum": list(camera_moves)}
    handles = {"type": "string", "enum": [entity.handle for entity in entities]}
    properties["entities"] = {"type": "array", "items": handles, "minItems": 1, "maxItems": len(entities)}
    return schema


CRITIC_SYSTEM = (
    "You are the critic of one scene of a video ad. Check that it keeps the beat's setting and event, "
    "that the product is in the picture and named, and that the last scene carries the call to action. "
    "Score 85 or more only when nothing must be changed. Answer in JSON."
)


def scene_critique_question(
    brief: Brief,
    story: Story,
    entities: tuple[Entity, ...],
    scene_number: int,
    draft: SceneDraft,
    broken: Sequence[BrokenFact],
    seed: int,
    iteration: int = 1,
    note: str | None = None,
) -> Question:
    """Question about one scene draft and the facts that it breaks.

    `entities[0]` is the product, `note` what the owner said of the story.
    """
    beat = story.beats[scene_number - 1]
    last = scene_number == len(story.beats)
    return Question(
        agent="scene_critic",
        system=CRITIC_SYSTEM,
        user="\n".join(
            [
                brief_lines(brief),
                entity_lines(entities),
                f"Scene {scene_number} of {len(story.beats)}, purpose: {beat.purpose}",
                f"Beat, {beat.setting}: {beat.event}",
                *note_line(note),
                draft_lines(draft),
                scene_facts(draft, entities[0], beat, last),
                *broken_lines(broken),
            ]
        ),
        json_schema=schema_of(CritiqueAnswer),
        seed=seed,
        iteration=iteration,
        scene_number=scene_number,
    )
