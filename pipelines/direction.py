"""Direction: what a generation's owner decided, as plain data: approvals, revisions, choices, references of their own.

It is stored with the generation and read when a worker claims it; each stage looks up what concerns it. An empty
direction changes nothing.
"""

from __future__ import annotations

from typing import Annotated

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
    stage: StageName
    selected_indices: tuple[int, ...] | None = None
    """0-based, which of the stage's outputs are kept (`stages.story.keep_selected`); None: as the stage has them."""
    notes: Wish | None = None


class Modifications(Plain):
    """What a revision sets outright instead of in words. Only for pictures and clips; `camera` only for clips."""

    prompt: Prompt | None = None
    negative_prompt: Annotated[str, StringConstraints(max_length=5000)] | None = None
    camera: CameraMove | None = None
    seed: Seed | None = None

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


class ChosenTake(Plain):
    """An earlier take that its owner made current again."""

    kind: TakeKind
    scene_number: int | None
    take_id: str
    value: Json
    """The output of the step that made it; it stands in for the step."""
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
    def version(self) -> int:
        """The picture as it was drawn is version 1."""
        return self.number + 1


class Direction(Plain):
    """Everything the owner decided so far. The methods give a new direction; this one stays as it is."""

    approvals: tuple[Approval, ...] = ()
    revisions: tuple[Revision, ...] = ()
    """In the order in which they were asked for."""
    choices: tuple[ChosenTake | Edit, ...] = ()
    """At most one per kind and scene."""
    references: Annotated[tuple[BriefReference, ...], Field(max_length=MAX_REFERENCES)] = ()
    """Uploaded after the start; they act from the stage `reference_image` on."""
    facts: FactEdits = FactEdits()
    """Corrections of what was read in the brief."""

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
        others = tuple(
            one for one in self.choices if (one.kind, one.scene_number) != (choice.kind, choice.scene_number)
        )
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
