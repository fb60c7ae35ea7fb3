"""Reference images that an owner brings to a session: read from a form, checked, and put in place of a drawn one."""

from __future__ import annotations

from fastapi import Request

from pipelines.brief import MAX_REFERENCES, BriefReference
from serving.gateway.bodies import FORM_TYPE
from serving.gateway.identity import owner
from serving.gateway.kept_files import kept_files
from serving.gateway.multipart import Upload, read_multipart
from serving.gateway.problems import Problem
from serving.gateway.schemas.interactive import ReferencesUploaded
from serving.gateway.services import services
from serving.gateway.session_views import reference_images
from serving.gateway.sessions import Sessions
from serving.gateway.uploads import Pictures


async def take_references(request: Request, sessions: Sessions, session_id: str) -> ReferencesUploaded:
    """Raises NotFound, BadInput as Problem 400, Problem 413, 415, 422, QuotaExceeded."""
    used, user = services(request), owner(request)
    generation = await sessions.row(session_id)
    uploads = await _uploads(request, used.limits.upload_bytes)
    _check_model(generation.manifest["models"]["image"], len(uploads))
    pictures = Pictures(used, user)
    read = [(await pictures.picture(upload, f"images.{index}")).data for index, upload in enumerate(uploads)]
    async with kept_files(used, user, read, "image/png") as stored:
        references = tuple(
            BriefReference(artifact=one.sha256, role="product", filename=upload.filename[:200] or f"reference-{index}")
            for index, (one, upload) in enumerate(zip(stored, uploads, strict=True), start=1)
        )
        await sessions.direct(used.ads.directions.upload_references(user, session_id, references, stored))
    return ReferencesUploaded(
        session_id=session_id,
        images=reference_images(references, ()),
        message=f"{len(references)} reference images: they take the place of a drawn one.",
    )


async def _uploads(request: Request, max_bytes: int) -> tuple[Upload, ...]:
    """The files of the form, whatever their fields are called: the contract names none."""
    if not request.headers.get("content-type", "").lower().startswith(FORM_TYPE):
        raise Problem("unsupported_media_type", f"Content-Type must be {FORM_TYPE}")
    pairs = await read_multipart(request, MAX_REFERENCES, max_bytes)
    uploads = tuple(value for _, value in pairs if isinstance(value, Upload))
    if not uploads:
        raise Problem("invalid_request", f"images: send 1 to {MAX_REFERENCES} files", "images")
    return uploads


def _check_model(image_model: dict[str, object], count: int) -> None:
    takes = image_model["references"]
    if isinstance(takes, int) and count > takes:
        text = (
            f"images: image model {image_model['name']!r} takes {takes} reference images, not {count}: leave some out"
        )
        raise Problem("limit_exceeded", text, "images", {"max_files": takes})
