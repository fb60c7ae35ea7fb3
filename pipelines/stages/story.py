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
from pipelines.story import Critique, Entity, Premise, Story, StoryResult, StoryRound


async def tell_story(context: StageContext) -> StoryResult:
    """The story of the brief, as its owner had it revised. Raises AgentFailed.

    Without a critic in the recipe there is one round, approved because nobody is asked. A revision adds rounds: with
    feedback it starts from the story that it revises, without it from nothing but another seed.
    """
    premise = await meet_entities(context)
    rounds = await _rounds(context, premise, 1, None, None)
    best = _best(rounds)
    for revision in context.direction.history("story", None):
        wish = " ".join(revision.feedback) or None
        later = await _rounds(context, premise, len(rounds) + 1, wish, best.draft if wish else None)
        rounds, best = (*rounds, *later), _best(later)
    return story_result(premise.entities, rounds, best)


def story_result(entities: tuple[Entity, ...], rounds: tuple[StoryRound, ...], chosen: StoryRound) -> StoryResult:
    """The result whose story is that of the round `chosen`."""
    return StoryResult(
        story=chosen.draft,
        entities=entities,
        rounds=rounds,
        chosen_iteration=chosen.iteration,
        approved=_approved(chosen.critique),
        text=story_lines(chosen.draft),
    )


async def _rounds(
    context: StageContext, premise: Premise, first: int, wish: str | None, previous: Story | None
) -> tuple[StoryRound, ...]:
    """Drafts and critiques from iteration `first` on; `wish` is what the owner wants changed of `previous`."""
    agents = context.recipe.story
    rounds: list[StoryRound] = []
    for iteration in range(first, first + (agents.max_rounds if agents.critic else 1)):
        before = rounds[-1] if rounds else None
        feedback = " ".join(filter(None, (wish, feedback_of(before.critique) if before and before.critique else None)))
        draft = await _draft(context, premise, iteration, feedback or None, before.draft if before else previous)
        critique = await _criticise(context, premise.entities, draft, iteration) if agents.critic else None
        rounds.append(StoryRound(iteration=iteration, draft=draft, critique=critique))
        if _approved(critique):
            break
    return tuple(rounds)


def _best(rounds: tuple[StoryRound, ...]) -> StoryRound:
    return max(rounds, key=lambda one: one.critique.overall_score if one.critique else 0.0)


def _approved(critique: Critique | None) -> bool:
    return critique is None or critique.approval_status == "approved"


async def _draft(
    context: StageContext, premise: Premise, iteration: int, feedback: str | None, previous: Story | None
) -> Story:
    slots = context.slots
    question = story_question(
        context.brief,
        premise,
        slots,
        derived_seed(context.seed, "story", "director", iteration),
        iteration,
        feedback,
        previous,
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
