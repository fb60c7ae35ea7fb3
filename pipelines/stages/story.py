"""The story stage: entities, then Story Director ⇄ Story Critic until a draft is approved or the rounds are
used up.

The best-scoring draft is the result, not the last one. Knows the agents' questions and answers, not their
prompts.
"""

from __future__ import annotations

from functools import partial

from pipelines.agents.critique import CritiqueAnswer
from pipelines.agents.director import StoryAnswer, check_story, story_question
from pipelines.agents.prompting import feedback_of, story_lines
from pipelines.agents.story_critic import story_critique_question
from pipelines.coherence import derived_seed
from pipelines.stages.consult import consult
from pipelines.stages.context import StageContext
from pipelines.stages.entities import meet_entities
from pipelines.story import Critique, Entity, Story, StoryResult, StoryRound


async def tell_story(context: StageContext) -> StoryResult:
    """The story of the brief. Raises AgentFailed.

    Without a critic in the recipe there is one round, approved because nobody is asked.
    """
    entities = await meet_entities(context)
    agents = context.recipe.story
    rounds: list[StoryRound] = []
    for iteration in range(1, (agents.max_rounds if agents.critic else 1) + 1):
        draft = await _draft(context, entities, iteration, rounds[-1] if rounds else None)
        critique = await _criticise(context, entities, draft, iteration) if agents.critic else None
        rounds.append(StoryRound(iteration=iteration, draft=draft, critique=critique))
        if _approved(critique):
            break
    best = max(rounds, key=lambda one: one.critique.overall_score if one.critique else 0.0)
    return StoryResult(
        story=best.draft,
        entities=entities,
        rounds=tuple(rounds),
        chosen_iteration=best.iteration,
        approved=_approved(best.critique),
        text=story_lines(best.draft),
    )


def _approved(critique: Critique | None) -> bool:
    return critique is None or critique.approval_status == "approved"


async def _draft(
    context: StageContext, entities: tuple[Entity, ...], iteration: int, before: StoryRound | None
) -> Story:
    slots = context.slots
    question = story_question(
        context.brief,
        entities,
        slots,
        derived_seed(context.seed, "story", "director", iteration),
        iteration,
        feedback_of(before.critique) if before and before.critique else None,
        before.draft if before else None,
    )
    answer = await consult(
        context, f"story/director-{iteration}", question, StoryAnswer, partial(check_story, slots=slots)
    )
    return answer.story(slots)


async def _criticise(context: StageContext, entities: tuple[Entity, ...], draft: Story, iteration: int) -> Critique:
    seed = derived_seed(context.seed, "story", "critic", iteration)
    question = story_critique_question(context.brief, entities, draft, seed, iteration)
    answer = await consult(context, f"story/critic-{iteration}", question, CritiqueAnswer)
    return answer.judged(context.recipe.story.approve_at)
