"""The manifest of a folder of weights: where they came from, and the size and hash of each file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from models.errors import WeightsError
from models.interfaces import Plain

CONVERTED = "converted:"
"""Start of the repository of weights that no hub holds: `converted:KIND`, at the sha256 of the published file."""
MANIFEST = "manifest.json"
UNSAFE_SUFFIXES = frozenset(
    {".bin", ".ckpt", ".h5", ".msgpack", ".pickle", ".pkl", ".pt", ".pth", ".py", ".pyc", ".so"}
)


class ManifestFile(Plain):
    """Size in bytes and sha256 of one file."""

    size: int
    sha256: str


class Origin(Plain):
    """The published file that converted weights were made from."""

    file: str
    sha256: str
    licence: str


class Manifest(Plain):
    """What a folder of weights holds and where it came from."""

    repository: str
    revision: str
    files: dict[str, ManifestFile]
    """By path relative to the folder, with forward slashes."""
    origin: Origin | None = None
    """None for weights that were taken as they are."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of weights. Raises WeightsError when `folder` has no readable manifest."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"no weights in {str(folder)!r}") from None
    except (ValidationError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"manifest {str(path)!r} cannot be read ({reason})") from error


def write_manifest(folder: Path, repository: str, revision: str, origin: Origin | None = None) -> Manifest:
    """Hash every file of `folder` and write its manifest last, atomically. Raises WeightsError for an unsafe file."""
    files = {
        name: ManifestFile(size=(folder / name).stat().st_size, sha256=sha256_of(folder / name))
        for name in sorted(listing(folder))
    }
    manifest = Manifest(repository=repository, revision=revision, files=files, origin=origin)
    write_atomically(folder / MANIFEST, manifest.model_dump_json(indent=1, exclude_none=True) + "\n")
    return manifest


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a temporary file beside `path`, sync it, rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def listing(folder: Path) -> Iterator[str]:
    """Relative paths of all files but the manifest. Raises WeightsError for what may not lie in a model folder."""
    inside = folder.resolve()
    for place, folders, files in os.walk(folder):
        for name in sorted(folders + files):
            path = Path(place) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise WeightsError(f"{relative!r} in {str(folder)!r} is a link that leaves the folder; copy it instead")
            if name not in files or relative == MANIFEST:
                continue
            if path.suffix.lower() in UNSAFE_SUFFIXES:
                raise WeightsError(
                    f"file {relative!r} in {str(folder)!r} could run code when loaded; only safetensors are taken"
                )
            yield relative
