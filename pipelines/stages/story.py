"""The story stage: the brief's facts, its entities, then Story Director ⇄ Story Critic until a draft is approved or the
rounds are used up.

The result is the draft that breaks the fewest facts of the brief, then the best-scoring one; never simply the last.
"""

from __future__ import annotations

from functools import partial

from models.interfaces import ReferenceRole
from pipelines.agents.brief_reader import ReadBrief, completed, product_question
from pipelines.agents.conversation import CritiqueAnswer
from pipelines.agents.entities import Seen
from pipelines.agents.judge import judge_story, judged, look_of
from pipelines.agents.prompting import feedback_of, story_lines
from pipelines.agents.story import StoryAnswer, check_story, story_critique_question, story_question
from pipelines.coherence import derived_seed
from pipelines.facts import BriefFacts
from pipelines.reading.brief_rules import edited, read_brief
from pipelines.reading.domain import Drawable, drawable
from pipelines.screenplay import BrokenFact, Critique, Entity, Premise, Story, StoryResult, StoryRound
from pipelines.stages.context import StageContext, consult
from pipelines.stages.looks import look, product_look, role_problem, warn_of_references
from pipelines.stages.owner_edits import edited_premise, edited_rounds, edits_before, only_beats
from pipelines.steps import Json, Step, StepContext, StepOutput


async def tell_story(context: StageContext) -> StoryResult:
    """The story of the brief, as its owner had it revised. Raises AgentFailed.

    Without a critic in the recipe there is one round, judged by its facts alone. A revision adds rounds: with feedback
    it starts from the story that it revises, without it from nothing but another seed.
    """
    premise, warnings = await meet_entities(context)
    rounds = await _rounds(context, premise, 1, None, None)
    rounds, best = edited_rounds(context, premise, rounds, _best(rounds), 0)
    for count, revision in enumerate(context.direction.history("story", None), start=1):
        wish = " ".join(revision.feedback) or None
        held = edited_premise(premise, best.draft, edits_before(context, count))
        later = await _rounds(context, held, len(rounds) + 1, wish, best.draft if wish else None)
        chosen = only_beats(context, held, revision, best.draft, _best(later))
        later = tuple(chosen if one.iteration == chosen.iteration else one for one in later)
        rounds, best = edited_rounds(context, premise, (*rounds, *later), chosen, count)
    held = edited_premise(premise, best.draft, context.direction.story_edits)
    told = story_result(premise.entities, rounds, best)
    return told.model_copy(update={"facts": held.facts, "warnings": warnings})


def story_result(entities: tuple[Entity, ...], rounds: tuple[StoryRound, ...], chosen: StoryRound) -> StoryResult:
    """The result whose story is that of the round `chosen`."""
    return StoryResult(
        story=chosen.draft,
        entities=entities if chosen.product is None else (chosen.product, *entities[1:]),
        rounds=rounds,
        chosen_iteration=chosen.iteration,
        approved=_approved(chosen),
        text=story_lines(chosen.draft),
    )


async def _rounds(
    context: StageContext, premise: Premise, first: int, wish: str | None, previous: Story | None
) -> tuple[StoryRound, ...]:
    """Drafts and critiques from iteration `first` on; `wish` is what the owner wants changed of `previous`."""
    agents, matters = context.recipe.story, context.recipe.facts
    seconds = [slot.frames / context.fps for slot in context.slots]
    rounds: list[StoryRound] = []
    for iteration in range(first, first + (agents.max_rounds if agents.critic else 1)):
        before = rounds[-1] if rounds else None
        feedback = " ".join(filter(None, (wish, feedback_of(before.critique) if before and before.critique else None)))
        draft = await _draft(context, premise, iteration, feedback or None, before.draft if before else previous)
        found = judge_story(draft, premise, context.brief, seconds, wish, previous)
        broken = tuple(one for one in found if one.fact in matters)
        critique = await _criticise(context, premise, draft, broken, iteration) if agents.critic else None
        rounds.append(StoryRound(iteration=iteration, draft=draft, critique=critique, broken=broken))
        if _approved(rounds[-1]):
            break
    return tuple(rounds)


def _best(rounds: tuple[StoryRound, ...]) -> StoryRound:
    """The draft that breaks the fewest facts; of several the best-scoring one."""
    return min(rounds, key=lambda one: (len(one.broken), -(one.critique.overall_score if one.critique else 0.0)))


def _approved(one: StoryRound) -> bool:
    return not one.broken and (one.critique is None or one.critique.approval_status == "approved")


async def _draft(
    context: StageContext, premise: Premise, iteration: int, feedback: str | None, previous: Story | None
) -> Story:
    slots, domain = context.slots, context.image_model.domain
    question = story_question(
        context.brief,
        premise,
        slots,
        derived_seed(context.seed, "story", "director", iteration),
        iteration,
        feedback,
        previous,
        tuple(domain.settings_as_said.values()) if domain else (),
    )
    answer = await consult(
        context, f"story/director-{iteration}", question, StoryAnswer, partial(check_story, slots=slots)
    )
    return answer.story(slots, premise.facts)


async def _criticise(
    context: StageContext, premise: Premise, draft: Story, broken: tuple[BrokenFact, ...], iteration: int
) -> Critique:
    seed = derived_seed(context.seed, "story", "critic", iteration)
    question = story_critique_question(context.brief, premise, draft, broken, seed, iteration)
    answer = await consult(context, f"story/critic-{iteration}", question, CritiqueAnswer)
    approve_at = context.recipe.story.approve_at
    return judged(answer.judged(approve_at), broken, context.recipe.facts, approve_at)


async def read_facts(context: StageContext) -> Drawable:
    """The facts that rules find in the brief, with the owner's corrections, as the models can draw them."""
    brief, edits, domain = context.brief, context.direction.facts, context.image_model.domain

    async def work(step: StepContext) -> StepOutput:
        found = drawable(edited(read_brief(brief), edits), brief.prompt, domain)
        for warning in found.warnings:
            await step.notice("out_of_domain" if found.missing else "not_in_brief", warning, "warning")
        return StepOutput(value=found.model_dump(mode="json"))

    said = brief.model_dump(mode="json", include={"prompt", "title", "brand_name"})
    inputs: Json = {"brief": said, "edits": edits.model_dump(mode="json")}
    if domain is not None:
        inputs["domain"] = domain.model_dump(mode="json")
    return Drawable.model_validate(await context.finish(Step(name="story/facts", inputs=inputs, work=work)))


async def meet_entities(context: StageContext) -> tuple[Premise, tuple[str, ...]]:
    """The facts; the product first, then one entity per character and style reference. And what was drawn otherwise
    than the brief says. Raises AgentFailed.

    Every reference is looked at. An ad has one product: its references are views of it, and make one description.
    """
    references = context.brief.references
    found = await read_facts(context)
    facts = found.facts
    blind = bool(references) and not context.chat_model.vision
    named = await consult(
        context,
        "story/product-1",
        product_question(context.brief, facts, derived_seed(context.seed, "story", "product")),
        ReadBrief,
        warning=_blindness(context) if blind else None,
    )
    facts = completed(facts, named, context.brief)
    name = _product_name(facts)
    others: list[Entity] = []
    views: list[tuple[int, Seen]] = []
    problems: list[str] = []
    first = next((index for index, reference in enumerate(references) if reference.role == "product"), None)
    for index, reference in enumerate(references):
        seen = None if blind else await look(context, index, reference)
        if seen is not None and (problem := role_problem(index, reference.role, seen)):
            problems.append(problem)
        if reference.role != "product":
            others.append(_entity(_handle(reference.role, others), reference.role, index, seen))
        elif seen is not None:
            views.append((index, seen))
    if views:
        shown, contradictions = product_look(name, views)
        problems += contradictions
    else:
        shown = look_of(name, named.description) or name
    await warn_of_references(context, "story/reference-check", problems)
    product = Entity(handle="product", role="product", name=name, description=shown, reference_index=first)
    return Premise(entities=(product, *others), facts=facts), (*found.warnings, *problems)


def _product_name(facts: BriefFacts) -> str:
    """What the agents call the product; a brief that names none has at most its brand."""
    if facts.product.name is not None:
        return facts.product.name.value
    return f"{facts.brand.value} product" if facts.brand else "product"


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
