"""Download the weights of a model from a hub, at a pinned commit, into a `models.weights.Library` folder.

Whole-or-nothing per part: files arrive in `ROOT/.downloads/`, are compared with the hub's own hashes, and move to their
folder with the manifest once all are right. A broken download keeps what arrived; the same command goes on from there.
`huggingface_hub` describes the repository (and reads `HF_ENDPOINT` when it is imported); the bytes come by plain HTTP
with Range requests, because huggingface_hub 2 deletes a partial file when it fails, and hf-xet cannot resume one.

Only this file speaks to a network: engines load with `local_files_only=True` from folders.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath

import httpx
from huggingface_hub import HfApi, get_token, hf_hub_url

# HTTPError: the base of all its HTTP errors; which library it comes from differs between its versions.
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

from models.errors import DownloadError, WeightsError
from models.spec import SpecBase, WeightSource
from models.weights import MANIFEST, UNPINNED, UNSAFE_SUFFIXES, Library, Manifest, sha256_of, write_manifest

Progress = Callable[[str, int, int], None]
"""Called with the file in progress, the bytes of the part that are here, and the bytes of the part in all."""

COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = httpx.Timeout(30.0)
RESUME = "run the same command again, what arrived is kept"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository at one commit, as the hub describes it."""

    name: str
    size: int
    sha256: str | None
    """Hash of a large (LFS) file; a small one has only its git hash."""
    git_sha1: str

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` has this size and hash."""
        if path.stat().st_size != self.size:
            return False
        if self.sha256 is not None:
            return sha256_of(path) == self.sha256
        blob = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        blob.update(path.read_bytes())
        return blob.hexdigest() == self.git_sha1


def pull(spec: SpecBase, library: Library, revisions: Mapping[str, str], progress: Progress) -> None:
    """Bring every part of `spec` into `library`. `revisions` pins, by part, what the description leaves unpinned.

    Parts that are here and unaltered at that commit are left alone. Raises WeightsError (no commit pinned, nothing
    loadable in the repository) and DownloadError (the hub did not deliver, or delivered something else).
    """
    commits = {part: _commit(spec, part, revisions) for part in spec.parts()}
    for part, source in spec.parts().items():
        if not source.repository.startswith("embedded:") and not _here(library, spec, part, commits[part]):
            folder = library.folder_of(spec, part)
            manifest = _pull_part(folder, source, commits[part], progress)
            library.mark_verified(folder, manifest)
    library.folders(spec)


def _commit(spec: SpecBase, part: str, revisions: Mapping[str, str]) -> str:
    source = spec.parts()[part]
    revision = revisions.get(part, source.revision)
    if source.repository.startswith("embedded:") or COMMIT.fullmatch(revision):
        return revision
    how = f"run: admint models pull {spec.name} --revision {part}=COMMIT"
    if revision == UNPINNED:
        raise WeightsError(
            f"model {spec.name!r} pins no commit of {source.repository!r}: look up the full commit hash you trust "
            f"on its hub page and {how}"
        )
    raise WeightsError(
        f"revision {revision!r} of {source.repository!r} is no full commit hash; a branch or tag can change under "
        f"you: {how}"
    )


def _here(library: Library, spec: SpecBase, part: str, commit: str) -> bool:
    pinned = spec.parts()[part].model_copy(update={"revision": commit})
    alone = SpecBase(
        name=spec.name, family=spec.family, licence=spec.licence, vram_gb=spec.vram_gb, weights={part: pinned}
    )
    try:
        library.folders(alone)
    except WeightsError:
        return False
    return True


def _pull_part(folder: Path, source: WeightSource, commit: str, progress: Progress) -> Manifest:
    files = _describe(source, commit)
    staging = folder.parent.parent / ".downloads" / folder.parent.name / f"{folder.name}@{commit}"
    total, before = sum(file.size for file in files), 0
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT, headers=headers) as client:
        for file in files:
            url = hf_hub_url(source.repository, file.name, revision=commit)
            report = partial(_add, progress, file.name, before, total)
            _fetch(client, url, file, staging / file.name, report)
            before += file.size
    manifest = write_manifest(staging, source.repository, commit)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    staging.replace(folder)
    return manifest


def _add(progress: Progress, name: str, before: int, total: int, done: int) -> None:
    progress(name, before + done, total)


def _describe(source: WeightSource, commit: str) -> list[RemoteFile]:
    """The files that the description asks for, smallest first so that a wrong repository shows early."""
    try:
        info = HfApi().model_info(source.repository, revision=commit, files_metadata=True)
    except OfflineModeIsEnabled as error:
        raise DownloadError(
            f"HF_HUB_OFFLINE forbids pulling {source.repository!r}: unset it for this command"
        ) from error
    except (HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DownloadError(
            f"the hub does not describe {source.repository!r} at {commit}: {reason}; {RESUME}"
        ) from error
    if info.sha != commit:
        raise DownloadError(f"the hub answered with commit {info.sha!r} of {source.repository!r}, not {commit!r}")
    wanted = [
        RemoteFile(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else None, each.blob_id or "")
        for each in info.siblings or []
        if any(fnmatch(each.rfilename, pattern) for pattern in source.allow_patterns)
    ]
    for file in wanted:
        _refuse_unsafe(source, file.name)
    if not any(file.name.endswith(".safetensors") for file in wanted):
        raise WeightsError(
            f"{source.repository!r} at {commit} has no safetensors file among {', '.join(source.allow_patterns)}: "
            "weights in other formats can run code and are not taken; choose a converted repository"
        )
    return sorted(wanted, key=lambda file: file.size)


def _refuse_unsafe(source: WeightSource, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or name == MANIFEST:
        raise WeightsError(f"{source.repository!r} holds a file named {name!r}: a model folder cannot take that name")
    if path.suffix.lower() in UNSAFE_SUFFIXES:
        raise WeightsError(
            f"{source.repository!r} would bring {name!r}, which could run code: take it out of allow_patterns"
        )


def _fetch(client: httpx.Client, url: str, file: RemoteFile, target: Path, progress: Callable[[int], None]) -> None:
    """Download one file beside `target`, going on where an earlier try stopped; rename it once its hash is right."""
    if target.exists() and file.matches(target):
        progress(file.size)
        return
    part = target.with_name(f"{target.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        if part.stat().st_size < file.size:
            _stream(client, url, part, progress)
    except (httpx.HTTPError, OSError) as error:
        raise DownloadError(
            f"download of {file.name!r} broke off ({error or type(error).__name__}): {RESUME}"
        ) from error
    if part.stat().st_size < file.size:
        raise DownloadError(f"download of {file.name!r} ended early: {RESUME}")
    if not file.matches(part):
        part.unlink()
        raise DownloadError(
            f"{file.name!r} does not have the hash that the hub declares; it was thrown away: run the same command "
            "again, and distrust this hub or proxy if it happens twice"
        )
    part.replace(target)


def _stream(client: httpx.Client, url: str, part: Path, progress: Callable[[int], None]) -> None:
    have = part.stat().st_size
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        with part.open("ab" if resumed else "wb") as out:
            for chunk in response.iter_raw():  # as it arrives: a chunk size would hold back what a break then loses
                out.write(chunk)
                progress(out.tell())
