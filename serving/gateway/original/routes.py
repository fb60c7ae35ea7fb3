"""`/api/generations`: the contract's original pipeline and its comparisons, as views of the same rows.

Orders made here run the recipe `classic`; everything else works for generations of any recipe.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from pipelines.brief import MAX_REFERENCES
from pipelines.coherence import CoherenceSettings
from pipelines.orders.ad import AdRequest, Variation
from pipelines.records import Generation, GenerationStatus
from pipelines.report.verdict import warnings
from quality.score import Score
from serving.gateway.answers import Download, artifact_response, file_name
from serving.gateway.auth.gate import owner
from serving.gateway.generations.answers import GenerationPage, GroupObject
from serving.gateway.generations.routes import (
    PageLimit,
    PageOffset,
    cancel_generation,
    delete_generation,
    get_generation,
    listed,
)
from serving.gateway.generations.views import generation_object, group_object, texts, video_url
from serving.gateway.orders import AdIntake, Idempotent, flat_field
from serving.gateway.original.answers import Accepted, GroupAccepted, QualityReport, StatusObject
from serving.gateway.original.quality_report import quality_report
from serving.gateway.original.schemas import AdFields, GenerateBody, ParallelBody, WinnerBody
from serving.gateway.problems import Problem
from serving.gateway.requests import FORM_TYPE, JSON_TYPE, BodyRoute, Id, body_schema, parse_body
from serving.gateway.services import Services, services
from serving.gateway.signed import SIGNED_SECONDS, SignedAddress, SignedSeconds, signed

router = APIRouter(prefix="/api/generations", tags=["generations (original contract)"], route_class=BodyRoute)

RECIPE = "classic"
BODY_TYPES = (JSON_TYPE, FORM_TYPE)
VIDEO_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"description": "The file", "content": {"video/mp4": {}}},
    206: {"description": "One range of it", "content": {"video/mp4": {}}},
    304: {"description": "The caller has it already"},
}
PICTURE_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"description": "The file", "content": {"image/jpeg": {}}},
    206: {"description": "One range of it", "content": {"image/jpeg": {}}},
    304: {"description": "The caller has it already"},
}
SceneNumber = Annotated[int, Path(ge=1, le=1000)]


@router.post("/generate", status_code=202, openapi_extra=body_schema(GenerateBody, BODY_TYPES))
async def generate(request: Request, idempotency: Idempotent) -> Accepted:
    """Ask for an ad by the recipe `classic`; poll its status."""
    used, user = services(request), owner(request)
    body = await parse_body(request, GenerateBody, MAX_REFERENCES, used.limits.upload_bytes, BODY_TYPES)
    asked, keys = _request(body, body.prompt), idempotency.keys(body)
    intake = AdIntake(used, user, _field)
    accepted = await intake.take(asked, body.reference_images, keys, roles=body.reference_roles, unused=body.unused)
    idempotency.mark(accepted.repeated)
    row = await used.store.get(user, accepted.id)
    return Accepted(
        generation_id=row.id,
        status=row.status,
        message="The ad is ordered: poll its status.",
        seed_value=row.brief.acting_seed,
        warnings=list(warnings(row.manifest)),
    )


@router.post("/generate/parallel", status_code=202, openapi_extra=body_schema(ParallelBody, BODY_TYPES))
async def generate_parallel(request: Request, idempotency: Idempotent) -> GroupAccepted:
    """Ask for 2 to 10 ads that differ in their settings or prompt only, the seed being the same, to compare them.

    A variation that is `{}` is the base itself, to compare the others with.
    """
    used, user = services(request), owner(request)
    body = await parse_body(request, ParallelBody, MAX_REFERENCES, used.limits.upload_bytes, BODY_TYPES)
    variations = tuple(
        Variation(
            prompt=each.prompt,
            coherence=None if each.coherence_settings is None else each.coherence_settings.given,
        )
        for each in body.variations
    )
    intake = AdIntake(used, user, lambda name: "base_prompt" if name == "brief.prompt" else _field(name))
    asked, keys, pictures = _request(body, body.base_prompt), idempotency.keys(body), body.reference_images
    accepted = await intake.compare(
        asked, body.comparison_type, variations, pictures, keys, body.reference_roles, body.unused
    )
    idempotency.mark(accepted.repeated)
    group = await used.ads.groups.get(user, accepted.id)
    made = [await used.store.get(user, one) for one in group.generation_ids]
    return GroupAccepted(
        group_id=group.id,
        generation_ids=list(group.generation_ids),
        comparison_type=group.comparison_type,
        message=f"{len(group.generation_ids)} ads are ordered: poll the comparison.",
        warnings=list(dict.fromkeys(told for one in made for told in warnings(one.manifest))),
    )


@router.get("")
async def list_generations(
    request: Request,
    limit: PageLimit = 20,
    offset: PageOffset = 0,
    status: Annotated[list[GenerationStatus] | None, Query(max_length=20)] = None,
    q: Annotated[str | None, Query(max_length=200, description="Text in the prompt")] = None,
) -> GenerationPage:
    """The caller's generations of all recipes, newest first."""
    return await listed(request, limit, offset, tuple(status or ()), (), q)


@router.get("/coherence/settings/defaults")
async def coherence_defaults(request: Request) -> CoherenceSettings:
    """The coherence settings of a request that names none."""
    return services(request).ads.planner.recipe(RECIPE).coherence


@router.get("/comparison/{group_id}")
async def get_comparison(request: Request, group_id: Id) -> GroupObject:
    """The generations of a comparison, in the order of their variations, and its winner."""
    return await _comparison(services(request), owner(request), group_id)


@router.post("/comparison/{group_id}/winner")
async def choose_winner(request: Request, group_id: Id, body: WinnerBody) -> GroupObject:
    """Say which finished generation is the best; a later choice replaces it. 400 for one that has not finished."""
    used, user = services(request), owner(request)
    group = await used.ads.groups.get(user, group_id)
    if body.generation_id not in group.generation_ids:
        raise Problem("bad_request", f"no generation {body.generation_id!r} in this comparison", "generation_id")
    await used.ads.groups.choose_winner(user, group_id, body.generation_id)
    return await _comparison(used, user, group_id)


router.get("/{generation_id}")(get_generation)


@router.get("/{generation_id}/status")
async def get_status(request: Request, generation_id: Id) -> StatusObject:
    """Status and progress of a generation, for polling."""
    used = services(request)
    generation = await used.store.get(owner(request), generation_id)
    row = generation_object(generation)
    shown = {name: getattr(row, name) for name in StatusObject.model_fields if name != "generation_id"}
    shown["warnings"] = list(warnings(generation.manifest, *texts(await used.store.outputs(generation_id))))
    return StatusObject(generation_id=row.id, **shown)


@router.get("/{generation_id}/quality")
async def get_quality(request: Request, generation_id: Id) -> QualityReport:
    """The quality metrics of a generation; null with a reason where nothing was measured."""
    used = services(request)
    generation = await used.store.get(owner(request), generation_id)
    scores = (await used.store.outputs(generation_id)).get("quality") or []
    measured = await used.store.quality_metrics(generation_id)
    return quality_report(generation, [Score.model_validate(score) for score in scores], measured)


router.post("/{generation_id}/cancel")(cancel_generation)
router.delete("/{generation_id}")(delete_generation)


@router.get("/{generation_id}/video", response_class=Response, responses=VIDEO_RESPONSES)
async def get_video(request: Request, generation_id: Id, download: Download = False) -> Response:
    """The finished video. 409 before there is one."""
    name, sha256 = await _made(request, generation_id, "artifact")
    return await artifact_response(request, sha256, name, download)


@router.get("/{generation_id}/video/address")
async def get_video_address(
    request: Request, generation_id: Id, seconds: SignedSeconds = SIGNED_SECONDS
) -> SignedAddress:
    """A signed address of the finished video, which opens without credentials. 409 before there is one."""
    _, sha256 = await _made(request, generation_id, "artifact")
    return await signed(request, sha256, seconds)


@router.get("/{generation_id}/thumbnail/address")
async def get_thumbnail_address(
    request: Request, generation_id: Id, seconds: SignedSeconds = SIGNED_SECONDS
) -> SignedAddress:
    """A signed address of the frame that shows the product. 409 before there is one."""
    _, sha256 = await _made(request, generation_id, "thumbnail")
    return await signed(request, sha256, seconds)


@router.get("/{generation_id}/clips/{scene_number}/address")
async def get_clip_address(
    request: Request, generation_id: Id, scene_number: SceneNumber, seconds: SignedSeconds = SIGNED_SECONDS
) -> SignedAddress:
    """A signed address of the current clip of a scene. 409 before there is one."""
    _, sha256 = await _clip(request, generation_id, scene_number)
    return await signed(request, sha256, seconds)


@router.get("/{generation_id}/thumbnail", response_class=Response, responses=PICTURE_RESPONSES)
async def get_thumbnail(request: Request, generation_id: Id, download: Download = False) -> Response:
    """A frame of the finished video that shows the product. 409 before there is one."""
    name, sha256 = await _made(request, generation_id, "thumbnail")
    return await artifact_response(request, sha256, f"{name}-thumbnail", download)


@router.get("/{generation_id}/clips/{scene_number}", response_class=Response, responses=VIDEO_RESPONSES)
async def get_clip(
    request: Request, generation_id: Id, scene_number: SceneNumber, download: Download = False
) -> Response:
    """The current clip of a scene. 409 before there is one."""
    name, sha256 = await _clip(request, generation_id, scene_number)
    return await artifact_response(request, sha256, name, download)


async def _clip(request: Request, generation_id: str, scene_number: int) -> tuple[str, str]:
    """Name and artifact of the current clip of a scene. Raises Problem 409."""
    used = services(request)
    generation = await used.store.get(owner(request), generation_id)
    for take in await used.store.takes(generation_id):
        if take.current and (take.kind, take.scene_number) == ("clip", scene_number):
            return f"{_name(generation)}-scene-{scene_number:03}", take.artifact
    raise Problem("conflict", f"scene {scene_number} of {generation_id!r} has no clip yet", final=True)


async def _made(request: Request, generation_id: str, part: str) -> tuple[str, str]:
    """Name and artifact of a part of the finished video. Raises Problem 409."""
    used = services(request)
    generation = await used.store.get(owner(request), generation_id)
    made = (await used.store.outputs(generation_id)).get("stitch")
    if made is None:
        text = f"{video_url(generation)}: the generation is {generation.status} and has no video"
        raise Problem("conflict", text, final=True)
    return _name(generation), made[part]


def _name(generation: Generation) -> str:
    """What a file of a generation is saved as: its title says most."""
    return file_name(generation.brief.title or f"ad {generation.id[:8]}")


async def _comparison(used: Services, user: str, group_id: str) -> GroupObject:
    group = await used.ads.groups.get(user, group_id)
    return group_object(group, [await used.store.get(user, one) for one in group.generation_ids])


def _request(body: AdFields, prompt: str) -> AdRequest:
    names = ("framework", "duration", "aspect_ratio", "title", "brand_name", "num_scenes", "seed")
    return AdRequest(
        recipe=RECIPE,
        brief={"prompt": prompt, **{name: getattr(body, name) for name in names}},
        coherence=body.coherence_settings.given if body.coherence_settings else {},
        quality_dimensions=body.quality.dimensions if body.quality else None,
        quality_gate=body.quality.gate if body.quality else None,
        candidates=body.quality.choice if body.quality else None,
        use_llm=body.use_llm,
        accept_out_of_domain=body.accept_out_of_domain,
    )


def _field(name: str) -> str:
    """The name that a field of `AdRequest` has in these bodies."""
    return flat_field(name).replace("coherence", "coherence_settings")
