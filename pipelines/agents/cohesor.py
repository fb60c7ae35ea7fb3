"""The scene cohesor: scores how each scene leads to the next, pair by pair, and looks once over all of them.

One small question per pair instead of one document over all scenes. The overall score is computed: the mean
of the pairs' scores. `assemble` gives the contract's cohesion analysis.
"""

from __future__ import annotations

from statistics import fmean
from typing import Annotated

from pydantic import Field

from pipelines.agents.conversation import Answer, Point, Question, schema_of
from pipelines.agents.facts import overview_facts, pair_facts
from pipelines.agents.prompting import brief_lines, draft_lines, entity_lines
from pipelines.brief import Brief
from pipelines.screenplay import Cohesion, Entity, PairAnalysis, SceneDraft

PAIR_SYSTEM = (
    "You judge how one scene of a video ad leads to the next. The place, the light and the product must "
    "fit together and the camera must not jump against its own movement. Name the issue and what to "
    "change, or leave the lists empty, then score the transition: 85 or more flows, 70 or more is a clean "
    "cut, below does not fit. Answer in JSON."
)
OVERVIEW_SYSTEM = (
    "You look over all scenes of a video ad. Name what is wrong with the whole, what is inconsistent "
    "between scenes, and what to change; leave a list empty when there is nothing. Answer in JSON."
)
Points = Annotated[tuple[Point, ...], Field(max_length=2)]


class PairAnswer(Answer):
    """How one scene leads to the next."""

    issues: Points
    recommendations: Points
    transition_score: Annotated[int, Field(ge=0, le=100)]

    def text(self) -> str:
        return " ".join((*self.issues, *self.recommendations)) or "The scenes flow into each other."

    def score(self) -> float:
        return float(self.transition_score)


class OverviewAnswer(Answer):
    """What only shows when all scenes are seen together."""

    global_issues: Points
    consistency_issues: Points
    overall_recommendations: Points

    def text(self) -> str:
        lines = (*self.global_issues, *self.consistency_issues, *self.overall_recommendations)
        return " ".join(lines) or "The scenes belong together."


def pair_question(
    brief: Brief,
    entities: tuple[Entity, ...],
    from_scene: int,
    before: SceneDraft,
    after: SceneDraft,
    seed: int,
    iteration: int = 1,
) -> Question:
    """Question about the transition from scene `from_scene` to the next; `entities[0]` is the product."""
    return Question(
        agent="cohesor",
        system=PAIR_SYSTEM,
        user="\n".join(
            [
                brief_lines(brief),
                entity_lines(entities),
                f"Scene {from_scene}:\n{draft_lines(before)}",
                f"Scene {from_scene + 1}:\n{draft_lines(after)}",
                pair_facts(before, after, entities[0], brief),
            ]
        ),
        json_schema=schema_of(PairAnswer),
        seed=seed,
        iteration=iteration,
    )


def overview_question(
    brief: Brief, entities: tuple[Entity, ...], drafts: tuple[SceneDraft, ...], seed: int, iteration: int = 1
) -> Question:
    """Question about all scenes at once, one line each; `entities[0]` is the product."""
    scenes = [f"{number} {draft.setting}: {draft.action}" for number, draft in enumerate(drafts, start=1)]
    facts = overview_facts(drafts, entities[0], brief)
    return Question(
        agent="cohesor",
        system=OVERVIEW_SYSTEM,
        user="\n".join([brief_lines(brief), entity_lines(entities), "Scenes:", *scenes, facts]),
        json_schema=schema_of(OverviewAnswer),
        seed=seed,
        iteration=iteration,
    )


def assemble(pairs: tuple[PairAnswer, ...], overview: OverviewAnswer, cohesion_at: float) -> Cohesion:
    """The cohesion analysis of scenes 1..n from n-1 pairs.

    overall_cohesion_score = mean of the transition scores. A scene gets feedback, and so is flagged for
    rewriting, when the transition into it scores below `cohesion_at`: of two neighbours the later one
    moves.
    """
    analyses = tuple(
        PairAnalysis(
            from_scene=number,
            to_scene=number + 1,
            transition_score=pair.transition_score,
            issues=pair.issues,
            recommendations=pair.recommendations,
        )
        for number, pair in enumerate(pairs, start=1)
    )
    return Cohesion(
        overall_cohesion_score=round(fmean(pair.transition_score for pair in pairs), 2),
        pair_wise_analysis=analyses,
        global_issues=overview.global_issues,
        scene_specific_feedback={
            pair.to_scene: " ".join((*pair.issues, *pair.recommendations))
            or f"The transition from scene {pair.from_scene} does not flow."
            for pair in analyses
            if pair.transition_score < cohesion_at
        },
        consistency_issues=overview.consistency_issues,
        overall_recommendations=overview.overall_recommendations,
    )
