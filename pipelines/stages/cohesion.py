"""Cohesion: the cohesor reads all scenes, and those that it flags are rewritten, until they fit or the
rounds are used up.

The set of scenes with the best overall score is the result, together with the analysis of that very set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.agents.cohesor import OverviewAnswer, PairAnswer, assemble, overview_question, pair_question
from pipelines.coherence import derived_seed
from pipelines.stages.consult import consult
from pipelines.stages.context import StageContext
from pipelines.stages.fan_out import each_scene
from pipelines.stages.scene_drafts import WrittenScene, rewrite_scene
from pipelines.story import Cohesion, StoryResult

Scenes = tuple[WrittenScene, ...]


@dataclass(frozen=True)
class Fitted:
    """Scenes with the cohesor's analysis of them, and after how many rounds they came about."""

    scenes: Scenes
    cohesion: Cohesion
    rounds: int
    judged_in: int
    """The round in which these very scenes were judged."""


async def fit_together(context: StageContext, story: StoryResult, scenes: Scenes) -> Fitted:
    """Judge and rewrite within the recipe's cohesion rounds. Raises AgentFailed."""
    agents = context.recipe.scenes
    judged: list[tuple[Scenes, Cohesion]] = []
    for cohesion_round in range(1, agents.cohesion_rounds + 1):
        cohesion = await _judge(context, story, scenes, cohesion_round)
        judged.append((scenes, cohesion))
        if cohesion.overall_cohesion_score >= agents.cohesion_at or cohesion_round == agents.cohesion_rounds:
            break
        scenes = await _rewrite(context, story, scenes, cohesion, cohesion_round)
    best = max(range(len(judged)), key=lambda index: judged[index][1].overall_cohesion_score)
    fitting, cohesion = judged[best]
    return Fitted(scenes=fitting, cohesion=cohesion, rounds=len(judged), judged_in=best + 1)


async def judge_revised(context: StageContext, story: StoryResult, fitted: Fitted, scenes: Scenes) -> Fitted:
    """The analysis of `scenes`, which the owner had revised after they were made to fit: judged, not rewritten again.

    Pairs of scenes that stayed the same keep their answers.
    """
    cohesion = await _judge(context, story, scenes, fitted.judged_in)
    return replace(fitted, scenes=scenes, cohesion=cohesion)


async def _judge(context: StageContext, story: StoryResult, scenes: Scenes, cohesion_round: int) -> Cohesion:
    async def pair(number: int) -> PairAnswer:
        name = f"scenes/cohesor-{cohesion_round}/pair-{number}-{number + 1}"
        question = pair_question(
            context.brief,
            story.entities,
            number,
            scenes[number - 1].draft,
            scenes[number].draft,
            derived_seed(context.seed, name),
            cohesion_round,
        )
        return await consult(context, name, question, PairAnswer)

    pairs = await each_scene(tuple(range(1, len(scenes))), pair, context.recipe.scene_concurrency)
    name = f"scenes/cohesor-{cohesion_round}/overview"
    drafts = tuple(scene.draft for scene in scenes)
    question = overview_question(
        context.brief, story.entities, drafts, derived_seed(context.seed, name), cohesion_round
    )
    overview = await consult(context, name, question, OverviewAnswer)
    return assemble(pairs, overview, context.recipe.scenes.cohesion_at)


async def _rewrite(
    context: StageContext, story: StoryResult, scenes: Scenes, cohesion: Cohesion, cohesion_round: int
) -> Scenes:
    """The scenes with only the flagged ones written anew."""

    async def revised(number: int) -> WrittenScene:
        feedback = cohesion.scene_specific_feedback.get(number)
        if feedback is None:
            return scenes[number - 1]
        return await rewrite_scene(context, story, number, scenes[number - 1], feedback, cohesion_round)

    return await each_scene(tuple(range(1, len(scenes) + 1)), revised, context.recipe.scene_concurrency)
