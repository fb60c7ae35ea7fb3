"""What an owner can decide about a generation, each as a pure function from a situation to a decision: approve a stage,
regenerate a result, select an earlier take, inpaint a picture, bring references, resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.brief import MAX_REFERENCES, BriefReference
from pipelines.decisions.situation import Decision, Pointer, Situation
from pipelines.direction import (
    MAX_REVISIONS,
    TAKE_STAGE,
    Approval,
    ChosenTake,
    Direction,
    Edit,
    Modifications,
    Revision,
)
from pipelines.errors import BadInput
from pipelines.facts import FactEdits
from pipelines.recipe import StageName
from pipelines.records import NewEvent
from pipelines.stages.selection import check_selection
from pipelines.steps import Message, StoredArtifact
from pipelines.timing import retimed


def approve(
    situation: Situation, stage: StageName, selected_indices: tuple[int, ...] | None, notes: str | None
) -> Decision:
    """Let a worker go on with the stage after `stage`.

    Approving again what was just approved changes nothing and is no error, so that a lost answer may be asked for
    twice. Raises BadInput for a stage that does not wait and for indices that it has no outputs for.
    """
    direction = situation.direction
    if _just_approved(situation, stage):
        return Decision(direction)
    if situation.waiting_stage != stage:
        raise BadInput(f"stage {stage!r} does not wait for approval: {_waiting_for(situation)}")
    if selected_indices is not None:
        check_selection(stage, situation.outputs[stage], selected_indices)
        if stage == "storyboard":
            _check_length(situation, selected_indices)
    approval = Approval(stage=stage, selected_indices=selected_indices, notes=notes)
    following = situation.after(stage)
    event = NewEvent(
        kind="stage_approved",
        message=f"{stage} approved",
        step=stage,
        data={
            "stage": stage,
            "next_stage": following,
            "progress": situation.shares[stage][1],
            "selected_indices": None if selected_indices is None else list(selected_indices),
        },
    )
    messages = (Message(role="user", iteration=1, content=notes),) if notes else ()
    return Decision(direction.approved(approval), continues_at=following, events=(event,), messages=messages)


def _check_length(situation: Situation, kept: tuple[int, ...]) -> None:
    """Raises BadInput when the scenes that are kept cannot fill the ad."""
    written = situation.outputs.get("scenes") or situation.generation.given.get("scenes")
    if written is not None:
        frames = tuple(scene["frames"] for scene in written["scenes"])
        retimed(tuple(frames[index] for index in kept), sum(frames), sum(frames) // situation.generation.brief.duration)


def _just_approved(situation: Situation, stage: StageName) -> bool:
    """Whether `stage` is approved and no later one waits yet."""
    working = situation.generation.status in ("pending", "processing")
    approvals = situation.direction.approvals
    return working and bool(approvals) and approvals[-1].stage == stage


def _waiting_for(situation: Situation) -> str:
    if situation.waiting_stage is not None:
        return f"{situation.waiting_stage!r} does"
    return f"the generation {situation.standing}"


MODIFIABLE: dict[StageName, frozenset[str]] = {
    "reference_image": frozenset({"prompt", "negative_prompt", "seed"}),
    "storyboard": frozenset({"prompt", "negative_prompt", "seed"}),
    "video": frozenset({"prompt", "negative_prompt", "seed", "camera"}),
}
"""The modifications that a stage can follow; stages of agents follow feedback in words only."""
REVISABLE: tuple[StageName, ...] = ("story", "scenes", *MODIFIABLE)
WORDS: tuple[StageName, ...] = ("story", "scenes")


def regenerate(
    situation: Situation,
    stage: StageName,
    scene_number: int | None,
    feedback: str | None,
    modifications: Modifications,
) -> Decision:
    """Run `stage` again: what is not asked for is reused, what follows from it runs again too.

    `scene_number` None: the whole stage, scene by scene. Raises Busy, and BadInput for a stage that cannot be
    regenerated or has not begun, an unknown scene, and modifications that the stage cannot follow.
    """
    situation.check_at_rest()
    if stage not in REVISABLE:
        raise BadInput(f"stage {stage!r} follows from the others: regenerate one of {', '.join(REVISABLE)}")
    situation.check_reached(stage)
    check_modifications(stage, modifications)
    targets = revision_targets(situation, stage, scene_number)
    direction = situation.direction.with_edits_in_the_story() if stage == "story" else situation.direction
    for target in targets:
        direction = direction.revised(revision_of(situation.direction, stage, target, feedback, modifications))
    if len(direction.revisions) > MAX_REVISIONS:
        raise BadInput(f"this generation was revised {MAX_REVISIONS} times: start a new one from what you have")
    scenes = None if scene_number is None else frozenset({scene_number})
    dependents = situation.dependents(stage)
    direction = direction.without_choices((stage, *dependents), scenes).without_approvals((stage, *dependents))
    if stage in WORDS:  # what was said of pictures was said of other words
        direction = direction.without_revisions(dependents, scenes)
    event = NewEvent(
        kind="regeneration_asked",
        message=feedback or f"{stage} is regenerated",
        step=stage,
        scene_number=scene_number,
        data={"stage": stage, "progress": situation.shares[stage][0]},
    )
    said = Message(role="user", iteration=1, content=feedback, scene_number=scene_number) if feedback else None
    return Decision(
        direction,
        continues_at=stage,
        events=(event,),
        messages=(said,) if said else (),
        forgotten=dependents,
    )


def check_modifications(stage: StageName, modifications: Modifications) -> None:
    """Raises BadInput for a modification that `stage` cannot follow."""
    can = MODIFIABLE.get(stage, frozenset())
    cannot = sorted(modifications.named - can)
    if cannot:
        ways = f"modifications {', '.join(sorted(can))} or feedback" if can else "feedback in words"
        raise BadInput(f"stage {stage!r} cannot follow the modification {cannot[0]!r}: it takes {ways}")


def revision_targets(situation: Situation, stage: StageName, scene_number: int | None) -> tuple[int | None, ...]:
    """The scenes that a revision of `stage` is about, or None for what is made as a whole. Raises BadInput."""
    known = situation.scene_numbers(stage)
    if scene_number is None:
        return known
    if known == (None,):
        raise BadInput(f"scene_number {scene_number}: stage {stage!r} is made as a whole, leave the scene out")
    if scene_number not in known:
        raise BadInput(f"scene_number {scene_number}: there are scenes 1 to {len(known)}")
    return (scene_number,)


def revision_of(
    direction: Direction, stage: StageName, scene_number: int | None, feedback: str | None, changes: Modifications
) -> Revision:
    """The next revision of one target."""
    history = direction.history(stage, scene_number)
    words = (feedback,) if feedback else ()
    if stage not in WORDS:
        words = (*_current_feedback(direction, stage, scene_number), *words)
    count = history[-1].count + 1 if history else 1
    return Revision(stage=stage, scene_number=scene_number, count=count, feedback=words, modifications=changes)


def _current_feedback(direction: Direction, stage: StageName, scene_number: int | None) -> tuple[str, ...]:
    """The feedback that the current picture of this target was made with."""
    for choice in direction.choices:
        if (TAKE_STAGE[choice.kind], choice.scene_number) == (stage, scene_number):
            return choice.feedback
    newest = direction.revision(stage, scene_number)
    return newest.feedback if newest else ()


def select(situation: Situation, chosen: ChosenTake) -> Decision:
    """Let the chosen take stand in for its step; what follows from it runs again.

    When its stage waits for approval, it keeps waiting, with the chosen take in its output. Raises Busy.
    """
    situation.check_at_rest()
    stage = TAKE_STAGE[chosen.kind]
    situation.check_reached(stage)
    dependents = situation.dependents(stage)
    scenes = None if chosen.scene_number is None else frozenset({chosen.scene_number})
    direction = situation.direction.without_choices(dependents, scenes).without_approvals(dependents).chosen(chosen)
    event = NewEvent(
        kind="take_selected",
        message=f"another {chosen.kind} is current",
        step=stage,
        scene_number=chosen.scene_number,
        data={"stage": stage, "progress": situation.shares[stage][1], "take": chosen.take_id},
    )
    output = situation.outputs.get(stage)
    return Decision(
        direction,
        continues_at=_after_choice(situation, stage),
        events=(event,),
        pointer=Pointer(chosen.kind, chosen.scene_number, chosen.take_id),
        forgotten=dependents,
        outputs={} if output is None else {stage: _with_chosen(output, chosen)},
    )


def _after_choice(situation: Situation, stage: StageName) -> StageName | None:
    if situation.waiting_stage == stage:
        return None
    return stage if situation.generation.current_stage == stage else situation.after(stage)


def _with_chosen(output: Any, chosen: ChosenTake) -> Any:
    """A stage's output with the chosen take's value in its place."""
    if chosen.kind == "video":
        return chosen.value
    if chosen.kind == "reference":
        named = [one["filename"] for one in output]
        if chosen.value["filename"] not in named:
            return [chosen.value]
        return [chosen.value if one["filename"] == chosen.value["filename"] else one for one in output]
    value = chosen.value["clip"] if chosen.kind == "clip" else chosen.value
    return [value if one["scene_number"] == chosen.scene_number else one for one in output]


def inpaint(situation: Situation, edit: Edit, mask: StoredArtifact) -> Decision:
    """Let the stage of the picture make the edited one. Raises Busy."""
    situation.check_at_rest()
    stage = TAKE_STAGE[edit.kind]
    situation.check_reached(stage)
    dependents = situation.dependents(stage)
    scenes = None if edit.scene_number is None else frozenset({edit.scene_number})
    direction = situation.direction.without_choices(dependents, scenes)
    event = NewEvent(
        kind="edit_asked",
        message=edit.prompt,
        step=stage,
        scene_number=edit.scene_number,
        data={
            "stage": stage,
            "progress": situation.shares[stage][0],
            "version": edit.version,
            "parent": edit.parent_take,
        },
    )
    return Decision(
        direction.without_approvals((stage, *dependents)).chosen(edit),
        continues_at=stage,
        events=(event,),
        messages=(
            Message(role="user", iteration=1, content=edit.prompt, scene_number=edit.scene_number),
            Message(role="assistant", iteration=1, content=_inpainting(edit), scene_number=edit.scene_number),
        ),
        artifacts=(mask,),
        forgotten=dependents,
    )


def _inpainting(edit: Edit) -> str:
    what = "The reference image" if edit.scene_number is None else f"The picture of scene {edit.scene_number}"
    return (
        f"{what} is repainted where the mask is white, to show '{edit.prompt}': that is version "
        f"{edit.version}. The rest of "
        "it, the version before and everything else stay."
    )


def upload_references(
    situation: Situation, references: tuple[BriefReference, ...], stored: Sequence[StoredArtifact]
) -> Decision:
    """Take `references` in place of those uploaded before. They act from the stage `reference_image` on.

    Possible while the story is written or waits for approval, as in the contract. Raises BadInput at any other time,
    and for more than MAX_REFERENCES with the brief's own.
    """
    own = len(situation.generation.brief.references)
    if not references or own + len(references) > MAX_REFERENCES:
        raise BadInput(f"{len(references)} reference images: give 1 to {MAX_REFERENCES - own}")
    if "reference_image" not in situation.stages:
        raise BadInput(f"recipe {situation.generation.recipe.name!r} has no stage 'reference_image' to bring images to")
    if not _before_references(situation):
        raise BadInput(
            "reference images are taken until the story is approved; the generation "
            f"{situation.standing}; regenerate the story to go back"
        )
    direction = situation.direction.model_copy(update={"references": references})
    event = NewEvent(
        kind="references_uploaded",
        message=f"{len(references)} reference images uploaded",
        step="reference_image",
        data={
            "stage": "reference_image",
            "progress": situation.generation.progress,
            "artifacts": [reference.artifact for reference in references],
        },
    )
    return Decision(
        direction.without_choices(("reference_image",), None),
        events=(event,),
        artifacts=tuple(stored),
    )


def _before_references(situation: Situation) -> bool:
    """Whether a worker will read the direction again before it comes to the references."""
    if "story" not in situation.generation.recipe.approvals:
        return False
    if situation.direction.approval("story") is not None:
        return False
    return situation.generation.current_stage in (None, "story")


def resume(situation: Situation, damaged: bool = False) -> Decision:
    """Let a worker try a failed or cancelled generation again, or make again what a finished one lost (`damaged`).

    Raises BadInput for any other.
    """
    generation = situation.generation
    if generation.status not in (("failed", "cancelled", "completed") if damaged else ("failed", "cancelled")):
        raise BadInput(
            f"generation {generation.id!r} is {generation.status}: only a failed or cancelled one is resumed"
        )
    stage = generation.current_stage or situation.stages[0]
    event = NewEvent(kind="generation_resumed", message="resumed on request", step=stage, data={"stage": stage})
    return Decision(situation.direction, continues_at=stage, events=(event,))


def correct_facts(situation: Situation, edits: FactEdits) -> Decision:
    """Tell the story again with `edits` on top of the corrections so far; what follows from it runs again too.

    Raises Busy, and BadInput when nothing is corrected, when the story is given by a storyboard, or has not begun.
    """
    situation.check_at_rest()
    situation.check_reached("story")
    given = {name: value for name in FactEdits.model_fields if (value := getattr(edits, name)) is not None}
    if not given:
        raise BadInput(f"facts: nothing to correct; give one of {', '.join(FactEdits.model_fields)}")
    before = situation.direction
    dependents = situation.dependents("story")
    direction = before.model_copy(update={"facts": before.facts.model_copy(update=given)})
    direction = direction.without_choices(("story", *dependents), None).without_approvals(("story", *dependents))
    direction = direction.without_revisions(dependents, None)
    event = NewEvent(
        kind="regeneration_asked",
        message=f"the facts are corrected: {', '.join(sorted(given))}",
        step="story",
        data={"stage": "story", "progress": situation.shares["story"][0], "facts": sorted(given)},
    )
    return Decision(direction, continues_at="story", events=(event,), forgotten=dependents)
