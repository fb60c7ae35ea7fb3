"""The story stage: entities, then Story Director ⇄ Story Critic until a draft is approved or the rounds are used up.

The best-scoring draft is the result, not the last one. Beside it: what an approval may select of any stage's outputs.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from models.interfaces import ReferenceRole
from pipelines.agents.conversation import CritiqueAnswer
from pipelines.agents.entities import Named, Seen, look_question, product_question
from pipelines.agents.prompting import feedback_of, story_lines
from pipelines.agents.story import StoryAnswer, check_story, story_critique_question, story_question
from pipelines.brief import BriefReference
from pipelines.coherence import derived_seed
from pipelines.errors import BadInput
from pipelines.recipe import StageName
from pipelines.screenplay import Critique, Entity, Premise, Story, StoryResult, StoryRound
from pipelines.stages.context import StageContext, consult


async def tell_story(context: StageContext) -> StoryResult:
    """The story of the brief, as its owner had it revised. Raises AgentFailed.

    Without a critic in the recipe there is one round, approved as it is. A revision adds rounds: with
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


def _best(rounds: tuple[StoryRound, ...]) -> StoryRound:
    return max(rounds, key=lambda one: one.critique.overall_score if one.critique else 0.0)


def _approved(critique: Critique | None) -> bool:
    return critique is None or critique.approval_status == "approved"


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


async def meet_entities(context: StageContext) -> Premise:
    """What the ad is about: the product, one entity per character and style reference, the places. Raises AgentFailed.

    An ad has one product: further product references are other views of it, which condition the pictures and are not
    described again.
    """
    references = context.brief.references
    blind = bool(references) and not context.chat_model.vision
    named = await consult(
        context,
        "story/product-1",
        product_question(context.brief, derived_seed(context.seed, "story", "product")),
        Named,
        warning=_blindness(context) if blind else None,
    )
    others: list[Entity] = []
    product: Entity | None = None
    for index, reference in enumerate(references):
        if reference.role == "product" and product is not None:
            continue
        seen = None if blind else await _look(context, index, reference)
        if reference.role == "product":
            look = named.description if seen is None else seen.description
            product = Entity(handle="product", role="product", name=named.name, description=look, reference_index=index)
        else:
            others.append(_entity(_handle(reference.role, others), reference.role, index, seen))
    if product is None:
        product = Entity(handle="product", role="product", name=named.name, description=named.description)
    return Premise(entities=(product, *others), places=named.places)


async def _look(context: StageContext, index: int, reference: BriefReference) -> Seen:
    seed = derived_seed(context.seed, "story", "vision", index)
    return await consult(context, f"story/reference-{index + 1}", look_question(reference, seed), Seen)


def _entity(handle: str, role: ReferenceRole, index: int, seen: Seen | None) -> Entity:
    name = handle.split("-")[0] if seen is None else seen.name
    description = f"the {role} of reference {index + 1}" if seen is None else seen.description
    return Entity(handle=handle, role=role, name=name, description=description, reference_index=index)


def _handle(role: ReferenceRole, others: list[Entity]) -> str:
    """Handle of the next entity with `role`: `character-1`, `style-1`."""
    return f"{role}-{1 + sum(entity.role == role for entity in others)}"


def _blindness(context: StageContext) -> tuple[str, str]:
    return (
        "references_not_read",
        f"chat model {context.chat_model.name!r} cannot read images: the references still condition the pictures, "
        "but the story knows the product from the brief's words only",
    )


def check_selection(stage: StageName, output: Any, indices: tuple[int, ...]) -> None:
    """Raises BadInput when `indices` cannot be kept of `output`, a stage's output as JSON."""
    count = _count(stage, output)
    given = f"selected_indices {list(indices)}"
    if not indices or len(set(indices)) != len(indices) or not all(0 <= index < count for index in indices):
        raise BadInput(f"{given}: stage {stage!r} has {count} outputs; give different numbers from 0 to {count - 1}")
    if stage == "story" and len(indices) != 1:
        raise BadInput(f"{given}: an ad has one story; give the index of one draft")
    if stage not in ("story", "reference_image") and len(indices) != count:
        missing = min(set(range(count)) - set(indices))
        raise BadInput(
            f"{given} leaves out index {missing}: an ad shows every scene; regenerate the one that is not right, then "
            "approve"
        )


def keep_selected(stage: StageName, result: Any, indices: tuple[int, ...] | None) -> Any:
    """The part of a stage's result that was selected by the approval; all of it when `indices` is None."""
    if indices is None:
        return result
    if stage == "story":
        story: StoryResult = result
        return story_result(story.entities, story.rounds, story.rounds[indices[0]])
    if stage == "reference_image":
        return tuple(result[index] for index in indices)
    return result


def _count(stage: StageName, output: Any) -> int:
    if stage == "story":
        return len(output["rounds"])
    if stage == "scenes":
        return len(output["scenes"])
    return len(output) if isinstance(output, list) else 1
