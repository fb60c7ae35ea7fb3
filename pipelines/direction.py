"""Direction: what a generation's owner decided, as plain data: approvals, revisions, choices, references of their own.

It is stored with the generation and read when a worker claims it; each stage looks up what concerns it. An empty
direction changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from models.interfaces import Plain, Seed
from models.spec import CameraMove
from pipelines.brief import MAX_REFERENCES, BriefReference
from pipelines.facts import FactEdits
from pipelines.recipe import STAGE_ORDER, StageName
from pipelines.steps import Json, TakeKind

MAX_REVISIONS = 200
"""Per generation, over all stages and scenes."""
Wish = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)]

DEPENDENTS: dict[StageName, tuple[StageName, ...]] = {
    stage: tuple(later for later in STAGE_ORDER[place:] if (stage, later) != ("scenes", "reference_image"))
    for place, stage in enumerate(STAGE_ORDER, start=1)
}
"""The stages whose results follow from a stage's: all that run later, but the product is not drawn from the scenes."""
TAKE_STAGE: dict[TakeKind, StageName] = {
    "reference": "reference_image",
    "keyframe": "storyboard",
    "clip": "video",
    "video": "stitch",
}
"""The stage whose result a take is."""


class Approval(Plain):
    """One approval of a stage by the owner."""

    stage: StageName
    """The stage that was approved."""
    selected_indices: tuple[int, ...] | None = None
    """0-based, which of the stage's outputs are kept (`stages.story.keep_selected`); None: as the stage has them."""
    notes: Wish | None = None
    """What the owner said to it."""


EditPhrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class ProductChanges(Plain):
    """What becomes of the product, in every scene."""

    name: EditPhrase | None = None
    """What it is: `lamp`; or, with a capital, what it is called."""
    colour: EditPhrase | None = None
    material: EditPhrase | None = None


class Changes(Plain):
    """What an owner wants otherwise. None and empty: as it is."""

    setting: EditPhrase | None = None
    """A place with its preposition: `on the beach`."""
    time: EditPhrase | None = None
    """Time of day with its preposition: `at night`."""
    action: EditPhrase | None = None
    """What happens, as one sentence."""
    camera: CameraMove | None = None
    product: ProductChanges | None = None
    mood: EditPhrase | None = None
    """How the words should be: `funny`. The writer is asked for it."""
    look: EditPhrase | None = None
    """Light of the pictures: `warm light`."""
    length: Literal["shorter", "longer"] | None = None
    """Of the text; the seconds of an ad are fixed when it is ordered."""
    text: EditPhrase | None = None
    """The call to action."""
    add: EditPhrase | None = None
    """A thing to show besides: `a dog`."""
    remove: EditPhrase | None = None
    order: tuple[int, ...] | None = None
    """The scenes in their new order, by their old numbers."""
    again: bool = False
    """Made anew without another wish."""

    @property
    def named(self) -> frozenset[str]:
        """The fields that ask for something."""
        return frozenset(name for name in type(self).model_fields if getattr(self, name) not in (None, False))


class DirectionEdit(Plain):
    """One message of an owner, or one part of it, as what it asks for."""

    intent: Literal["approve", "reject", "change", "ask", "other"]
    """`other`: nothing that the reader understands."""
    stage: StageName
    """The stage that waited when it was said."""
    scenes: tuple[int, ...] = ()
    """The scenes that it names; none: the ad as a whole."""
    changes: Changes = Changes()
    question: str | None = None
    """What the owner is asked back; then nothing is changed."""
    after: Annotated[int, Field(ge=0)] = 0
    """Of one that was applied: how many revisions of the story came before it."""


class Modifications(Plain):
    """What a revision sets outright instead of in words. Only for pictures and clips; `camera` only for clips."""

    prompt: Prompt | None = None
    """The picture's whole prompt, in place of the one that was written."""
    negative_prompt: Annotated[str, StringConstraints(max_length=5000)] | None = None
    """What the picture must not show, in place of the recipe's."""
    camera: CameraMove | None = None
    """Move of the camera in the clip."""
    seed: Seed | None = None
    """Seed of the start noise."""

    @property
    def named(self) -> frozenset[str]:
        """The fields that are set."""
        return frozenset(name for name in type(self).model_fields if getattr(self, name) is not None)


class Revision(Plain):
    """One request to regenerate a result: of `story` and `reference_image` as a whole, of other stages for a scene."""

    stage: StageName
    scene_number: int | None
    count: Annotated[int, Field(ge=1)]
    """Counts the revisions of this very target; it moves the seed."""
    feedback: tuple[Wish, ...] = ()
    """Oldest first. Of a picture: all that still hold, also from the revisions before. Of text: this revision's only,
    because its agent is shown the draft that it revises."""
    modifications: Modifications = Modifications()
    beats: tuple[int, ...] = ()
    """Of the story: the only beats that are taken from the new draft; none: all of it."""


class ChosenTake(Plain):
    """An earlier take that its owner made current again."""

    kind: TakeKind
    scene_number: int | None
    take_id: str
    value: Json
    """The output of the step that made it; it stands in for the step."""

    @property
    def reference(self) -> str | None:
        """File name of the drawn reference that it stands in for; None for other kinds."""
        return self.value.get("filename") if self.kind == "reference" else None

    feedback: tuple[Wish, ...] = ()
    """The words that the take was made with: a revision of it starts from them."""


class Edit(Plain):
    """An inpainting of one keyframe or reference. It takes the place of the picture that it repaints."""

    kind: TakeKind
    scene_number: int | None
    number: Annotated[int, Field(ge=1)]
    """Counts the edits of this target."""
    parent_take: str
    parent: Json
    """The output of the step that made the picture to repaint; its `artifact` is that picture."""
    mask: str
    """Artifact hash of a grey PNG of the picture's aspect, white = repaint."""
    prompt: Prompt
    negative_prompt: Annotated[str, StringConstraints(max_length=5000)] = ""
    feedback: tuple[Wish, ...] = ()
    """As in ChosenTake, of the parent."""

    @property
    def reference(self) -> str | None:
        """File name of the drawn reference that it stands in for; None for other kinds."""
        return self.parent.get("filename") if self.kind == "reference" else None

    @property
    def version(self) -> int:
        """The picture as it was drawn is version 1."""
        return self.number + 1


class Direction(Plain):
    """Everything the owner decided so far. The methods give a new direction; this one stays as it is."""

    approvals: tuple[Approval, ...] = ()
    revisions: tuple[Revision, ...] = ()
    """In the order in which they were asked for."""
    choices: tuple[ChosenTake | Edit, ...] = ()
    """At most one per kind and scene, and of drawn references one for each."""
    references: Annotated[tuple[BriefReference, ...], Field(max_length=MAX_REFERENCES)] = ()
    """Uploaded after the start; they act from the stage `reference_image` on."""
    facts: FactEdits = FactEdits()
    """Corrections of what was read in the brief."""
    edits: Annotated[tuple[DirectionEdit, ...], Field(max_length=MAX_REVISIONS)] = ()
    """What the owner changed of the plan, in the order in which it was said (`pipelines.plan_edits`)."""

    @property
    def story_edits(self) -> tuple[DirectionEdit, ...]:
        """Edits that were said of the story while it waited: whoever writes the scenes knows them."""
        return tuple(edit for edit in self.edits if edit.stage == "story")

    @property
    def later_edits(self) -> tuple[DirectionEdit, ...]:
        """Edits that were said when the scenes were written; no agent is asked again for them."""
        return tuple(edit for edit in self.edits if edit.stage != "story")

    def edited(self, edit: DirectionEdit) -> Direction:
        placed = edit.model_copy(update={"after": len(self.history("story", None))})
        return self.model_copy(update={"edits": (*self.edits, placed)})

    def with_edits_in_the_story(self) -> Direction:
        """Before the story is told anew: what was said of its scenes since is said of the new one as well."""
        count = len(self.history("story", None))
        moved = tuple(
            edit if edit.stage == "story" else edit.model_copy(update={"stage": "story", "after": count})
            for edit in self.edits
        )
        return self.model_copy(update={"edits": moved})

    def approval(self, stage: StageName) -> Approval | None:
        return next((approval for approval in self.approvals if approval.stage == stage), None)

    def history(self, stage: StageName, scene_number: int | None) -> tuple[Revision, ...]:
        """All revisions of one target, oldest first."""
        return tuple(one for one in self.revisions if (one.stage, one.scene_number) == (stage, scene_number))

    def revision(self, stage: StageName, scene_number: int | None) -> Revision | None:
        """The newest revision of one target."""
        history = self.history(stage, scene_number)
        return history[-1] if history else None

    def choice(self, kind: TakeKind, scene_number: int | None) -> ChosenTake | Edit | None:
        return next((one for one in self.choices if (one.kind, one.scene_number) == (kind, scene_number)), None)

    def approved(self, approval: Approval) -> Direction:
        return self.model_copy(update={"approvals": (*self.approvals, approval)})

    def revised(self, revision: Revision) -> Direction:
        return self.model_copy(update={"revisions": (*self.revisions, revision)})

    def chosen(self, choice: ChosenTake | Edit) -> Direction:
        """With `choice` in place of an earlier one; a drawn reference also takes the place of uploaded ones."""

        def target(one: ChosenTake | Edit) -> tuple[TakeKind, int | None, str | None]:
            return (one.kind, one.scene_number, one.reference)

        others = tuple(one for one in self.choices if target(one) != target(choice))
        uploaded = () if choice.kind == "reference" else self.references
        return self.model_copy(update={"choices": (*others, choice), "references": uploaded})

    def without_approvals(self, stages: tuple[StageName, ...]) -> Direction:
        kept = tuple(one for one in self.approvals if one.stage not in stages)
        return self.model_copy(update={"approvals": kept})

    def without_choices(self, stages: tuple[StageName, ...], scenes: frozenset[int] | None) -> Direction:
        """Forget the chosen takes of `stages` in `scenes` (None: all), and those of the generation as a whole."""
        kept = tuple(
            one for one in self.choices if TAKE_STAGE[one.kind] not in stages or not _in(one.scene_number, scenes)
        )
        return self.model_copy(update={"choices": kept})

    def without_revisions(self, stages: tuple[StageName, ...], scenes: frozenset[int] | None) -> Direction:
        kept = tuple(one for one in self.revisions if one.stage not in stages or not _in(one.scene_number, scenes))
        return self.model_copy(update={"revisions": kept})


def _in(scene_number: int | None, scenes: frozenset[int] | None) -> bool:
    return scenes is None or scene_number is None or scene_number in scenes
