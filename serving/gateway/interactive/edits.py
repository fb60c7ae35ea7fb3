"""Edits of a session's images (inpainting): asked for, then awaited for a minute. A longer edit goes on by itself."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from pipelines.decisions.service import PendingEdit
from pipelines.direction import Edit
from pipelines.errors import NotFound
from pipelines.records import Generation, Keys
from pipelines.stages.edits import edit_step_name
from pipelines.steps import TakeKind
from serving.gateway.events import EventStreams
from serving.gateway.interactive.answers import Inpainted
from serving.gateway.interactive.schemas import InpaintOrder
from serving.gateway.interactive.sessions import Sessions
from serving.gateway.interactive.stages import work_stage
from serving.gateway.interactive.views import edit_urls
from serving.gateway.pictures import Pictures, kept_files
from serving.gateway.problems import Problem
from serving.gateway.proxies import artifact_url
from serving.gateway.services import Services

WAIT_SECONDS = 60.0
"""After so long the call answers that the edit is still at work: proxies cut longer silences."""


class SessionEdits:
    """Edits the images of one user's sessions."""

    def __init__(self, services: Services, owner: str, sessions: Sessions, streams: EventStreams) -> None:
        self._services = services
        self._owner = owner
        self._sessions = sessions
        self._streams = streams

    async def inpaint(self, session_id: str, body: InpaintOrder, keys: Keys) -> tuple[Inpainted, bool]:
        """Edit an image; and whether an earlier request with one of `keys` asked for this edit.

        Raises Problem 400 for an image that is not there, 413 and 422 for a mask that cannot be used; Busy, KeyReused.
        """
        generation = await self._sessions.row(session_id)
        repeated = await self._services.ads.intake.known(self._owner, keys) is not None
        if repeated:
            order, before = await self._repeated_edit(generation, body), 0
        else:
            before = await self._sessions.newest_seq(session_id)
            order = await self._order(generation, body, keys)
        done = await self._made_in_time(session_id, order, before)
        return await self._answer(session_id, order, done), repeated

    async def _order(self, generation: Generation, body: InpaintOrder, keys: Keys) -> PendingEdit:
        used, directions = self._services, self._services.ads.directions
        take_id = await self._image(generation, body.image_id)
        mask = await Pictures(used, self._owner).mask(body.mask_data, "mask_data")
        words = (body.prompt, body.negative_prompt or "")
        async with kept_files(used, self._owner, [mask.data], "image/png") as (stored,):
            return await self._sessions.decide(
                directions.inpaint(self._owner, generation.id, take_id, stored, *words, keys)
            )

    async def _repeated_edit(self, generation: Generation, body: InpaintOrder) -> PendingEdit:
        """The edit that a repeated body asked for. Raises Problem 409 when its owner has decided otherwise since."""
        asked = (*_target(generation, body.image_id), body.prompt, body.negative_prompt or "")
        takes = {take.id: take for take in await self._services.store.takes(generation.id)}
        for edit in generation.direction.choices:
            if isinstance(edit, Edit) and (edit.kind, edit.scene_number, edit.prompt, edit.negative_prompt) == asked:
                parent = takes.get(edit.parent_take)
                if parent is not None:
                    return PendingEdit(generation, edit_step_name(edit), edit.version, parent)
        raise Problem("conflict", "this edit was ordered before, and another picture has taken its place since")

    async def _image(self, generation: Generation, image_id: int) -> str:
        """The take that shows image `image_id` of the current stage, or of the storyboard in a later one."""
        stage = work_stage(generation)
        if stage == "story":
            raise Problem("bad_request", "the session has no images yet: edit them from the stage reference_image on")
        kind, scene_number = _target(generation, image_id)
        if kind == "reference" and (generation.brief.references or generation.direction.references):
            raise Problem("bad_request", "images that you uploaded are not edited here: upload another one")
        try:
            if kind == "reference":
                return await self._drawn_reference(generation, image_id)
            return await self._services.ads.directions.current_take(self._owner, generation.id, kind, scene_number)
        except NotFound:
            text = f"image_id {image_id}: stage {stage!r} has no such image; count from 0"
            raise Problem("bad_request", text, "image_id") from None

    async def _drawn_reference(self, generation: Generation, image_id: int) -> str:
        """The take that shows a drawn reference. Raises NotFound."""
        drawn = (await self._services.store.outputs(generation.id)).get("reference_image") or []
        if image_id >= len(drawn):
            raise NotFound(f"{len(drawn)} references are drawn")
        takes = await self._services.store.takes(generation.id)
        same = [one for one in takes if (one.kind, one.artifact) == ("reference", drawn[image_id]["artifact"])]
        if not same:
            raise NotFound("no such reference")
        return max(same, key=lambda one: one.created_at).id

    async def _made_in_time(self, session_id: str, order: PendingEdit, before: int) -> bool:
        """Whether the edit is made before WAIT_SECONDS are over. Raises Problem when its generation fails."""
        try:
            async with (
                asyncio.timeout(WAIT_SECONDS),
                aclosing(self._streams.follow(self._owner, session_id, before)) as events,
            ):
                async for event in events:
                    if event is None:
                        continue
                    if event.kind == "step_completed" and event.step == order.step:
                        return True
                    if event.kind in ("generation_failed", "generation_cancelled"):
                        raise Problem("inference_failed", f"the edit was not made: {event.message}")
        except TimeoutError:
            pass
        return False

    async def _answer(self, session_id: str, order: PendingEdit, done: bool) -> Inpainted:
        takes = await self._services.store.takes(session_id)
        original = artifact_url(order.parent.artifact)
        edited = next((take for take in takes if done and take.step == order.step), None)
        if edited is None:
            return Inpainted(
                session_id=session_id,
                edited_image_url=None,
                original_image_url=original,
                version=order.version,
                edit_history=edit_urls(takes, order.parent.id),
                message=f"Version {order.version} is still at work: /ws/{session_id} says when it is there.",
            )
        return Inpainted(
            session_id=session_id,
            edited_image_url=artifact_url(edited.artifact),
            original_image_url=original,
            version=order.version,
            edit_history=edit_urls(takes, edited.id),
            message=f"Version {order.version} is there; the original stays.",
        )


def _target(generation: Generation, image_id: int) -> tuple[TakeKind, int | None]:
    """Kind and scene of the takes that image `image_id` is one of."""
    return ("reference", None) if work_stage(generation) == "reference_image" else ("keyframe", image_id + 1)
