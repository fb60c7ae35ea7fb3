"""Reference images named on the command line: which files, in which role, read and checked.

A role is given as `product=FILE`, or by the file's own name (`character-anna.png`), else it is `product`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from models.interfaces import EncodedImage, Reference, ReferenceRole
from pipelines.brief import MAX_REFERENCES, BriefReference, role_of
from pipelines.errors import BadInput
from pipelines.uploads import read_reference

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
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


def _files(value: str) -> list[tuple[ReferenceRole, Path]]:
    word, _, rest = value.partition("=")
    role = ROLES.get(word) if rest else None
    path = Path(rest if role else value)
    if path.is_dir():
        files = sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES)
        if not files:
            raise BadInput(f"the folder {str(path)!r} holds no JPEG, PNG or WebP image")
    elif path.is_file():
        files = [path]
    else:
        raise BadInput(f"reference image {str(path)!r} does not exist")
    return [(role or role_of(file.name), file) for file in files]


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
