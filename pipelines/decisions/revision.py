"""Asking for a result anew: a stage, one scene of it, or one take."""

from __future__ import annotations

from pipelines.decisions.situation import Decision, Situation
from pipelines.direction import MAX_REVISIONS, TAKE_STAGE, Direction, Modifications, Revision
from pipelines.errors import BadInput
from pipelines.recipe import StageName
from pipelines.steps import Message
from pipelines.store.records import NewEvent

MODIFIABLE: dict[StageName, frozenset[str]] = {
    "reference_image": frozenset({"prompt", "negative_prompt", "seed"}),
    "storyboard": frozenset({"prompt", "negative_prompt", "seed"}),
    "video": frozenset({"prompt", "negative_prompt", "seed", "camera"}),
}
"""The modifications that a stage can follow; agents are told in words."""
REVISABLE: tuple[StageName, ...] = ("story", "scenes", *MODIFIABLE)
WORDS: tuple[StageName, ...] = ("story", "scenes")


def regenerate(
    situation: Situation,
    stage: StageName,
    scene_number: int | None,
    feedback: str | None,
    modifications: Modifications,
) -> Decision:
    """`stage` becomes current again; what is not asked for anew is reused, what follows from it runs again.

    `scene_number` None: the whole stage, scene by scene. Raises Busy, and BadInput for a stage that cannot be made
    anew or has not begun, an unknown scene, and modifications that the stage cannot follow.
    """
    situation.check_at_rest()
    if stage not in REVISABLE:
        raise BadInput(f"stage {stage!r} follows from the others: regenerate one of {', '.join(REVISABLE)}")
    situation.check_reached(stage)
    _check_modifications(stage, modifications)
    targets = _targets(situation, stage, scene_number)
    direction = situation.direction
    for target in targets:
        direction = direction.revised(_revision(situation.direction, stage, target, feedback, modifications))
    if len(direction.revisions) > MAX_REVISIONS:
        raise BadInput(f"this generation was revised {MAX_REVISIONS} times: start a new one from what you have")
    scenes = None if scene_number is None else frozenset({scene_number})
    dependents = situation.dependents(stage)
    direction = direction.without_choices((stage, *dependents), scenes).without_approvals((stage, *dependents))
    if stage in WORDS:  # what was said of pictures was said of other words
        direction = direction.without_revisions(dependents, scenes)
    event = NewEvent(
        kind="regeneration_asked",
        message=feedback or f"{stage} is made anew",
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


def _check_modifications(stage: StageName, modifications: Modifications) -> None:
    can = MODIFIABLE.get(stage, frozenset())
    cannot = sorted(modifications.named - can)
    if cannot:
        ways = f"modifications {', '.join(sorted(can))} or feedback" if can else "feedback in words"
        raise BadInput(f"stage {stage!r} cannot follow the modification {cannot[0]!r}: it takes {ways}")


def _targets(situation: Situation, stage: StageName, scene_number: int | None) -> tuple[int | None, ...]:
    known = situation.scene_numbers(stage)
    if scene_number is None:
        return known
    if known == (None,):
        raise BadInput(f"scene_number {scene_number}: stage {stage!r} is made as a whole, leave the scene out")
    if scene_number not in known:
        raise BadInput(f"scene_number {scene_number}: there are scenes 1 to {len(known)}")
    return (scene_number,)


def _revision(
    direction: Direction, stage: StageName, scene_number: int | None, feedback: str | None, changes: Modifications
) -> Revision:
    history = direction.history(stage, scene_number)
    words = (feedback,) if feedback else ()
    if stage not in WORDS:
        words = (*_standing_words(direction, stage, scene_number), *words)
    count = history[-1].count + 1 if history else 1
    return Revision(stage=stage, scene_number=scene_number, count=count, feedback=words, modifications=changes)


def _standing_words(direction: Direction, stage: StageName, scene_number: int | None) -> tuple[str, ...]:
    """The words that the picture which is current now was made with."""
    for choice in direction.choices:
        if (TAKE_STAGE[choice.kind], choice.scene_number) == (stage, scene_number):
            return choice.feedback
    newest = direction.revision(stage, scene_number)
    return newest.feedback if newest else ()
