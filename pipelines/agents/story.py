"""The agents of the story: the director turns the brief into beats and a call to action, the critic judges them.

The number of beats, one per scene, and their purposes are given (`pipelines/timing.py`); the director fills them.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.interfaces import Plain
from pipelines.agents.conversation import Answer, CritiqueAnswer, Line, Phrase, Question, schema_of
from pipelines.agents.facts import story_facts
from pipelines.agents.prompting import (
    brief_lines,
    broken_lines,
    entity_lines,
    fact_lines,
    feedback_line,
    story_lines,
)
from pipelines.brief import Brief
from pipelines.facts import BriefFacts
from pipelines.screenplay import Beat, BrokenFact, Premise, Story
from pipelines.steps import Json
from pipelines.timing import SceneSlot

DIRECTOR_SYSTEM = (
    "You are the story director of a short video ad. Write one beat per scene: a setting and one event "
    "that a camera can film in a few seconds. Keep the place given for it, name the product in every beat, "
    "and end the last beat on the call to action. Answer in JSON."
)


class BeatAnswer(Plain):
    setting: Phrase
    event: Line


class StoryAnswer(Answer):
    """A story draft without the beats' purposes, which the framework decides."""

    title: Phrase
    beats: tuple[BeatAnswer, ...]
    call_to_action: Line

    def text(self) -> str:
        beats = (f"{number}. {beat.setting}: {beat.event}" for number, beat in enumerate(self.beats, start=1))
        return "\n".join([self.title, *beats, self.call_to_action])

    def story(self, slots: tuple[SceneSlot, ...], facts: BriefFacts) -> Story:
        """The story; where the brief decides a beat's setting, that one, whatever the answer says."""
        beats = tuple(
            Beat(
                purpose=slot.purpose,
                setting=facts.setting(index, len(slots)) or beat.setting,
                event=beat.event,
            )
            for index, (slot, beat) in enumerate(zip(slots, self.beats, strict=True))
        )
        return Story(title=self.title, beats=beats, call_to_action=self.call_to_action)


def story_question(
    brief: Brief,
    premise: Premise,
    slots: tuple[SceneSlot, ...],
    seed: int,
    iteration: int = 1,
    feedback: str | None = None,
    previous: Story | None = None,
    settings: tuple[str, ...] = (),
) -> Question:
    """Question for a story; from the second round on with the draft before and the feedback on it.

    Each scene gets its place: those of the brief in their order, spread evenly. Without any the director chooses, among
    `settings` if there are any.
    """
    planned = [premise.facts.setting(index, len(slots)) for index in range(len(slots))]
    scenes = [
        f"{slot.scene_number} {slot.purpose}{f', {place}' if place else ''}"
        for slot, place in zip(slots, planned, strict=True)
    ]
    earlier = [f"Earlier draft:\n{story_lines(previous)}"] if previous else []
    return Question(
        agent="director",
        system=DIRECTOR_SYSTEM,
        user="\n".join(
            [
                brief_lines(brief, _brand(premise)),
                entity_lines(premise.entities),
                *fact_lines(premise.facts),
                "Scenes:",
                *scenes,
                *earlier,
                *feedback_line(feedback),
            ]
        ),
        json_schema=_schema(planned, settings),
        seed=seed,
        iteration=iteration,
        creative=True,
        max_tokens=512 + 256 * len(slots),
    )


def _brand(premise: Premise) -> str | None:
    return premise.facts.brand.value if premise.facts.brand else None


def check_story(answer: StoryAnswer, slots: tuple[SceneSlot, ...]) -> None:
    """Raises ValueError unless there is exactly one beat per slot."""
    if len(answer.beats) != len(slots):
        raise ValueError(f"beats: {len(answer.beats)} given, exactly {len(slots)} wanted, one per scene")


def _schema(planned: Sequence[str | None], settings: tuple[str, ...]) -> Json:
    """One beat per scene; its setting is that of its line, which the schema says for each beat (`prefixItems`) and, for
    servers that do not read that, for all of them."""
    schema = schema_of(StoryAnswer)
    beats, beat = schema["properties"]["beats"], schema["$defs"]["BeatAnswer"]
    known = list(dict.fromkeys(place for place in planned if place)) or list(settings)
    if known:
        beat["properties"]["setting"] = {"type": "string", "enum": known}
    if all(planned):
        beats["prefixItems"] = [
            {**beat, "properties": {**beat["properties"], "setting": {"const": place}}} for place in planned
        ]
    beats |= {"minItems": len(planned), "maxItems": len(planned)}
    return schema


CRITIC_SYSTEM = (
    "You are the critic of a video ad's story. Check that every beat shows the brief's product in the "
    "brief's setting, that no two beats contradict each other, that each event can be filmed, and that "
    "the ad ends on a call to action. Score 85 or more only when nothing must be changed. Answer in JSON."
)


def story_critique_question(
    brief: Brief, premise: Premise, story: Story, broken: Sequence[BrokenFact], seed: int, iteration: int = 1
) -> Question:
    """Question about one story draft and the facts of the brief that it breaks."""
    return Question(
        agent="critic",
        system=CRITIC_SYSTEM,
        user="\n".join(
            [
                brief_lines(brief, _brand(premise)),
                entity_lines(premise.entities),
                *fact_lines(premise.facts),
                story_lines(story),
                story_facts(story, premise.entities[0], brief),
                *broken_lines(broken),
            ]
        ),
        json_schema=schema_of(CritiqueAnswer),
        seed=seed,
        iteration=iteration,
    )
