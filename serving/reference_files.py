"""Reference images named on the command line: which files, in which role, read and checked.

A role is given as `product=FILE`, or by the file's own name (`character-anna.png`), else it is `product`. A folder may
come from a phone or a Mac: what a system left in it is passed over, and pictures that cannot be read are named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from models.interfaces import EncodedImage, Reference, ReferenceRole
from pipelines.brief import MAX_REFERENCES, BriefReference, role_of
from pipelines.errors import BadInput
from pipelines.uploads import kind_of, read_reference, reads_heic

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".webp", ".avif", ".heic", ".heif", ".hif",
)  # fmt: skip
OTHER_SUFFIXES = (
    ".gif", ".bmp", ".dib", ".tif", ".tiff", ".svg", ".psd", ".ai", ".eps", ".pdf", ".ico", ".icns", ".jxl", ".jp2",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw",
)  # fmt: skip
"""Of pictures that are not read here."""
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
"""What systems leave in folders, beside all that begins with a dot (`._product.png`, `.DS_Store`)."""
HEIC_HELP = "HEIC: pip install 'admint[heic]', or convert it to JPEG"
ROLES: dict[str, ReferenceRole] = {"character": "character", "product": "product", "style": "style"}


@dataclass(frozen=True)
class ReferenceFile:
    """One checked reference: its PNG bytes and how the brief names it."""

    original: bytes
    """The file as it is: a server checks and re-encodes it itself."""
    png: bytes
    reference: BriefReference


def read_references(values: list[str]) -> tuple[ReferenceFile, ...]:
    """Check and re-encode the named images. Raises BadInput naming the file and the remedy."""
    named = [pair for value in values for pair in _files(value)]
    if len(named) > MAX_REFERENCES:
        raise BadInput(f"{len(named)} reference images are given, at most {MAX_REFERENCES} are used: leave some out")
    return tuple(_read(role, path) for role, path in named)


def skipped_pictures(values: list[str]) -> tuple[str, ...]:
    """One note for each folder of `values` in which there are pictures that are not used, naming them."""
    notes = []
    for value in values:
        _, path = _named(value)
        if path.is_dir() and (skipped := _sorted_out(path)[1]):
            notes.append(f"not used of the folder {str(path)!r}: {', '.join(skipped)}")
    return tuple(notes)


def _files(value: str) -> list[tuple[ReferenceRole, Path]]:
    role, path = _named(value)
    if path.is_dir():
        files, skipped = _sorted_out(path)
        if not files:
            there = f", only {', '.join(skipped)}" if skipped else ""
            raise BadInput(f"the folder {str(path)!r} holds no JPEG, PNG, WebP, AVIF or HEIC image{there}")
    elif path.is_file():
        files = [path]
    else:
        raise BadInput(f"reference image {str(path)!r} does not exist")
    return [(role or role_of(file.name), file) for file in files]


def _named(value: str) -> tuple[ReferenceRole | None, Path]:
    word, _, rest = value.partition("=")
    role = ROLES.get(word) if rest else None
    return role, Path(rest if role else value)


def _sorted_out(folder: Path) -> tuple[list[Path], list[str]]:
    """The pictures of a folder that are used, and the names of those that are not, with the reason."""
    files: list[Path] = []
    skipped: list[str] = []
    for child in sorted(folder.iterdir()):
        if child.name.startswith(".") or child.name.lower() in SYSTEM_FILES or not child.is_file():
            continue
        suffix = child.suffix.lower()
        kind = _kind(child) if suffix in ("", *SUFFIXES) else None
        if kind == "HEIF" and not reads_heic():
            skipped.append(f"{child.name!r} ({HEIC_HELP})")
        elif kind is not None or suffix in SUFFIXES:
            files.append(child)  # one that is no picture is refused by its name
        elif suffix in OTHER_SUFFIXES:
            skipped.append(f"{child.name!r} (convert it to PNG or JPEG)")
    return files, skipped


def _kind(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return kind_of(file.read(32))
    except OSError:
        return None


def _read(role: ReferenceRole, path: Path) -> ReferenceFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read reference image {str(path)!r}: {error.strerror}") from None
    png = read_reference(data, path.name)
    reference = BriefReference(artifact=hashlib.sha256(png).hexdigest(), role=role, filename=path.name)
    return ReferenceFile(original=data, png=png, reference=reference)


def bound_references(values: list[str]) -> tuple[Reference, ...]:
    """The named images as a model takes them. Raises BadInput."""
    return tuple(
        Reference(image=EncodedImage(data=file.png), role=file.reference.role, weight=file.reference.weight)
        for file in read_references(values)
    )
