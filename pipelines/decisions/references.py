"""Bringing reference images of one's own after the start, in place of a drawn one."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.brief import MAX_REFERENCES, BriefReference
from pipelines.decisions.situation import Decision, Situation
from pipelines.errors import BadInput
from pipelines.steps import StoredArtifact
from pipelines.store.records import NewEvent


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
            "reference images are taken until the story is approved; the generation is "
            f"{situation.generation.status} at {situation.generation.current_stage!r}: regenerate the story to go back"
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
