"""Weights that are on this disk already, taken into the library as hard links: a hub cache, or a downloaded folder.

Both say which commit they hold and what each large file's hash must be: the cache by the names of its folders and
blobs (`models--OWNER--NAME/snapshots/COMMIT/FILE` → `blobs/SHA256`), a folder of `hf download --local-dir` by
`.cache/huggingface/download/FILE.metadata` (commit, then hash). What they do not say is not guessed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from models.conversion import remedy
from models.errors import WeightsError
from models.hub import COMMIT
from models.manifest import CONVERTED, UNSAFE_SUFFIXES, sha256_of, write_manifest
from models.spec import SpecBase, WeightSource
from models.weights import UNPINNED, Library

SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Adopted:
    """What came into the library."""

    files: int
    size: int
    """Bytes of all files."""
    linked: bool
    """Whether every file is a hard link, and takes no room of its own."""


def adopt(spec: SpecBase, library: Library, part: str, folder: Path) -> Adopted:
    """Take the files that the part `part` of `spec` wants from `folder`, whole or not at all.

    Raises WeightsError for a part that the model does not have, a folder that does not say its commit or holds another
    one, and a file that is missing, altered or could run code.
    """
    if part not in spec.parts():
        raise WeightsError(f"model {spec.name!r} has no part {part!r}; it has: {', '.join(spec.parts())}")
    source, target = spec.parts()[part], library.folder_of(spec, part)
    if source.repository.startswith(CONVERTED):
        kind = source.repository.removeprefix(CONVERTED)
        raise WeightsError(f"{part!r} of model {spec.name!r} is no folder of a hub: {remedy(kind)}")
    if target.exists():
        raise WeightsError(f"{str(target)!r} is there already: check it with `admint models verify {spec.name}`")
    files = _wanted(source, folder)
    commits = {file.commit for file in files.values()}
    if len(commits) != 1 or (source.revision != UNPINNED and commits != {source.revision}):
        raise WeightsError(
            f"{str(folder)!r} holds commit {', '.join(sorted(commits))} of {source.repository!r}, and model"
            f" {spec.name!r} is described with {source.revision}: download that commit, or describe a model of your own"
        )
    staging = target.with_name(f".{target.name}.adopting")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        linked = all([_take(file, staging / name) for name, file in files.items()])
        write_manifest(staging, source.repository, next(iter(commits)))
        staging.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Adopted(len(files), sum(file.path.stat().st_size for file in files.values()), linked)


@dataclass(frozen=True)
class _File:
    path: Path
    """The file itself, links followed."""
    commit: str
    sha256: str | None
    """What its hash must be; None: small, and the folder names only git's hash."""
    git_sha1: str | None


def _wanted(source: WeightSource, folder: Path) -> dict[str, _File]:
    names = sorted(
        str(path.relative_to(folder).as_posix())
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.relative_to(folder).parts
    )
    wanted = [name for name in names if any(fnmatch(name, pattern) for pattern in source.allow_patterns)]
    if not any(name.endswith(".safetensors") for name in wanted):
        raise WeightsError(
            f"{str(folder)!r} has no safetensors file among {', '.join(source.allow_patterns)}: give the folder that"
            " holds the repository's files, such as a snapshot of the hub's cache"
        )
    for name in wanted:
        if Path(name).suffix.lower() in UNSAFE_SUFFIXES:
            raise WeightsError(f"{name!r} in {str(folder)!r} could run code: take it out of allow_patterns")
    return {name: _described(folder, name) for name in wanted}


def _described(folder: Path, name: str) -> _File:
    path = folder / name
    note = folder / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    if path.is_symlink() and path.resolve().parent.name == "blobs":
        commit, known = folder.resolve().name, path.resolve().name
    elif note.exists():
        commit, known, *_ = [*note.read_text().split("\n"), "", ""]
    else:
        raise WeightsError(
            f"{str(folder)!r} does not say which commit {name!r} is of: give a snapshot of the hub's cache"
            " (models--OWNER--NAME/snapshots/COMMIT) or a folder that `hf download --local-dir` made"
        )
    if not COMMIT.fullmatch(commit):
        raise WeightsError(f"{str(folder)!r} names {commit!r} as its commit, which is no full commit hash")
    large = bool(SHA256.fullmatch(known))
    return _File(path.resolve(), commit, known if large else None, None if large else known)


def _take(file: _File, target: Path) -> bool:
    """Put one file at `target`, after its hash was found right; whether as a hard link."""
    right = sha256_of(file.path) == file.sha256 if file.sha256 else _git_sha1(file.path) == file.git_sha1
    if not right:
        raise WeightsError(f"{str(file.path)!r} does not have the hash that its folder declares: download it anew")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.path, target)
    except OSError:  # another file system
        shutil.copyfile(file.path, target)
        return False
    return True


def _git_sha1(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
