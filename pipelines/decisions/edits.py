"""An owner's edits of the plan as a decision: what becomes of the direction, where a worker goes on, and what is said.

What an edit does not touch keeps its approvals, its chosen takes and its steps; the answer says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.spec import Domain
from pipelines.agents.direction_changes import Scope
from pipelines.agents.direction_limits import impossible
from pipelines.agents.direction_reader import read_direction
from pipelines.agents.prompting import image_prompt, video_prompt
from pipelines.decisions.actions import WORDS, regenerate, revision_of, revision_targets
from pipelines.decisions.situation import Decision, Situation
from pipelines.direction import MAX_REVISIONS, Changes, Direction, DirectionEdit, Modifications
from pipelines.errors import BadInput
from pipelines.plan_edits import PLAN_FIELDS, edited_drafts, edited_entities, edited_story
from pipelines.recipe import StageName
from pipelines.records import NewEvent
from pipelines.screenplay import Entity, SceneDraft, ScenesResult, Story, StoryResult
from pipelines.stages.owner_edits import with_extras
from pipelines.stages.selection import shown_story
from pipelines.steps import Message

WRITTEN = frozenset({"mood", "length"})
"""Changes that a writer is asked for in words."""


@dataclass(frozen=True)
class Plan:
    """The plan of an ad as it is now: its story, its product and its scenes, as far as they are made."""

    story: Story | None
    entities: tuple[Entity, ...]
    drafts: tuple[SceneDraft, ...]
    scene_numbers: tuple[int, ...]

    @property
    def settings(self) -> tuple[str, ...]:
        if self.drafts:
            return tuple(draft.setting for draft in self.drafts)
        return tuple(beat.setting for beat in self.story.beats) if self.story else ()

    @property
    def product(self) -> str:
        return self.entities[0].name if self.entities else "product"


def plan_of(situation: Situation, stage: StageName) -> Plan:
    """What an edit at `stage` is said of: at the story the beats, later the scenes."""
    direction, outputs = situation.direction, situation.outputs
    story: StoryResult | None = None
    if (told := outputs.get("story")) is not None:
        story = shown_story(StoryResult.model_validate(told), direction)
    written = outputs.get("scenes") or situation.generation.given.get("scenes")
    scenes = ScenesResult.model_validate(written).scenes if written is not None and stage != "story" else ()
    return Plan(
        story=story.story if story else None,
        entities=story.entities if story else (),
        drafts=tuple(scene.draft for scene in scenes),
        scene_numbers=tuple(scene.scene_number for scene in scenes),
    )


def scope_of(situation: Situation, stage: StageName, focus: int | None = None, whole: bool = False) -> Scope:
    """What a message at `stage` may be about; the models' limits are those of the generation's manifest."""
    plan = plan_of(situation, stage)
    models: dict[str, Any] = situation.generation.manifest.get("models", {})
    domain = models.get("image", {}).get("domain")
    moves = models.get("video", {}).get("camera_moves")
    return Scope(
        stage=stage,
        settings=plan.settings,
        product=plan.product,
        focus=focus,
        whole=whole,
        domain=None if domain is None else Domain.model_validate(domain),
        camera_moves=None if moves is None else tuple(moves),
    )


@dataclass(frozen=True)
class Retake:
    """Results that are to be made again even where the plan stays as it is."""

    targets: tuple[int | None, ...]
    """Scenes, or None for what a stage makes as a whole."""
    modifications: Modifications = field(default_factory=Modifications)


def regenerate_as_told(
    situation: Situation,
    stage: StageName,
    scene_number: int | None,
    feedback: str | None,
    modifications: Modifications,
    changes: Changes | None = None,
    reading: tuple[DirectionEdit, ...] | None = None,
) -> Decision:
    """As `regenerate`, with the feedback read as edits of the plan and answered.

    Writers hear the feedback in its words as well. `changes` are wishes that came as fields; `reading` is what a chat
    model read, already checked. Raises as `regenerate`.
    """
    if feedback is None and changes is None:
        return regenerate(situation, stage, scene_number, None, modifications)
    plain = regenerate(situation, stage, scene_number, feedback, modifications)
    scope = scope_of(situation, stage, scene_number, whole=scene_number is None)
    edits = reading if reading is not None else read_direction(feedback, scope) if feedback else ()
    edits = tuple(one for one in edits if one.intent == "change")
    if changes is not None:
        edits = (*edits, _given(scope, scene_number, changes))
    if stage in WORDS:
        decision, answer = _told_to_the_writer(situation, plain, stage, edits)
    else:
        named = {number for edit in edits for number in edit.scenes}
        targets = revision_targets(situation, stage, scene_number)
        if scene_number is None and named and targets != (None,):
            targets = tuple(number for number in targets if number in named)
        decision, answer = edit_plan(situation, stage, edits, Retake(targets, modifications))
    words = feedback or ", ".join(sorted(changes.named if changes else ()))
    messages = (
        Message(role="user", iteration=1, content=words, scene_number=scene_number),
        Message(role="assistant", iteration=1, content=answer, scene_number=scene_number),
    )
    return replace(decision, messages=messages)


def _given(scope: Scope, scene_number: int | None, changes: Changes) -> DirectionEdit:
    """Wishes that came as fields, as an edit; a question where the models cannot follow."""
    scenes = (
        () if changes.product or changes.text else (scene_number,) if scene_number else tuple(range(1, scope.count + 1))
    )
    return DirectionEdit(
        intent="change", stage=scope.stage, scenes=scenes, changes=changes, question=impossible(changes, scope)
    )


def _told_to_the_writer(
    situation: Situation, plain: Decision, stage: StageName, edits: tuple[DirectionEdit, ...]
) -> tuple[Decision, str]:
    """The decision `plain`, in which a writer hears the words, with the plan edited as well: it holds what was said."""
    applied, said, _ = _effective(plan_of(situation, stage), edits)
    direction = plain.direction
    before = situation.direction.with_edits_in_the_story() if stage == "story" else situation.direction
    count = len(before.history("story", None))
    for edit in applied:
        direction = direction.model_copy(
            update={"edits": (*direction.edits, edit.model_copy(update={"after": count + (stage == "story")}))}
        )
    questions = tuple(dict.fromkeys(edit.question for edit in edits if edit.question))
    named = "The story is" if stage == "story" else "The scenes are"
    told = f"{named} written anew, and the writer hears what you said."
    kept = " Whatever is written, it holds: " + " ".join(said) if said else ""
    return replace(plain, direction=direction), f"{told}{kept} {' '.join(questions)}".strip()


def edit_plan(
    situation: Situation, stage: StageName, edits: Sequence[DirectionEdit], retake: Retake | None = None
) -> tuple[Decision, str]:
    """The decision that `edits` of `stage` come to, and its answer. Without an effect nothing changes.

    Raises Busy, and BadInput for too many edits.
    """
    plan = plan_of(situation, stage)
    applied, said, already = _effective(plan, edits)
    questions = tuple(dict.fromkeys(edit.question for edit in edits if edit.question))
    wishes = [edit for edit in edits if edit.question is None and edit.changes.named & WRITTEN]
    again = sorted({number for edit in edits if edit.question is None and edit.changes.again for number in edit.scenes})
    if again and retake is None and stage != "story":
        retake = Retake((None,) if stage == "reference_image" else tuple(again))
    if not (applied or wishes or again or retake):
        return Decision(situation.direction), " ".join([*already, *questions]) or "Nothing was changed."
    situation.check_at_rest()
    direction = situation.direction
    for edit in applied:
        direction = direction.edited(edit)
    if len(direction.edits) > MAX_REVISIONS:
        raise BadInput(f"this ad was edited {MAX_REVISIONS} times: start a new one from what you have")
    if stage == "story":
        decision, told = _story_decision(situation, direction, plan, applied, wishes, bool(again))
    else:
        decision, told = _scenes_decision(situation, direction, stage, plan, applied, wishes, retake)
    return decision, " ".join([*said, *already, *told, *questions])


def _effective(
    plan: Plan, edits: Iterable[DirectionEdit]
) -> tuple[list[DirectionEdit], tuple[str, ...], tuple[str, ...]]:
    """The edits that change the plan, what each does in words, and what is so already."""
    applied: list[DirectionEdit] = []
    said: list[str] = []
    already: list[str] = []
    for edit in edits:
        changes = edit.changes
        if edit.intent != "change" or edit.question is not None or not changes.named & (PLAN_FIELDS | {"product"}):
            continue
        own = edit.model_copy(update={"changes": changes.model_copy(update={"mood": None, "length": None})})
        after = _applied(plan, (own,))
        later_only = plan.story is not None and not plan.drafts and changes.named & {"camera", "look", "add", "remove"}
        if after == plan and not later_only:
            already.append(f"{_sentence(own, plan)} is so already.")
            continue
        plan = after
        applied.append(own)
        said.append(f"{_sentence(own, plan)}.")
    return applied, tuple(said), tuple(already)


def _applied(plan: Plan, edits: tuple[DirectionEdit, ...]) -> Plan:
    story = None if plan.story is None else edited_story(plan.story, plan.entities, edits)
    drafts = edited_drafts(plan.drafts, plan.entities, edits)
    return replace(plan, story=story, drafts=drafts, entities=edited_entities(plan.entities, edits))


# --- at the story ---


def _story_decision(
    situation: Situation,
    direction: Direction,
    plan: Plan,
    applied: Sequence[DirectionEdit],
    wishes: Sequence[DirectionEdit],
    again: bool,
) -> tuple[Decision, list[str]]:
    count = len(plan.settings)
    told: list[str] = []
    for edit in wishes:
        beats = () if len(edit.scenes) in (0, count) else edit.scenes
        words = wish_words(edit.changes, beats)
        revision = revision_of(direction, "story", None, words, Modifications())
        direction = direction.revised(revision.model_copy(update={"beats": beats}))
        told.append(f"The writer is asked: {words}")
    if again and not wishes:
        direction = direction.revised(revision_of(direction, "story", None, None, Modifications()))
        told.append("The story is told anew, in another draft.")
    elif not (again and wishes):
        named = sorted({number for edit in (*applied, *wishes) for number in edit.scenes})
        told.append(_stays(named, count) if named else "Everything else stays as it is.")
    return _work(situation, "story", "story", direction, " ".join(told)), told


def wish_words(changes: Changes, scenes: tuple[int, ...]) -> str:
    """What the writer is asked for, as one sentence."""
    how = " and ".join([*([changes.length] if changes.length else []), *([changes.mood] if changes.mood else [])])
    what = "the story" if not scenes else f"scene {listed(scenes)}"
    more = "more " if changes.mood and not changes.length and changes.mood not in ("funny",) else ""
    return f"Make {what} {more}{how}.".replace("Make the story more shorter", "Make the story shorter")


# --- at the pictures ---


def _scenes_decision(
    situation: Situation,
    direction: Direction,
    stage: StageName,
    plan: Plan,
    applied: Sequence[DirectionEdit],
    wishes: Sequence[DirectionEdit],
    retake: Retake | None,
) -> tuple[Decision, list[str]]:
    stages = situation.stages
    after = _applied(plan, tuple(applied))
    pictures = _different(plan, after, lambda draft, things: with_extras(image_prompt(draft, things), draft))
    clips = pictures | _different(
        plan, after, lambda draft, things: (with_extras(video_prompt(draft, things), draft), draft.camera)
    )
    begins: list[StageName] = [stage]
    told: list[str] = []
    for edit in wishes:
        words = wish_words(edit.changes, edit.scenes)
        for number in edit.scenes:
            written = _written_as(direction, number)
            direction = direction.revised(revision_of(direction, "scenes", written, words, Modifications()))
        pictures |= set(edit.scenes)
        clips |= set(edit.scenes)
        begins.append("scenes")
        told.append(f"The writer is asked: {words}")
    own_references = bool(situation.generation.brief.references or direction.references)
    new_product = after.entities != plan.entities
    reference = new_product and not own_references and _begun(situation, stage, "reference_image")
    if retake is not None:
        changed = {"storyboard": pictures, "video": clips}.get(stage, set())
        for target in retake.targets:
            if retake.modifications.named or not (target in changed or (target is None and reference)):
                direction = direction.revised(revision_of(direction, stage, target, None, retake.modifications))
        redone = {target for target in retake.targets if target is not None}
        pictures |= redone if stage == "storyboard" else set()
        clips |= redone
        reference = reference or stage == "reference_image"
    if reference:
        begins.append("reference_image")
        direction = direction.without_choices(("reference_image",), None)
    if pictures and _begun(situation, stage, "storyboard"):
        begins.append("storyboard")
        direction = direction.without_choices(("storyboard",), frozenset(pictures))
        direction = _without_prompts(direction, "storyboard", pictures, retake)
    if clips and _begun(situation, stage, "video"):
        begins.append("video")
        direction = direction.without_choices(("video",), frozenset(clips))
        direction = _without_prompts(direction, "video", clips, retake)
    told += _made_anew(stage, reference, pictures, clips)
    if new_product and own_references:
        told.append(
            "Your own reference pictures stay, and the scenes follow them: upload others if they show the old look."
        )
    told.append(_stays(sorted(clips), len(plan.settings)))
    return _work(situation, stage, min(begins, key=stages.index), direction, " ".join(told)), told


def _begun(situation: Situation, stage: StageName, other: StageName) -> bool:
    """Whether `other` has made something when `stage` is edited."""
    stages = situation.stages
    return other in stages and stages.index(other) <= stages.index(stage)


def _different(plan: Plan, after: Plan, shown: Any) -> set[int]:
    """Numbers of the scenes of which `shown` gives something else after the edits."""
    return {
        number
        for number, old, new in zip(plan.scene_numbers, plan.drafts, after.drafts, strict=True)
        if shown(old, plan.entities) != shown(new, after.entities)
    }


def _written_as(direction: Direction, number: int) -> int:
    """The number under which a scene was written, before it came to its place."""
    for edit in reversed(direction.later_edits):
        if edit.changes.order is not None and number <= len(edit.changes.order):
            number = edit.changes.order[number - 1]
    return number


def _without_prompts(direction: Direction, stage: StageName, scenes: Iterable[int], retake: Retake | None) -> Direction:
    """Without the revisions that set a prompt outright, which would hide the plan; what is set now stays."""
    if retake is not None and retake.modifications.prompt is not None:
        return direction
    for number in scenes:
        newest = direction.revision(stage, number)
        if newest is not None and (newest.modifications.prompt or newest.feedback):
            direction = direction.without_revisions((stage,), frozenset({number}))
    return direction


def _made_anew(stage: StageName, reference: bool, pictures: set[int], clips: set[int]) -> list[str]:
    things = ["the reference image"] if reference else []
    if stage in ("storyboard", "video") and pictures:
        things.append(f"the picture{'s' if len(pictures) > 1 else ''} of scene {listed(pictures)}")
    if stage == "video" and clips:
        things.append(f"the clip{'s' if len(clips) > 1 else ''} of scene {listed(clips)}")
    if things:
        return [f"Made anew: {', '.join(things)}."]
    if stage == "reference_image" and clips:
        return ["The scenes are drawn so when you approve."]
    return ["No picture changes: it is filmed so when you approve."] if clips else []


# --- what they share ---


def _work(situation: Situation, stage: StageName, begin: StageName, direction: Direction, message: str) -> Decision:
    """A worker goes on at `begin`; what follows from it is forgotten. What was approved before `stage` stays so."""
    dependents = situation.dependents(begin)
    unapproved = (stage, *situation.dependents(stage))
    event = NewEvent(
        kind="regeneration_asked",
        message=message[:2000],
        step=begin,
        data={"stage": begin, "progress": situation.shares[begin][0]},
    )
    direction = direction.without_approvals(unapproved).without_choices(("stitch",), None)
    return Decision(direction, continues_at=begin, events=(event,), forgotten=dependents)


def _sentence(edit: DirectionEdit, plan: Plan) -> str:
    """What an edit does, as a clause."""
    changes, count = edit.changes, len(plan.settings)
    every = not edit.scenes or len(edit.scenes) == count
    where = "Every scene" if every else f"Scene {listed(edit.scenes)}"
    if changes.order is not None:
        return f"The scenes come in the order {listed(changes.order)}"
    parts: list[str] = []
    if (product := changes.product) is not None:
        look = " ".join(filter(None, (product.material, product.colour)))
        noun = plan.product.split()[-1] if plan.product.split() else "product"
        called = (
            f"the {noun} is now called {product.name}"
            if product.name and product.name[0].isupper()
            else (f"the product is now a {product.name}" if product.name else "")
        )
        parts.append(" and ".join(filter(None, (f"the {noun} is {look} in every scene" if look else "", called))))
        sentence = parts[0]
        return sentence[0].upper() + sentence[1:]
    if changes.text is not None:
        return f"The call to action is '{changes.text}'"
    if changes.setting or changes.time:
        parts.append(f"plays {' '.join(filter(None, (changes.setting, changes.time)))}")
    if changes.action:
        parts.append(f"shows: {changes.action}")
    if changes.camera:
        parts.append(f"has the camera move '{changes.camera.replace('_', ' ')}'")
    if changes.look:
        parts.append(f"has {changes.look}")
    if changes.add:
        parts.append(f"shows {changes.add} too")
    if changes.remove:
        parts.append(f"no longer shows {changes.remove}")
    return f"{where} {', '.join(parts)}"


def _stays(touched: Sequence[int], count: int) -> str:
    rest = [number for number in range(1, count + 1) if number not in touched]
    if not rest:
        return "Places, actions and camera moves that you did not name stay."
    return (
        f"Scene{'s' if len(rest) > 1 else ''} {listed(rest)} stay{'s' if len(rest) == 1 else ''} as "
        f"{'it is' if len(rest) == 1 else 'they are'}."
    )


def listed(numbers: Iterable[int]) -> str:
    words = [str(number) for number in numbers] if isinstance(numbers, tuple) else [str(n) for n in sorted(numbers)]
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
