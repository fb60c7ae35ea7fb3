"""Folders of weights on this machine: where they lie, whether they are whole, unaltered and safe to load.

A model folder is `ROOT/NAME/PART/` with a `manifest.json` that names repository, revision, and size and sha256 of each
file; a model with `weights_of` has its folders under the name of that other model. Only listed files may lie there,
none of a kind that could run code when loaded. Weights that ship with the project (`embedded:sketch/…`) lie in
`models/sketch/weights/`, each file once; what two models share is put together below `ROOT/sketch/` at first use.
Without them, untrained stand-ins are built at first use. Weights that come inside of an installed package are
converted at first use.

When hashes are computed: in full at the first use of a folder and whenever a file's size or time stamps differ from
those of the last full check (noted under `ROOT/.verified/`), so that a start costs milliseconds and an altered file is
still caught. `verify` always computes all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from models.conversion import convert, installed_file, kind_of
from models.errors import WeightsError
from models.manifest import (
    CONVERTED,
    MANIFEST,
    Manifest,
    listing,
    read_manifest,
    sha256_of,
    write_atomically,
    write_manifest,
)
from models.sketch.assembly import ASSEMBLY, assemble
from models.spec import SpecBase, WeightSource

PACKAGED = Path(__file__).parent / "sketch" / "weights"
BUILDER = Path(__file__).parent / "sketch" / "build.py"
EMBEDDED = "embedded:sketch/"
UNPINNED = "unpinned"
"""Revision of a model description that pins none; the manifest then says which commit was pulled."""


class Library:
    """All weights of this machine, below one root folder, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The folder of all weights."""
        return self._root

    def folders(self, spec: SpecBase) -> dict[str, Path]:
        """The checked folder of each part of `spec`; builds untrained stand-ins where they are due, and converts
        what an installed package brings.

        Raises WeightsError naming the folder, the file and the remedy.
        """
        return {part: self._checked(spec, part, fully=False) for part in spec.parts()}

    def verify(self, spec: SpecBase) -> None:
        """Compute every hash of every part. Raises WeightsError as `folders` does."""
        for part in spec.parts():
            self._checked(spec, part, fully=True)

    def present(self, spec: SpecBase) -> bool:
        """Whether every part is on this machine (not whether it is unaltered), and every package that holds one; none
        is imported. Embedded weights always are."""
        return all(find_spec(package) is not None for package in spec.packages) and all(
            _embedded(source) or self._has(spec, part) or _packaged_file(source) is not None
            for part, source in spec.parts().items()
        )

    def state(self, spec: SpecBase) -> Literal["here", "untrained", "not here", "remote"]:
        """Whether a model can be used on this machine, in a word."""
        if not spec.weights and not spec.packages:
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
        """sha256 over the manifests of all parts; over the address for a remote model, which has none.

        Of a part that a wheel brings, over its kind and the hash of the published file, so that nothing is converted
        before it is needed. Raises as `folders`.
        """
        manifests = {part: self._identity(spec, part) for part in spec.parts()}
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

    def _identity(self, spec: SpecBase, part: str) -> dict[str, Any]:
        source = spec.parts()[part]
        if source.revision != UNPINNED and _packaged_file(source) is not None:
            return source.model_dump(include={"repository", "revision"})
        return read_manifest(self._checked(spec, part, fully=False)).model_dump(exclude_none=True)

    def _checked(self, spec: SpecBase, part: str, fully: bool) -> Path:
        source = spec.parts()[part]
        folder = self.folder_of(spec, part)
        untrained = part in self.untrained_parts(spec)
        if untrained and not self._has(spec, part):
            _make(folder, partial(_build, source))
        elif _embedded(source) and not untrained:
            packaged_model(_short(source), self._root)
        elif not self._has(spec, part) and (file := _packaged_file(source)) is not None:
            _make(folder, partial(_convert, source, file))
        try:
            manifest = read_manifest(folder)
            if not _embedded(source):
                _check_origin(source, manifest, folder)
            self._check(folder, manifest, fully)
        except WeightsError as error:
            raise WeightsError(f"{error}; {_remedy(spec, source, folder)}") from error
        return folder

    def _check(self, folder: Path, manifest: Manifest, fully: bool) -> None:
        found = set(listing(folder))
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


def _packaged_file(source: WeightSource) -> Path | None:
    """The published file of converted weights, where an installed package brings it."""
    kind = kind_of(source)
    return None if kind is None else installed_file(kind)


def _convert(source: WeightSource, file: Path, folder: Path) -> None:
    pinned = None if source.revision == UNPINNED else source.revision
    convert(source.repository.removeprefix(CONVERTED), file, folder, pinned)


def _assemble(stored: Path, folder: Path) -> None:
    assemble(stored, tuple(read_manifest(stored).files), folder)
    shutil.copyfile(stored / MANIFEST, folder / MANIFEST)


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
