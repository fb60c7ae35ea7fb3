"""The story critic: scores a story draft against the brief and says what to mend first."""

from __future__ import annotations

from pipelines.agents.conversation import Question, schema_of
from pipelines.agents.critique import CritiqueAnswer
from pipelines.agents.lint import story_facts
from pipelines.agents.prompting import brief_lines, entity_lines, story_lines
from pipelines.brief import Brief
from pipelines.story import Entity, Story

SYSTEM = (
    "You are the critic of a video ad's story. Check that every beat shows the brief's product in the "
    "brief's setting, that no two beats contradict each other, that each event can be filmed, and that "
    "the ad ends on a call to action. Score 85 or more only when nothing must be changed. Answer in JSON."
)


def story_critique_question(
    brief: Brief, entities: tuple[Entity, ...], story: Story, seed: int, iteration: int = 1
) -> Question:
    """Question about one story draft; `entities[0]` is the product."""
    return Question(
        agent="critic",
        system=SYSTEM,
        user="\n".join(
            [brief_lines(brief), entity_lines(entities), story_lines(story), story_facts(story, entities[0], brief)]
        ),
        json_schema=schema_of(CritiqueAnswer),
        seed=seed,
        iteration=iteration,
    )
