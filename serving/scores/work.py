"""What is to be scored: which files, what each was asked to show, and by which dimensions."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from models.interfaces import EncodedImage, Plain, Reference
from pipelines.asked_fields import AskedFields
from pipelines.errors import BadInput
from pipelines.uploads import read_reference
from quality.protocols import IN_STANDARD, AskedProtocol, in_protocol, numbered
from quality.registry import COMPANIONS, DIMENSIONS, UNAVAILABLE, measured_on
from quality.score import Score
from serving.reference_files import SUFFIXES

VIDEO = ".mp4"
OF_FILES = {"keyframe", "clip", "video"}
"""Media that are one file."""
BESIDE = ("text_alignment", "flow_dynamics")
"""What stands beside every similarity: does it show what was asked, and does anything move?"""


class AskedOfItem(NamedTuple):
    """What an item was asked to be."""

    prompt: str | None
    style: str | None
    references: tuple[str, ...]
    """Roles and hashes of all pictures, the start's too."""
    duration: float | None
    aspect_ratio: str | None
    overlays: tuple[str, ...]


class WorkItem(AskedFields):
    """One file to be scored, as plain data: a process or a node that reads the same disk can do it."""

    path: str
    name: str
    """As its rows name it: within a folder, the path from there."""
    media: Literal["image", "video"]
    dimensions: tuple[str, ...]
    prompt: str | None = None
    references: tuple[Reference, ...] = ()
    start: EncodedImage | None = None
    """The picture that the clip was made from."""
    protocol: AskedProtocol = "auto"

    @property
    def asked(self) -> AskedOfItem:
        """What it was asked to be, to compare with another item."""
        pictures = [f"{one.role}:{one.image.sha256}" for one in self.references]
        pictures += [] if self.start is None else [f"start:{self.start.sha256}"]
        return AskedOfItem(self.prompt, self.style, tuple(sorted(pictures)), self.duration, self.aspect_ratio,
                           self.overlays)  # fmt: skip


class FileScores(Plain):
    """What came of one item."""

    scores: tuple[Score, ...] = ()
    """One per dimension of the item, in order; () when the file could not be scored."""
    reason: str | None = None
    """Why it could not be scored."""
    source_sha256: str | None = None
    """Hash of the file; None where it could not be read."""


class Asked(AskedFields):
    """What one file was asked to show and to be, as a file of prompts says it."""

    prompt: str | None = None
    start: str | None = None
    """File of the picture that the clip was made from, from the prompts file's own folder."""

    def over(self, other: Asked | None) -> Asked:
        """This, and what `other` says where this says nothing."""
        return self if other is None else other.model_copy(update=self.model_dump(exclude_defaults=True))


class Found(NamedTuple):
    """A file that is to be scored."""

    path: Path
    name: str
    media: Literal["image", "video"]
    named: bool
    """Whether it was given by itself, and not found in a folder."""
    asked: Asked | None = None
    """What it was to show and to be, where it is a generation's."""
    references: tuple[Reference, ...] = ()
    """Of its generation."""


def files_of(paths: Iterable[Path]) -> list[Found]:
    """The files themselves, and the MP4 files and pictures in folders at any depth, sorted; hidden ones are left out.

    One that is given twice, or by itself and in a folder, is there once, as it was first given. Raises BadInput.
    """
    found: dict[str, Found] = {}
    for path in paths:
        if not path.exists():
            raise BadInput(f"{str(path)!r} is not there: give MP4 files, pictures, folders or the id of a generation")
        if not path.is_dir():
            found.setdefault(os.path.abspath(path), Found(path, path.name, _media(path), named=True))
            continue
        inside = [one for one in sorted(path.rglob("*")) if one.is_file() and _is_shown(one.relative_to(path))]
        if not inside:
            raise BadInput(f"the folder {str(path)!r} has no {VIDEO} file and no JPEG, PNG, WebP, AVIF or HEIC picture")
        for one in inside:
            found.setdefault(
                os.path.abspath(one), Found(one, one.relative_to(path).as_posix(), _media(one), named=False)
            )
    return list(found.values())


def _media(path: Path) -> Literal["image", "video"]:
    return "image" if path.suffix.lower() in SUFFIXES else "video"


def named_apart(files: Sequence[Found]) -> list[Found]:
    """The files with names that differ: of those that share one, the whole path."""
    shared = {name for name, count in Counter(file.name for file in files).items() if count > 1}
    return [file._replace(name=str(file.path)) if file.name in shared else file for file in files]


def _is_shown(path: Path) -> bool:
    return path.suffix.lower() in (VIDEO, *SUFFIXES) and not any(part.startswith(".") for part in path.parts)


def work_items(
    files: Sequence[Found],
    dimensions: Collection[str],
    *,
    asked: Asked | None = None,
    prompts: Mapping[str, Asked] | None = None,
    references: tuple[Reference, ...] = (),
    protocol: AskedProtocol = "auto",
) -> list[WorkItem]:
    """One item per file. The alignment and the dynamics are always measured beside a similarity.

    `asked` is said of all files, and counts where neither `prompts` nor a generation says it of one.
    `references` stand in for those of a generation. A picture in a folder that no dimension looks at is left out; what
    is measured of several files together is kept for videos, and its score says so. Raises UnknownDimension, BadInput
    for names of `prompts` that are no file's, and for files that `standard` cannot take.
    """
    said = _of_each(files, prompts or {}, asked)
    if protocol == "standard":
        dimensions = {IN_STANDARD.get(name, name) for name in dimensions}
        said = [told.over(_of_name(file)) if told.prompt is None else told
                for file, told in zip(files, said, strict=True)]  # fmt: skip
    if not COMPANIONS.keys().isdisjoint(dimensions):
        dimensions = {*dimensions, *BESIDE}
    together = {name for name in dimensions if name in DIMENSIONS and not OF_FILES & {*DIMENSIONS[name].media}}
    of_clip = _in_order({*measured_on("clip", dimensions), *measured_on("video", dimensions), *together})
    of_still = measured_on("keyframe", dimensions)
    items = []
    for file, told in zip(files, said, strict=True):
        names = of_still if file.media == "image" else of_clip
        if not names and not file.named:
            continue
        items.append(
            WorkItem(
                path=str(file.path),
                name=file.name,
                media=file.media,
                dimensions=names,
                references=references or file.references,
                protocol=protocol,
                **_fields(told),
            )
        )
    if not items:
        raise BadInput("no file is left to score: the dimensions that were named are not measured on pictures")
    return items


def work_item(
    path: Path,
    dimensions: Sequence[str],
    named: bool,
    asked: Asked,
    references: tuple[Reference, ...],
    protocol: AskedProtocol,
) -> WorkItem:
    """One file by itself: the `dimensions` in their order, if they were `named`; else those that see such a file."""
    media = _media(path)
    if protocol == "standard" and media == "video":
        dimensions = in_protocol(dimensions, protocol)
        found = numbered(path.name)
        asked = asked if found is None else asked.over(Asked(prompt=found[0]))
    if media == "image":
        seeing = measured_on("keyframe", dimensions)
    else:
        seeing = (*measured_on("clip", dimensions), *measured_on("video", dimensions))
    kept = tuple(name for name in dimensions if name in seeing or (named and media == "video"))
    return WorkItem(path=str(path), name=path.name, media=media, dimensions=kept, references=references,
                    protocol=protocol, **_fields(asked))  # fmt: skip


def _fields(asked: Asked) -> dict[str, Any]:
    """Those of an item. Raises BadInput for a start that is no picture."""
    return {**dict(asked), "start": _start(asked)}


def _in_order(names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in (*DIMENSIONS, *UNAVAILABLE) if name in names)


def _of_each(files: Sequence[Found], prompts: Mapping[str, Asked], common: Asked | None) -> list[Asked]:
    """What each file was asked to show. Raises BadInput for a name that fits no file, or several, or another's."""
    found = [(file.asked or Asked()).over(common) for file in files]
    named: dict[int, str] = {}
    for name, asked in prompts.items():
        own = [number for number, file in enumerate(files) if name == file.name] or [
            number for number, file in enumerate(files) if name in (file.path.name, file.path.stem, str(file.path))
        ]
        if not own:
            raise BadInput(f"the prompts name {name!r}, and no such file is scored: correct the name, or leave it out")
        if len(own) > 1:
            raise BadInput(f"the prompts name {name!r}, which {len(own)} files are called: name it with its folder")
        if (other := named.setdefault(own[0], name)) != name:
            raise BadInput(f"the prompts name {other!r} and {name!r}, which are one file: leave one out")
        found[own[0]] = asked.over(found[own[0]])
    return found


def _of_name(file: Found) -> Asked | None:
    if file.media == "image":
        return None
    if (found := numbered(file.name)) is None:
        raise BadInput(f"{file.name!r} is not named '<prompt>-<k>{VIDEO}', as the standard protocol wants: rename it, "
                       "give --prompts, or use another --protocol")  # fmt: skip
    return Asked(prompt=found[0])


def _start(asked: Asked) -> EncodedImage | None:
    if asked.start is None:
        return None
    return EncodedImage(data=read_reference(_read(Path(asked.start), "picture"), asked.start))


def read_prompts(file: Path) -> dict[str, Asked]:
    """File name -> prompt, from JSON (`{"a.mp4": "a teal bottle"}`, or an object with the fields of `Asked`
    in place of the text) or CSV (columns `file`, `prompt`, and these). Raises BadInput naming what is wrong."""
    text = _read(file, "prompts file").decode("utf-8-sig", errors="replace")
    known: dict[str, Asked] = {}
    for name, given in _entries(text, file):
        if name in known:
            raise BadInput(f"{str(file)!r} names {name!r} twice: leave one out")
        asked = asked_of({"prompt": given} if isinstance(given, str) else given, f"{str(file)!r}, {name!r}: {{}}")
        if asked == Asked() or not (asked.prompt is None or asked.prompt.strip()):
            raise BadInput(f"{str(file)!r} has no prompt for {name!r}: write one, or leave the file out")
        known[name] = asked if asked.start is None else asked.model_copy(
            update={"start": str(file.parent / asked.start)}
        )  # fmt: skip
    return known


def asked_of(given: Any, called: str = "{}", spelt: Callable[[str], str] = str) -> Asked:
    """`given` as fields of `Asked`; None is not given. Raises BadInput that names a field as `called` and `spelt`."""
    try:
        said = {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given
        return Asked.model_validate(said)
    except ValidationError as error:
        where = error.errors(include_url=False)[0]
        own = where["type"] == "value_error"
        text = where["msg"].removeprefix("Value error, ") if own else f"{where['msg']} (got {where['input']!r})"
        raise BadInput(f"{called.format(spelt(str((*where['loc'], 'entry')[0])))}: {text}") from None


def _entries(text: str, file: Path) -> Iterable[tuple[str, Any]]:
    if file.suffix.lower() == ".csv":
        reader = csv.DictReader(io.StringIO(text))
        if not {"file", "prompt"} <= set(reader.fieldnames or ()):
            raise BadInput(f"{str(file)!r} needs the columns 'file' and 'prompt' in its first line")
        return [(row["file"], {name: value for name, value in row.items() if name != "file" and value})
                for row in reader]  # fmt: skip
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{str(file)!r} is no JSON ({error}): write {{file: prompt}}, or name it .csv") from None
    if not isinstance(found, dict):
        raise BadInput(f"{str(file)!r} is no JSON object: write {{file: prompt}}")
    return list(found.items())


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the {what} {str(file)!r}: {error.strerror}") from None
