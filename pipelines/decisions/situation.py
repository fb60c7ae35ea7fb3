"""A generation as its owner finds it, and a decision about it, as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.direction import DEPENDENTS, Direction
from pipelines.errors import BadInput, Busy
from pipelines.recipe import StageName
from pipelines.records import Generation, NewEvent
from pipelines.runtime.progress import stage_shares
from pipelines.stages.registry import STAGES
from pipelines.steps import Message, StoredArtifact, TakeKind


@dataclass(frozen=True)
class Pointer:
    """A take to make the current one."""

    kind: TakeKind
    scene_number: int | None
    take_id: str


@dataclass(frozen=True)
class Decision:
    """What a decision changes. `continues_at` None: the generation keeps waiting."""

    direction: Direction
    continues_at: StageName | None = None
    """The stage from which a worker resumes."""
    events: tuple[NewEvent, ...] = ()
    messages: tuple[Message, ...] = ()
    artifacts: tuple[StoredArtifact, ...] = ()
    pointer: Pointer | None = None
    forgotten: tuple[StageName, ...] = ()
    """Stages whose outputs no longer hold."""
    outputs: Mapping[StageName, Any] = field(default_factory=dict)
    """Outputs that are replaced at once."""


@dataclass(frozen=True)
class Situation:
    """A generation with what its stages made so far."""

    generation: Generation
    outputs: Mapping[StageName, Any]

    @property
    def direction(self) -> Direction:
        return self.generation.direction

    @property
    def shares(self) -> dict[StageName, tuple[int, int]]:
        """Percent at which each stage that runs begins and ends."""
        return stage_shares(self.generation.recipe, frozenset(self.generation.given))

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages that run, in order."""
        return tuple(self.shares)

    @property
    def standing(self) -> str:
        """Where the generation is, as a clause in words that hold in every API, whatever it calls the stages."""
        stage, status = self.generation.current_stage, self.generation.status
        doing = STAGES[stage].describe if stage is not None else "its start"
        match status:
            case "completed":
                return "is complete"
            case "failed" | "cancelled":
                return f"was stopped ({status}) at {doing}"
            case "awaiting_approval":
                return f"waits for your approval of {stage!r}"
        return f"is at work: {doing}"

    @property
    def waiting_stage(self) -> StageName | None:
        """The stage that waits for approval."""
        return self.generation.current_stage if self.generation.status == "awaiting_approval" else None

    def check_at_rest(self) -> None:
        """Raises Busy while a worker has the generation or is about to take it."""
        if self.generation.status in ("pending", "processing"):
            raise Busy(
                f"generation {self.generation.id!r} is at work: wait until it needs approval or has ended, or cancel it"
            )

    def check_reached(self, stage: StageName) -> None:
        """Raises BadInput unless `stage` is one of this generation's and has begun."""
        if stage not in self.stages:
            raise BadInput(f"stage {stage!r} does not run in this generation: its stages are {', '.join(self.stages)}")
        current = self.generation.current_stage
        if current not in self.stages or self.stages.index(stage) > self.stages.index(current):
            raise BadInput(f"stage {stage!r} has not begun: the generation {self.standing}")

    def scene_numbers(self, stage: StageName) -> tuple[int | None, ...]:
        """What a revision of the whole `stage` revises: every scene, or the one thing that the stage makes."""
        if stage not in ("scenes", "storyboard", "video"):
            return (None,)
        scenes = self.outputs.get("scenes") or self.generation.given.get("scenes")
        if scenes is None:
            raise BadInput(f"stage {stage!r} has no scenes yet: wait until they are written")
        numbers = tuple(scene["scene_number"] for scene in scenes["scenes"])
        approval = self.direction.approval("storyboard")
        if stage == "video" and approval is not None and approval.selected_indices is not None:
            return tuple(numbers[index] for index in sorted(approval.selected_indices))
        return numbers

    def after(self, stage: StageName) -> StageName:
        """The stage that runs after `stage`; `stage` itself when it is the last."""
        position = self.stages.index(stage)
        return self.stages[min(position + 1, len(self.stages) - 1)]

    def dependents(self, stage: StageName) -> tuple[StageName, ...]:
        """The stages of this generation whose results follow from that of `stage`, in order."""
        return tuple(one for one in self.stages if one in DEPENDENTS[stage])
