"""Folders of weights on this machine: where they lie, whether they are whole, unaltered and safe to load.

A model folder is `ROOT/NAME/PART/` with a `manifest.json` that names repository, revision, and size and sha256 of each
file; a model with `weights_of` has its folders under the name of that other model. Only listed files may lie there,
none of a kind that could run code when loaded. Weights that ship with the project (`embedded:sketch/…`) lie in
`models/sketch/weights/`, each file once; what two models share is put together below `ROOT/sketch/` at first use.
Without them, untrained stand-ins are built at first use.

When hashes are computed: in full at the first use of a folder and whenever a file's size or time stamps differ from
those of the last full check (noted under `ROOT/.verified/`), so that a start costs milliseconds and an altered file is
still caught. `verify` always computes all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from models.errors import WeightsError
from models.interfaces import Plain
from models.sketch.assembly import ASSEMBLY, assemble
from models.spec import SpecBase, WeightSource

PACKAGED = Path(__file__).parent / "sketch" / "weights"
BUILDER = Path(__file__).parent / "sketch" / "build.py"
EMBEDDED = "embedded:sketch/"
CONVERTED = "converted:"
"""Start of the repository of weights that no hub holds: `converted:KIND`, at the sha256 of the published file."""
UNPINNED = "unpinned"
"""Revision of a model description that pins none; the manifest then says which commit was pulled."""
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


class Library:
    """All weights of this machine, below one root folder, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The folder of all weights."""
        return self._root

    def folders(self, spec: SpecBase) -> dict[str, Path]:
        """The checked folder of each part of `spec`; builds untrained stand-ins where they are due.

        Raises WeightsError naming the folder, the file and the remedy.
        """
        return {part: self._checked(spec, part, fully=False) for part in spec.parts()}

    def verify(self, spec: SpecBase) -> None:
        """Compute every hash of every part. Raises WeightsError as `folders` does."""
        for part in spec.parts():
            self._checked(spec, part, fully=True)

    def present(self, spec: SpecBase) -> bool:
        """Whether every part is on this machine (not whether it is unaltered). Embedded weights always are."""
        return all(_embedded(source) or self._has(spec, part) for part, source in spec.parts().items())

    def state(self, spec: SpecBase) -> Literal["here", "untrained", "not here", "remote"]:
        """Whether a model can be used on this machine, in a word."""
        if not spec.weights:
            return "remote"
        if not self.present(spec):
            return "not here"
        return "untrained" if self.untrained_parts(spec) else "here"

    def untrained_parts(self, spec: SpecBase) -> tuple[str, ...]:
        """Parts that are untrained stand-ins: they draw noise and write nonsense, and whoever shows results says so.

        All embedded parts of a model or none: trained and untrained parts would not fit each other.
        """
        parts = {part: source for part, source in spec.parts().items() if _embedded(source)}
        trained = all((PACKAGED / _short(source) / MANIFEST).exists() for source in parts.values())
        return () if trained else tuple(parts)

    def fingerprint(self, spec: SpecBase) -> str:
        """sha256 over the manifests of all parts; over the address for a remote model, which has none."""
        manifests = {
            part: read_manifest(folder).model_dump(exclude_none=True) for part, folder in self.folders(spec).items()
        }
        identity = manifests or spec.model_dump(include={"name", "base_url", "remote_model"})
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def folder_of(self, spec: SpecBase, part: str) -> Path:
        """Where a part lies or will lie once it is pulled or built. Raises KeyError for an unknown part."""
        source = spec.parts()[part]
        if not _embedded(source):
            return self._root / (spec.weights_of or spec.name) / part
        if part not in self.untrained_parts(spec):
            return _complete_folder(_short(source), self._root)
        # The builder's own hash: stand-ins of another builder are never taken for these.
        builder = hashlib.sha256(BUILDER.read_bytes()).hexdigest()[:8]
        return self._root / "sketch-untrained" / f"{source.revision}-{builder}" / _short(source)

    def mark_verified(self, folder: Path, manifest: Manifest) -> None:
        """Note that every hash of `folder` was just computed and found right."""
        stamp = self._stamp(folder, manifest)
        try:
            stamp.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(stamp, json.dumps(_states(folder, manifest)))
        except OSError:
            return  # a library on a read-only disk: hashes are computed again at the next start

    def _has(self, spec: SpecBase, part: str) -> bool:
        return (self.folder_of(spec, part) / MANIFEST).exists()

    def _checked(self, spec: SpecBase, part: str, fully: bool) -> Path:
        source = spec.parts()[part]
        folder = self.folder_of(spec, part)
        untrained = part in self.untrained_parts(spec)
        if untrained and not self._has(spec, part):
            _make(folder, partial(_build, source))
        elif _embedded(source) and not untrained:
            packaged_model(_short(source), self._root)
        try:
            manifest = read_manifest(folder)
            if not _embedded(source):
                _check_origin(source, manifest, folder)
            self._check(folder, manifest, fully)
        except WeightsError as error:
            raise WeightsError(f"{error}; {_remedy(spec, source, folder)}") from error
        return folder

    def _check(self, folder: Path, manifest: Manifest, fully: bool) -> None:
        found = set(_listing(folder))
        for name in sorted(manifest.files.keys() - found):
            raise WeightsError(f"file {name!r} is missing in {str(folder)!r}")
        for name in sorted(found - manifest.files.keys()):
            raise WeightsError(f"file {name!r} in {str(folder)!r} is not in its manifest")
        for name, entry in manifest.files.items():
            size = (folder / name).stat().st_size
            if size != entry.size:
                raise WeightsError(f"file {name!r} in {str(folder)!r} has {size} bytes, not {entry.size}")
        stamp = self._stamp(folder, manifest)
        if not fully and stamp.exists() and stamp.read_text() == json.dumps(_states(folder, manifest)):
            return
        for name, entry in manifest.files.items():
            if sha256_of(folder / name) != entry.sha256:
                raise WeightsError(f"file {name!r} in {str(folder)!r} was altered: its sha256 is not the manifest's")
        self.mark_verified(folder, manifest)

    def _stamp(self, folder: Path, manifest: Manifest) -> Path:
        identity = f"{folder.resolve()}\n{manifest.model_dump_json()}"
        return self._root / ".verified" / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"


def packaged_model(name: str, root: Path) -> Path:
    """The complete folder of packaged weights, put together below `root` where files are stored with another model.

    Raises WeightsError when `root` cannot be written.
    """
    folder = _complete_folder(name, root)
    if not (folder / MANIFEST).exists():
        _make(folder, partial(_assemble, PACKAGED / name))
    return folder


def _complete_folder(name: str, root: Path) -> Path:
    stored = PACKAGED / name
    if not (stored / ASSEMBLY).exists():
        return stored
    # The manifest's own hash: what another release put together is never taken for this one.
    return root / "sketch" / sha256_of(stored / MANIFEST)[:8] / name


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new folder and put it in place, all or nothing; another process may do the same at the same time."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            fill(made)
            shutil.rmtree(folder, ignore_errors=True)  # what lies there has no manifest
            made.replace(folder)
    except OSError as error:
        if (folder / MANIFEST).exists():
            return  # another process was quicker; what it made is the same
        raise WeightsError(
            f"cannot make {folder.name!r} in {str(folder)!r} ({error}): make that folder writable"
        ) from error


def _build(source: WeightSource, folder: Path) -> None:
    from models.sketch.build import build  # torch and diffusers, only when there is something to build

    build(_short(source), folder)
    write_manifest(folder, source.repository, source.revision)


def _assemble(stored: Path, folder: Path) -> None:
    assemble(stored, tuple(read_manifest(stored).files), folder)
    shutil.copyfile(stored / MANIFEST, folder / MANIFEST)


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
        for name in sorted(_listing(folder))
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


def _listing(folder: Path) -> Iterator[str]:
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


def _check_origin(source: WeightSource, manifest: Manifest, folder: Path) -> None:
    if manifest.repository != source.repository or source.revision not in (UNPINNED, manifest.revision):
        held, wanted = (f"{origin.repository} at {origin.revision}" for origin in (manifest, source))
        raise WeightsError(f"{str(folder)!r} holds {held!r}, not {wanted!r}")


def _states(folder: Path, manifest: Manifest) -> dict[str, list[int]]:
    """Size and time stamps of each file; the change time moves even when `touch` sets the other one back."""
    states = {}
    for name in sorted(manifest.files):
        status = (folder / name).stat()
        states[name] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return states


def _embedded(source: WeightSource) -> bool:
    return source.repository.startswith(EMBEDDED)


def _short(source: WeightSource) -> str:
    return source.repository.removeprefix(EMBEDDED)


def _remedy(spec: SpecBase, source: WeightSource, folder: Path) -> str:
    if _embedded(source) and not folder.is_relative_to(PACKAGED):
        return f"delete {str(folder)!r}, it is made again"
    if _embedded(source):
        return "install the project again, these weights ship with it"
    return f"run: admint models pull {spec.name}"
