"""Ads of a server as operations: ask for one, follow it, decide on it, fetch it; sessions, stories and comparisons too.

Everything but `brief`, `prompt` and ids may be left out, and is then as the server says. `idempotency_key` names a
request that makes something: sent twice, it is made once; left out, every call has a name of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from models.errors import Cancelled
from models.interfaces import ReferenceRole
from models.spec import AspectRatio
from pipelines.brief import Framework, role_of
from pipelines.errors import StepFailed
from pipelines.recipe import StageName
from pipelines.records import ComparisonType, Event
from pipelines.steps import Json
from serving.client.events import GENERATIONS, Following, nobody
from serving.client.http import Connection
from serving.client.sending import File, Operation, Stream, ask, body, download, given, once_named, place
from serving.gateway.generations.answers import (
    Conversation,
    Deleted,
    GenerationDetail,
    GenerationObject,
    GenerationPage,
    GroupObject,
    TakeList,
)
from serving.gateway.interactive.answers import (
    Approved,
    Inpainted,
    ReferencesUploaded,
    Regenerated,
    Session,
    SessionStage,
    SessionStatus,
)
from serving.gateway.master_mode.answers import StoryAccepted, StoryResponse
from serving.gateway.original.answers import GroupAccepted, QualityReport

if TYPE_CHECKING:
    from pipelines.report.record import RunRecord

Reference: TypeAlias = File | tuple[ReferenceRole, File]
"""A picture, alone or with what it shows: `("product", "bottle.png")`."""
SESSIONS, COMPARISONS, STORIES = "/api/v1/interactive", "/api/generations", "/api/master-mode"


# --- generations ------------------------------------------------------------------------------------------------------


def create_generation(
    brief: str | None = None,
    *,
    recipe: str | None = None,
    references: Sequence[Reference] = (),
    duration: int | None = None,
    aspect_ratio: AspectRatio | None = None,
    framework: Framework | None = None,
    num_scenes: int | None = None,
    title: str | None = None,
    brand_name: str | None = None,
    seed: int | None = None,
    coherence: Mapping[str, Any] | None = None,
    approvals: Sequence[StageName] | None = None,
    quality: Mapping[str, Any] | None = None,
    storyboard: Mapping[str, Any] | None = None,
    use_llm: bool | None = None,
    accept_out_of_domain: bool | None = None,
    parent_generation_id: str | None = None,
    idempotency_key: str | None = None,
) -> Operation[GenerationDetail]:
    """Ask for an ad. Returns at once; a worker of the server makes it.

    Args:
        brief: What the ad is for, 10 to 5,000 characters; left out only beside a storyboard.
        recipe: `master` (all agents), `express` (no critics), `classic`, `interactive`, or the server's own.
        references: Up to three pictures.
        duration: Seconds of the finished video, 9 to 60.
        aspect_ratio: `9:16`, `16:9` or `1:1`.
        framework: `AIDA`, `PAS` or `BAB`.
        num_scenes: Number of scenes.
        title: A working title.
        brand_name: The brand, which the agents then keep to.
        seed: The same seed makes the same ad.
        coherence: Settings that differ from the recipe's: `{"seed_policy": "blend", "blend_strength": 0.25}`.
        approvals: Stages after which it waits for you; an empty list: none.
        quality: What is measured, and what a scene must reach: `{"minimums": {…}, "retakes": 1}`.
        storyboard: Scenes of your own, as `admint create-storyboard` writes them.
        use_llm: False: no agent is asked, and every scene shows the brief itself.
        accept_out_of_domain: True: what the models cannot draw is replaced by the nearest thing.
        parent_generation_id: A generation of yours that this one is an edited version of.
        idempotency_key: Names this request.
    """
    told = given(
        prompt=brief, duration=duration, aspect_ratio=aspect_ratio, framework=framework, num_scenes=num_scenes,
        title=title, brand_name=brand_name, seed=seed,
    )  # fmt: skip
    fields = given(
        recipe=recipe, coherence=coherence and dict(coherence), quality=quality and dict(quality),
        approvals=None if approvals is None else list(approvals), storyboard=storyboard and dict(storyboard),
        use_llm=use_llm, accept_out_of_domain=accept_out_of_domain, parent_generation_id=parent_generation_id,
    )  # fmt: skip
    sent = body({"brief": told, **fields, **_roles(references)}, _pictures("references[]", references))
    return ask(GenerationDetail, "POST", GENERATIONS, headers=once_named(idempotency_key), **sent)


def get_generation(generation_id: str) -> Operation[GenerationDetail]:
    """One ad with everything that was made of it."""
    return ask(GenerationDetail, "GET", place(GENERATIONS, generation_id))


def list_generations(
    *, limit: int = 20, offset: int = 0, status: Sequence[str] = (), recipe: Sequence[str] = ()
) -> Operation[GenerationPage]:
    """One page of your ads, newest first; `status` and `recipe` leave out all others."""
    params = {"limit": limit, "offset": offset, "status": list(status), "recipe": list(recipe)}
    return ask(GenerationPage, "GET", GENERATIONS, params=params)


def follow_generation(generation_id: str, *, after: int = 0) -> Stream[Event]:
    """Its events past the `seq` `after`, each once and in order, until it has ended or waits for your approval.

    A lost connection is taken up again where it broke, for five minutes.
    """
    return lambda connection: Following(connection, generation_id, nobody, after).events()


def wait_for_generation(generation_id: str, *, timeout: float | None = None) -> Operation[GenerationDetail]:
    """Wait until it has ended or waits for your approval, and give it back.

    Raises Failed and Cancelled when it ended so, TimeoutError after `timeout` seconds; the server goes on with it then.
    """

    async def perform(connection: Connection) -> GenerationDetail:
        async with asyncio.timeout(timeout):
            async for _ in Following(connection, generation_id, nobody, 0).events():
                pass
            return check_outcome(await get_generation(generation_id)(connection))

    return perform


def check_outcome(generation: GenerationDetail) -> GenerationDetail:
    """The generation unchanged. Raises StepFailed for one that failed, Cancelled for one that was cancelled."""
    if generation.status == "failed":
        raise StepFailed(f"generation {generation.id} failed: {generation.error_message}")
    if generation.status == "cancelled":
        raise Cancelled(f"generation {generation.id} was cancelled")
    return generation


def approve_generation(
    generation_id: str, stage: StageName, *, notes: str | None = None, selected_indices: Sequence[int] | None = None
) -> Operation[GenerationObject]:
    """Let it go on past the stage for which it waits; `selected_indices`: which of the stage's outputs are kept."""
    fields = given(
        stage=stage, notes=notes, selected_indices=None if selected_indices is None else list(selected_indices)
    )
    return ask(GenerationObject, "POST", place(GENERATIONS, generation_id, "approve"), json=fields)


def regenerate_generation(
    generation_id: str,
    *,
    stage: StageName | None = None,
    scene_number: int | None = None,
    take_id: str | None = None,
    feedback: str | None = None,
    modifications: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Operation[GenerationObject]:
    """Make a stage anew, one scene of it, or what one take shows; `feedback` in words, `modifications` outright."""
    fields = given(
        stage=stage, scene_number=scene_number, take_id=take_id, feedback=feedback,
        modifications=modifications and dict(modifications),
    )  # fmt: skip
    address, headers = place(GENERATIONS, generation_id, "regenerate"), once_named(idempotency_key)
    return ask(GenerationObject, "POST", address, headers=headers, json=fields)


def select_take(generation_id: str, take_id: str) -> Operation[GenerationObject]:
    """Use an earlier take again."""
    return ask(GenerationObject, "POST", place(GENERATIONS, generation_id, "select"), json={"take_id": take_id})


def correct_facts(generation_id: str, **facts: Any) -> Operation[GenerationObject]:
    """Correct what was read in the brief: `colour="teal"`; names as in `FactEdits`. The story is told again."""
    return ask(GenerationObject, "PATCH", place(GENERATIONS, generation_id), json={"facts": facts})


def cancel_generation(generation_id: str) -> Operation[GenerationObject]:
    """Stop it: at once while it waits, within one denoising step while it runs. What is finished is kept."""
    return ask(GenerationObject, "POST", place(GENERATIONS, generation_id, "cancel"))


def resume_generation(generation_id: str) -> Operation[GenerationObject]:
    """Go on with one that failed or was cancelled; what is finished is not made again."""
    return ask(GenerationObject, "POST", place(GENERATIONS, generation_id, "resume"))


def delete_generation(generation_id: str) -> Operation[Deleted]:
    """Delete one that has ended or waits, with its files."""
    return ask(Deleted, "DELETE", place(GENERATIONS, generation_id))


def generation_takes(generation_id: str) -> Operation[TakeList]:
    """All results of its steps."""
    return ask(TakeList, "GET", place(GENERATIONS, generation_id, "takes"))


def generation_conversation(generation_id: str) -> Operation[Conversation]:
    """What the agents, you and the assistant said."""
    return ask(Conversation, "GET", place(GENERATIONS, generation_id, "conversation"))


def generation_record(generation_id: str) -> Operation[RunRecord]:
    """The whole record: seeds, models, takes, messages, scores."""
    from pipelines.report.record import RunRecord

    return ask(RunRecord, "GET", place(GENERATIONS, generation_id, "record"))


def generation_quality(generation_id: str) -> Operation[QualityReport]:
    """What was measured of it."""
    return ask(QualityReport, "GET", place(COMPARISONS, generation_id, "quality"))


def download_report(generation_id: str, path: str | os.PathLike[str]) -> Operation[Path]:
    """Write its report, one HTML page with everything that it shows, to `path`."""
    return download(place(GENERATIONS, generation_id, "report"), path)


def download_video(generation_id: str, path: str | os.PathLike[str]) -> Operation[Path]:
    """Write its finished video (MP4) to `path`, as it comes."""
    return download(place(COMPARISONS, generation_id, "video"), path)


def download_thumbnail(generation_id: str, path: str | os.PathLike[str]) -> Operation[Path]:
    """Write a picture (JPEG) of its finished video to `path`."""
    return download(place(COMPARISONS, generation_id, "thumbnail"), path)


def download_clip(generation_id: str, scene_number: int, path: str | os.PathLike[str]) -> Operation[Path]:
    """Write the clip (MP4) of one scene to `path`."""
    return download(place(COMPARISONS, generation_id, "clips", scene_number), path)


# --- sessions ---------------------------------------------------------------------------------------------------------


def start_session(
    prompt: str,
    *,
    target_duration: int | None = None,
    mode: Literal["interactive", "auto"] | None = None,
    title: str | None = None,
    brand_name: str | None = None,
    seed: int | None = None,
    aspect_ratio: AspectRatio | None = None,
    quality: Mapping[str, Any] | None = None,
    number_of_reference_images: int | None = None,
    accept_out_of_domain: bool | None = None,
    idempotency_key: str | None = None,
) -> Operation[Session]:
    """Start an ad that waits for you after every stage (`mode="auto"`: after none)."""
    fields = given(
        prompt=prompt, target_duration=target_duration, mode=mode, title=title, brand_name=brand_name, seed=seed,
        aspect_ratio=aspect_ratio, quality=quality and dict(quality),
        number_of_reference_images=number_of_reference_images, accept_out_of_domain=accept_out_of_domain,
    )  # fmt: skip
    return ask(Session, "POST", place(SESSIONS, "start"), headers=once_named(idempotency_key), json=fields)


def get_session(session_id: str) -> Operation[Session]:
    """A session with everything that it made."""
    return ask(Session, "GET", place(SESSIONS, session_id))


def session_status(session_id: str) -> Operation[SessionStatus]:
    """Where a session stands."""
    return ask(SessionStatus, "GET", place(SESSIONS, session_id, "status"))


def approve_session(
    session_id: str, stage: SessionStage, *, notes: str | None = None, selected_indices: Sequence[int] | None = None
) -> Operation[Approved]:
    """Let it go on past its current stage; `selected_indices`: which of the stage's outputs are kept."""
    fields = given(
        stage=stage, notes=notes, selected_indices=None if selected_indices is None else list(selected_indices)
    )
    return ask(Approved, "POST", place(SESSIONS, session_id, "approve"), json=fields)


def regenerate_session(
    session_id: str,
    stage: SessionStage,
    *,
    feedback: str | None = None,
    modifications: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Operation[Regenerated]:
    """Make a stage anew: as `feedback` says in words, as `modifications` says outright."""
    fields = given(stage=stage, feedback=feedback, modifications=modifications and dict(modifications))
    address, headers = place(SESSIONS, session_id, "regenerate"), once_named(idempotency_key)
    return ask(Regenerated, "POST", address, headers=headers, json=fields)


def upload_references(session_id: str, images: Sequence[Reference]) -> Operation[ReferencesUploaded]:
    """Use pictures of your own, up to three, in place of those that are drawn."""
    sent = body(_roles(images), _pictures("images[]", images))
    return ask(ReferencesUploaded, "POST", place(SESSIONS, session_id, "reference-images", "upload"), **sent)


def inpaint(
    session_id: str,
    image_id: int,
    mask_data: str,
    prompt: str,
    *,
    negative_prompt: str | None = None,
    idempotency_key: str | None = None,
) -> Operation[Inpainted]:
    """Repaint a part of a picture of the current stage; `mask_data`: a picture as base64, white = repaint."""
    fields = given(image_id=image_id, mask_data=mask_data, prompt=prompt, negative_prompt=negative_prompt)
    address, headers = place(SESSIONS, session_id, "inpaint"), once_named(idempotency_key)
    return ask(Inpainted, "POST", address, headers=headers, json=fields)


def chat(
    session_id: str, message: str, *, scene_number: int | None = None, client_id: str | None = None
) -> Operation[Session]:
    """Say something to a session; the answer is in its `conversation_history`. With a `client_id` it counts once."""
    fields = given(message=message, scene_number=scene_number, client_id=client_id)
    return ask(Session, "POST", place(SESSIONS, session_id, "chat"), once=client_id is None, json=fields)


# --- stories and comparisons ------------------------------------------------------------------------------------------


def create_story(
    prompt: str,
    *,
    title: str | None = None,
    brand_name: str | None = None,
    client_generation_id: str | None = None,
    reference_images: Sequence[Reference] = (),
    max_iterations: int | None = None,
    generate_scenes: bool | None = None,
    generate_videos: bool | None = None,
    duration: int | None = None,
    aspect_ratio: AspectRatio | None = None,
    num_scenes: int | None = None,
    seed: int | None = None,
    quality: Mapping[str, Any] | None = None,
    accept_out_of_domain: bool | None = None,
    idempotency_key: str | None = None,
) -> Operation[StoryAccepted]:
    """Ask for a story with its scenes and, if wanted, their video (master mode). Returns at once: see `get`."""
    fields = given(
        prompt=prompt, title=title, brand_name=brand_name, client_generation_id=client_generation_id,
        max_iterations=max_iterations, generate_scenes=generate_scenes, generate_videos=generate_videos,
        duration=duration, aspect_ratio=aspect_ratio, num_scenes=num_scenes, seed=seed,
        quality=quality and dict(quality), accept_out_of_domain=accept_out_of_domain,
    )  # fmt: skip
    sent = body({**fields, **_roles(reference_images)}, _pictures("reference_images[]", reference_images))
    headers = {**once_named(idempotency_key), "Prefer": "respond-async"}
    return ask(StoryAccepted, "POST", place(STORIES, "generate-story"), headers=headers, **sent)


def get_story(generation_id: str) -> Operation[StoryResponse]:
    """The story, once its generation has ended; Conflict before that."""
    return ask(StoryResponse, "GET", place(STORIES, "generate-story", generation_id))


def create_comparison(
    base_prompt: str,
    comparison_type: ComparisonType,
    variations: Sequence[Mapping[str, Any]],
    *,
    duration: int | None = None,
    aspect_ratio: AspectRatio | None = None,
    framework: Framework | None = None,
    num_scenes: int | None = None,
    title: str | None = None,
    brand_name: str | None = None,
    seed: int | None = None,
    coherence_settings: Mapping[str, Any] | None = None,
    quality: Mapping[str, Any] | None = None,
    use_llm: bool | None = None,
    accept_out_of_domain: bool | None = None,
    idempotency_key: str | None = None,
) -> Operation[GroupAccepted]:
    """Ask for several ads to compare: `settings` with `coherence_settings`, or `prompt` with `prompt`, in each."""
    fields = given(
        base_prompt=base_prompt, comparison_type=comparison_type, variations=[dict(one) for one in variations],
        duration=duration, aspect_ratio=aspect_ratio, framework=framework, num_scenes=num_scenes, title=title,
        brand_name=brand_name, seed=seed, coherence_settings=coherence_settings and dict(coherence_settings),
        quality=quality and dict(quality), use_llm=use_llm, accept_out_of_domain=accept_out_of_domain,
    )  # fmt: skip
    headers = once_named(idempotency_key)
    return ask(GroupAccepted, "POST", place(COMPARISONS, "generate", "parallel"), headers=headers, json=fields)


def get_comparison(group_id: str) -> Operation[GroupObject]:
    """The ads of a comparison, and the winner once it is chosen."""
    return ask(GroupObject, "GET", place(COMPARISONS, "comparison", group_id))


def choose_winner(group_id: str, generation_id: str) -> Operation[GroupObject]:
    """Say which ad of a comparison is the best."""
    address = place(COMPARISONS, "comparison", group_id, "winner")
    return ask(GroupObject, "POST", address, json={"generation_id": generation_id})


def _pictures(field: str, references: Sequence[Reference]) -> list[tuple[str, File]]:
    return [(field, reference[1] if isinstance(reference, tuple) else reference) for reference in references]


def _roles(references: Sequence[Reference]) -> Json:
    """What the references show, where it is said of any; of the others their files' names say it."""
    if not any(isinstance(reference, tuple) for reference in references):
        return {}
    return {
        "reference_roles": [
            reference[0] if isinstance(reference, tuple) else role_of(_name(reference)) for reference in references
        ]
    }


def _name(file: File) -> str:
    return "" if isinstance(file, bytes) else Path(file).name
