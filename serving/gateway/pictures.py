"""Pictures in a request: files, base64 text or artifact ids. An upload is decoded, checked and re-encoded.

URLs are refused: this server fetches nothing for a caller.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import repeat
from urllib.parse import unquote

from models.interfaces import EncodedImage
from pipelines.errors import BadInput, NotFound
from pipelines.steps import StoredArtifact
from pipelines.uploads import ClearParts, What
from serving.errors import Undecodable
from serving.gateway.decoding.decoders import Job
from serving.gateway.forms import Upload
from serving.gateway.problems import Problem, refuse
from serving.gateway.services import Ads, Services

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")
LATENTS_TYPE = "application/x-safetensors"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DATA_URL = re.compile(r'data:(?:"[^"]*"|[^",])*;\s*base64\s*,', re.IGNORECASE)
"""With or without parameters of the media type, in letters of any case (RFC 2397)."""
_FETCHED = re.compile(r"(https?|file|ftp|blob):", re.IGNORECASE)
_URLSAFE = str.maketrans("-_", "+/")


class Pictures:
    """Reads the pictures of one user's request."""

    def __init__(self, services: Services, owner: str) -> None:
        self._services = services
        self._owner = owner

    async def picture(self, source: Upload | str, param: str) -> EncodedImage:
        """The picture as an RGB PNG, or the artifact as it is. Raises Problem that names `param`: 404, 413, 422."""
        if isinstance(source, str) and is_artifact_id(source):
            return EncodedImage(data=await self.artifact(source, param, IMAGE_TYPES))
        return await self._upload(source, param, "reference", _what(param))

    async def mask(self, source: Upload | str, param: str, clear: ClearParts = "kept") -> EncodedImage:
        """The mask as a grey PNG, white = repaint; `clear` says what its transparent parts are. Raises as `picture`."""
        if isinstance(source, str) and is_artifact_id(source):
            source = Upload(source, await self.artifact(source, param, IMAGE_TYPES))
        return await self._upload(source, param, "mask" if clear == "kept" else "mask of holes", "mask")

    async def unstored(self, source: Upload | str, param: str) -> tuple[StoredArtifact, bytes | None]:
        """What a picture will be as an artifact, and its bytes unless it is one already. Raises as `picture`."""
        if isinstance(source, str) and is_artifact_id(source):
            await self.media_type(source, param, IMAGE_TYPES)
            return await self._services.owners.find(self._owner, source), None
        data = (await self.picture(source, param)).data
        return StoredArtifact(sha256=hashlib.sha256(data).hexdigest(), media_type="image/png", size=len(data)), data

    async def keep(self, files: Sequence[tuple[bytes, str]]) -> tuple[StoredArtifact, ...]:
        """Store files, each with its media type, as the owner's artifacts: all or none.

        Raises QuotaExceeded before anything is written.
        """
        data, media_types = [file for file, _ in files], [media_type for _, media_type in files]
        async with kept_files(self._services, self._owner, data, *media_types) as stored:
            await self._services.owners.record(self._owner, *stored)
        return stored

    async def artifact(self, sha256: str, param: str, types: tuple[str, ...]) -> bytes:
        """The bytes of the owner's artifact, which must be of one of the media `types`."""
        await self.media_type(sha256, param, types)
        return await asyncio.to_thread(self._services.artifacts.read, sha256)

    async def media_type(self, sha256: str, param: str, types: tuple[str, ...]) -> str:
        """The media type of the user's artifact. Raises Problem 404, also for someone else's; 422 unless in `types`."""
        try:
            stored = await self._services.owners.find(self._owner, sha256)
        except NotFound as error:
            raise Problem("not_found", f"{param}: {error}", param) from None
        if stored.media_type not in types:
            refuse(param, f"{param}: artifact {sha256!r} is {stored.media_type}; give one of {', '.join(types)}")
        return stored.media_type

    async def _upload(self, source: Upload | str, param: str, job: Job, what: What) -> EncodedImage:
        limit = self._services.limits.upload_bytes
        upload = source if isinstance(source, Upload) else await asyncio.to_thread(_from_text, source, param, limit)
        if len(upload.data) > limit:
            raise _too_large(param, limit)
        try:
            data = await self._services.decoders.read(job, upload.data, upload.filename or param, what, self._owner)
        except BadInput as error:
            raise Problem("invalid_request", f"{param}: {error}", param) from None
        except Undecodable as error:
            raise Problem("undecodable", f"{param}: {error}", param) from None
        return EncodedImage(data=data)


def _what(param: str) -> What:
    """What the picture in a field is to its sender."""
    named: dict[str, What] = {"image": "image", "messages": "image", "input_reference": "first frame"}
    return named.get(param.partition(".")[0], "reference image")


def _from_text(text: str, param: str, limit: int) -> Upload:
    """The picture in base64 as tools write it: as a data URL or bare, in lines, in either alphabet, without padding."""
    text = text.strip()
    if _FETCHED.match(text):
        refuse(param, f"{param}: URLs are not fetched: send the picture itself, as a file or as base64")
    body = text[match.end() :] if (match := _DATA_URL.match(text)) else text
    body = "".join((unquote(body) if "%" in body else body).split()).rstrip("=")
    if len(body) > limit * 4 // 3 + 4:
        raise _too_large(param, limit)
    try:
        return Upload(param, base64.b64decode(body.translate(_URLSAFE) + "=" * (-len(body) % 4), validate=True))
    except (binascii.Error, ValueError):
        refuse(param, f"{param}: neither an artifact id nor base64 of a picture (got {text[:40]!r})")


def is_artifact_id(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def _too_large(param: str, limit: int) -> Problem:
    text = f"{param}: a picture may have at most {limit / 2**20:.0f} MB: scale it down"
    return Problem("payload_too_large", text, param, {"limit_bytes": limit})


@asynccontextmanager
async def kept_files(
    used: Services, user: str, files: Collection[bytes], *media_types: str
) -> AsyncIterator[tuple[StoredArtifact, ...]]:
    """Store `files`, for the block to write the rows that name them. Raises QuotaExceeded before any is written.

    `media_types`: one for all, or one each.
    When the block fails, those that no row names are removed: a refused request leaves nothing behind.
    """
    if not files:
        yield ()
        return
    await used.owners.check_room(user, sum(len(data) for data in files))
    typed = tuple(zip(files, media_types if len(media_types) > 1 else repeat(media_types[0]), strict=False))
    stored: list[StoredArtifact] = []
    try:
        for data, media_type in typed:
            stored.append(await asyncio.to_thread(used.artifacts.put, data, media_type))
        yield tuple(stored)
    except BaseException:
        hashes = frozenset(each.sha256 for each in stored)
        await asyncio.shield(remove_unnamed(used.ads, hashes, datetime.now(UTC)))
        raise
    for data, media_type in typed:  # another request may have failed with the very same bytes, and taken them away
        await asyncio.to_thread(used.artifacts.put, data, media_type)


async def remove_unnamed(ads: Ads, hashes: frozenset[str], unused_since: datetime) -> None:
    """Delete the files of `hashes` that no row names, but for those stored after `unused_since`: a row may follow."""
    if not hashes:
        return
    for sha256 in hashes - await ads.disposal.named(hashes):
        await asyncio.to_thread(ads.files.remove, sha256, unused_since)
