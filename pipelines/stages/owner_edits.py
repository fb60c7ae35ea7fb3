"""What an owner edited of the plan, put into what the agents wrote: the drafts of the story and the scenes.

No agent is asked: an edit is a pure function of the draft (`pipelines.plan_edits`), so that everything it does not name
keeps its steps, and its takes bit for bit.
"""

from __future__ import annotations

from pipelines.agents.judge import judge_scene, judge_story
from pipelines.direction import DirectionEdit, Revision
from pipelines.plan_edits import (
    edited_drafts,
    edited_entities,
    edited_facts,
    edited_result,
    edited_story,
    overlay,
)
from pipelines.screenplay import BrokenFact, Premise, SceneDraft, Story, StoryResult, StoryRound
from pipelines.stages.context import StageContext


def edits_before(context: StageContext, revisions: int) -> tuple[DirectionEdit, ...]:
    """The edits that hold when revision number `revisions` of the story is asked for; 0: the first draft."""
    return tuple(edit for edit in context.direction.story_edits if edit.after < revisions)


def edited_rounds(
    context: StageContext, premise: Premise, rounds: tuple[StoryRound, ...], best: StoryRound, revisions: int
) -> tuple[tuple[StoryRound, ...], StoryRound]:
    """The rounds with one more when the owner's edits change the draft `best`, and the draft that counts then.

    `premise` is that of the brief, `revisions` counts the revisions of the story so far. Edits that came before the
    newest revision hold for its draft as well; a new order is made only once. No critic is asked about an edit, but the
    facts of the brief, as the owner changed them, are judged.
    """
    edits = context.direction.story_edits
    if not edits:
        return rounds, best
    standing = [_without_order(edit) for edit in edits if edit.after < revisions]
    new = [edit for edit in edits if edit.after == revisions]
    draft = edited_story(best.draft, premise.entities, (*standing, *new))
    product = edited_entities(premise.entities, (*standing, *new))[0]
    if draft == best.draft:
        kept = best.model_copy(update={"product": product})
        return tuple(kept if one.iteration == best.iteration else one for one in rounds), kept
    broken = _broken(context, premise, draft, (*standing, *new))
    iteration = rounds[-1].iteration + 1
    edited = StoryRound(iteration=iteration, draft=draft, critique=None, product=product, broken=broken)
    return (*rounds, edited), edited


def _broken(
    context: StageContext, premise: Premise, draft: Story, edits: tuple[DirectionEdit, ...]
) -> tuple[BrokenFact, ...]:
    held = edited_premise(premise, draft, edits)
    found = judge_story(draft, held, context.brief, [slot.frames / context.fps for slot in context.slots])
    return tuple(one for one in found if one.fact in context.recipe.facts)


def edited_premise(premise: Premise, draft: Story, edits: tuple[DirectionEdit, ...]) -> Premise:
    """The premise as the owner changed it: the product, the call to action, and the place of each beat of `draft`."""
    facts = edited_facts(premise.facts, premise.entities, draft, edits)
    return premise.model_copy(update={"entities": edited_entities(premise.entities, edits), "facts": facts})


def only_beats(
    context: StageContext, premise: Premise, revision: Revision, before: Story, after: StoryRound
) -> StoryRound:
    """The new draft, of which only the beats are taken that the revision is about."""
    if not revision.beats or len(before.beats) != len(after.draft.beats):
        return after
    beats = tuple(
        new if number in revision.beats else old
        for number, (old, new) in enumerate(zip(before.beats, after.draft.beats, strict=True), start=1)
    )
    draft = before.model_copy(update={"beats": beats})
    return after.model_copy(update={"draft": draft, "broken": _broken(context, premise, draft, ())})


def edited_scenes(
    context: StageContext, story: StoryResult, drafts: tuple[SceneDraft, ...]
) -> tuple[tuple[SceneDraft, ...], bool]:
    """The scenes as their owner wants them, and whether they stand in another order now."""
    direction = context.direction
    if not direction.edits:
        return drafts, False
    edited = edited_drafts(drafts, story.entities, overlay(direction.story_edits, len(drafts)))
    edited = edited_drafts(edited, story.entities, direction.later_edits)
    return edited, any(edit.changes.order is not None for edit in direction.later_edits)


def broken_in_scene(
    context: StageContext, story: StoryResult, number: int, draft: SceneDraft
) -> tuple[BrokenFact, ...]:
    """The facts that an edited scene breaks; `story` is the edited one."""
    last = number == len(story.story.beats)
    found = judge_scene(
        draft,
        story.story.beats[number - 1],
        Premise(entities=story.entities, facts=story.facts),
        context.brief,
        context.slots[number - 1].frames / context.fps,
        story.story.call_to_action if last else None,
    )
    return tuple(one for one in found if one.fact in context.recipe.facts)


def directed_story(context: StageContext, story: StoryResult) -> StoryResult:
    """The story with what its owner changed since the scenes were written."""
    return edited_result(story, context.direction.later_edits)


def with_extras(prompt: str, draft: SceneDraft) -> str:
    """A prompt with the things and the light that the owner asked for."""
    things = f", with {' and '.join(draft.extras)}" if draft.extras else ""
    return f"{prompt}{things}{f', {draft.look}' if draft.look else ''}"


def _without_order(edit: DirectionEdit) -> DirectionEdit:
    return edit.model_copy(update={"changes": edit.changes.model_copy(update={"order": None})})
