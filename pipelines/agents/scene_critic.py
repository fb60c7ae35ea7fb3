"""The scene critic: scores one scene against its beat and says what to mend first."""

from __future__ import annotations

from pipelines.agents.conversation import Question, schema_of
from pipelines.agents.critique import CritiqueAnswer
from pipelines.agents.lint import scene_facts
from pipelines.agents.prompting import brief_lines, draft_lines, entity_lines, note_line
from pipelines.brief import Brief
from pipelines.story import Entity, SceneDraft, Story

SYSTEM = (
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
    seed: int,
    iteration: int = 1,
    note: str | None = None,
) -> Question:
    """Question about one scene draft; `entities[0]` is the product, `note` as for the writer."""
    beat = story.beats[scene_number - 1]
    last = scene_number == len(story.beats)
    return Question(
        agent="scene_critic",
        system=SYSTEM,
        user="\n".join(
            [
                brief_lines(brief),
                entity_lines(entities),
                f"Scene {scene_number} of {len(story.beats)}, purpose: {beat.purpose}",
                f"Beat, {beat.setting}: {beat.event}",
                *note_line(note),
                draft_lines(draft),
                scene_facts(draft, entities[0], beat, last),
            ]
        ),
        json_schema=schema_of(CritiqueAnswer),
        seed=seed,
        iteration=iteration,
        scene_number=scene_number,
    )
