"""What an owner can do with a generation besides waiting for it: the entry point for the layers above.

Each call is one transaction; it needs no worker and no model, and never waits for one. What it sets going is run by the
next worker that claims the row. Raises NotFound for what is someone else's, Busy while a worker has the generation,
DecisionRefused for what cannot be done; then nothing has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from pipelines.brief import BriefReference
from pipelines.decisions.actions import approve, correct_facts, inpaint, resume, select, upload_references
from pipelines.decisions.chat import say
from pipelines.decisions.edits import regenerate_as_told
from pipelines.decisions.situation import Decision, Situation
from pipelines.direction import TAKE_STAGE, Changes, ChosenTake, DirectionEdit, Edit, Modifications, Wish
from pipelines.errors import BadInput, DecisionRefused, first_problem
from pipelines.facts import FactEdits
from pipelines.media import image_size
from pipelines.recipe import StageName
from pipelines.records import Generation, Keys, Take
from pipelines.runtime.run import StoredFiles
from pipelines.stages.edits import edit_step_name, edit_steps
from pipelines.steps import Json, StoredArtifact, TakeKind
from pipelines.uploads import is_empty

DIRECTION_STEP = "direction"
"""The step under which what an owner decided stands in the log of messages; what they said in the chat: `chat`."""
ASPECT_TOLERANCE = 0.01
"""Relative difference between the aspects of a mask and of its picture, for masks drawn on a rounded size."""
_WISH: TypeAdapter[str] = TypeAdapter(Wish)


class Decisions(Protocol):
    """The store, as far as decisions need it (`pipelines.store.decisions`)."""

    async def decide(
        self,
        user_id: str,
        generation_id: str,
        decide: Callable[[Situation], Decision],
        step: str,
        once: bool,
        keys: Keys = (),
    ) -> Generation: ...
    async def take(self, user_id: str, generation_id: str, take_id: str) -> tuple[Take, Json]: ...
    async def current_take(self, user_id: str, generation_id: str, kind: TakeKind, scene_number: int | None) -> str: ...
    async def artifact_hashes(self, user_id: str, generation_id: str) -> frozenset[str]: ...
    async def count_takes(self, generation_id: str, step_prefix: str) -> int: ...


@dataclass(frozen=True)
class PendingEdit:
    """An edit that a worker will make: a `step_completed` event of `step` says that its take is there."""

    generation: Generation
    step: str
    version: int
    parent: Take
    """The picture that is repainted."""


class Directions:
    def __init__(self, store: Decisions, artifacts: StoredFiles) -> None:
        self._store = store
        self._artifacts = artifacts

    async def approve(
        self,
        user_id: str,
        generation_id: str,
        stage: StageName,
        selected_indices: tuple[int, ...] | None = None,
        notes: str | None = None,
    ) -> Generation:
        """Let the generation go on; `current_stage` of the answer is the next one. A second call changes nothing.

        `selected_indices` are explained in `pipelines.stages.selection`.
        """
        return await self._decide(
            user_id, generation_id, partial(approve, stage=stage, selected_indices=selected_indices, notes=notes)
        )

    async def regenerate(
        self,
        user_id: str,
        generation_id: str,
        stage: StageName,
        scene_number: int | None = None,
        feedback: str | None = None,
        modifications: Modifications | None = None,
        keys: Keys = (),
        changes: Changes | None = None,
        reading: tuple[DirectionEdit, ...] | None = None,
    ) -> Generation:
        """Regenerate a stage, or one scene of it. A request that had one of `keys` before changes nothing."""
        return await self._decide(
            user_id,
            generation_id,
            partial(
                regenerate_as_told,
                stage=stage,
                scene_number=scene_number,
                feedback=feedback,
                modifications=modifications or Modifications(),
                changes=changes,
                reading=reading,
            ),
            keys=keys,
        )

    async def regenerate_take(
        self,
        user_id: str,
        generation_id: str,
        take_id: str,
        feedback: str | None = None,
        modifications: Modifications | None = None,
        keys: Keys = (),
    ) -> Generation:
        """Regenerate what a take shows: its scene in its stage. Of a finished video: DecisionRefused, it follows."""
        take, _ = await self._store.take(user_id, generation_id, take_id)
        stage = TAKE_STAGE[take.kind]
        return await self.regenerate(user_id, generation_id, stage, take.scene_number, feedback, modifications, keys)

    async def correct_facts(self, user_id: str, generation_id: str, edits: FactEdits, keys: Keys = ()) -> Generation:
        """Correct what was read in the brief; the story is told again from it."""
        return await self._decide(user_id, generation_id, partial(correct_facts, edits=edits), keys=keys)

    async def select(self, user_id: str, generation_id: str, take_id: str) -> Generation:
        """Make an earlier take the current one; what follows from it runs again."""
        take, value = await self._store.take(user_id, generation_id, take_id)
        chosen = ChosenTake(
            kind=take.kind, scene_number=take.scene_number, take_id=take_id, value=value, feedback=_words(take)
        )
        return await self._decide(user_id, generation_id, partial(select, chosen=chosen))

    async def current_take(self, user_id: str, generation_id: str, kind: TakeKind, scene_number: int | None) -> str:
        """The id of the current take of a kind and scene, for `inpaint` and `regenerate_take`."""
        return await self._store.current_take(user_id, generation_id, kind, scene_number)

    async def inpaint(
        self,
        user_id: str,
        generation_id: str,
        take_id: str,
        mask: StoredArtifact,
        prompt: str,
        negative_prompt: str = "",
        keys: Keys = (),
    ) -> PendingEdit:
        """Repaint the white parts of `mask` in a keyframe or a drawn reference; the result is the next take of it.

        `mask` is a stored grey PNG of the picture's aspect (`pipelines.uploads.read_mask`).
        """
        take, value = await self._store.take(user_id, generation_id, take_id)
        if take.kind not in ("keyframe", "reference"):
            raise DecisionRefused(f"take {take_id!r} is a {take.kind}: only a keyframe or a reference can be edited")
        await self._check_mask(take, mask)
        number = 1 + await self._store.count_takes(generation_id, edit_steps(take.kind, take.scene_number))
        try:
            edit = Edit(
                kind=take.kind,
                scene_number=take.scene_number,
                number=number,
                parent_take=take.id,
                parent=value,
                mask=mask.sha256,
                prompt=prompt,
                negative_prompt=negative_prompt,
                feedback=_words(take),
            )
        except ValidationError as error:
            raise DecisionRefused(first_problem(error)) from None
        generation = await self._decide(user_id, generation_id, partial(inpaint, edit=edit, mask=mask), keys=keys)
        return PendingEdit(generation=generation, step=edit_step_name(edit), version=edit.version, parent=take)

    async def say(
        self,
        user_id: str,
        generation_id: str,
        text: str,
        focus: int | None = None,
        client_id: str | None = None,
        reading: tuple[DirectionEdit, ...] | None = None,
    ) -> Generation:
        """A chat message: it is stored, acted upon and answered; the answer is in the log of messages and events.

        `focus` is the scene that is selected on the page. A message with the `client_id` of an earlier one is that
        one, sent again: nothing happens.
        """
        try:
            wish = _WISH.validate_python(text)
        except ValidationError as error:
            raise DecisionRefused(f"message: {first_problem(error)}") from None
        step = "chat" if client_id is None else f"chat/{client_id[:100]}"
        return await self._decide(
            user_id, generation_id, partial(say, text=wish, focus=focus, reading=reading), step, client_id is not None
        )

    async def upload_references(
        self,
        user_id: str,
        generation_id: str,
        references: tuple[BriefReference, ...],
        stored: Sequence[StoredArtifact],
    ) -> Generation:
        """Bring images of one's own; `stored` are the artifacts of `references`, in the same order."""
        return await self._decide(
            user_id, generation_id, partial(upload_references, references=references, stored=tuple(stored))
        )

    async def resume(self, user_id: str, generation_id: str) -> Generation:
        """Try a failed or cancelled generation again; a finished one makes again the files that the disk damaged."""
        hashes = await self._store.artifact_hashes(user_id, generation_id)
        damaged = not await asyncio.to_thread(lambda: all(map(self._artifacts.is_whole, hashes)))
        return await self._decide(user_id, generation_id, lambda situation: resume(situation, damaged))

    async def _decide(
        self,
        user_id: str,
        generation_id: str,
        decide: Callable[[Situation], Decision],
        step: str = DIRECTION_STEP,
        once: bool = False,
        keys: Keys = (),
    ) -> Generation:
        try:
            return await self._store.decide(user_id, generation_id, decide, step, once, keys)
        except ValidationError as error:
            raise DecisionRefused(first_problem(error)) from None
        except BadInput as error:
            raise DecisionRefused(str(error)) from None

    async def _check_mask(self, take: Take, mask: StoredArtifact) -> None:
        def looked_at() -> tuple[tuple[int, int], tuple[int, int], bool]:
            drawn = self._artifacts.read(mask.sha256)
            return image_size(self._artifacts.read(take.artifact)), image_size(drawn), is_empty(drawn)

        (width, height), (mask_width, mask_height), empty = await asyncio.to_thread(looked_at)
        if empty:
            raise DecisionRefused("the mask is empty: paint white what is to be repainted")
        if abs(width * mask_height / (height * mask_width) - 1) > ASPECT_TOLERANCE:
            raise DecisionRefused(
                f"the mask is {mask_width}x{mask_height} and the picture {width}x{height} pixels: draw the mask in the "
                "picture's aspect"
            )


def edit_history(takes: Sequence[Take], take_id: str) -> tuple[Take, ...]:
    """The takes that led to `take_id` by edits, from the one that was drawn first."""
    by_id = {take.id: take for take in takes}
    chain: list[Take] = []
    following: str | None = take_id
    while following is not None and following in by_id:
        chain.insert(0, by_id[following])
        following = by_id[following].provenance.get("parent")
    return tuple(chain)


def _words(take: Take) -> tuple[str, ...]:
    """The owner's feedback that a take was made with."""
    made_by = take.provenance.get("revision") or take.provenance
    return tuple(made_by.get("feedback", ()))
