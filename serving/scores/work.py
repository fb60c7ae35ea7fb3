"""What is to be scored: which files, what each was asked to show, and by which dimensions."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from models.interfaces import EncodedImage, Plain, Reference
from pipelines.errors import BadInput
from pipelines.uploads import read_reference
from quality.protocols import IN_STANDARD, AskedProtocol
from quality.registry import COMPANIONS, DIMENSIONS, UNAVAILABLE, measured_on
from quality.score import Score
from serving.reference_files import SUFFIXES

VIDEO = ".mp4"
OF_FILES = {"keyframe", "clip", "video"}
"""Media that are one file."""
BESIDE = ("text_alignment", "flow_dynamics")
"""What stands beside every similarity: does it show what was asked, and does anything move?"""
NUMBERED = re.compile(r"(.+)-(\d+)")
"""VBench's names of files: the prompt, and the number of the sample."""


class AskedOfItem(NamedTuple):
    """What an item was asked to be."""

    prompt: str | None
    style: str | None
    references: tuple[str, ...]
    """Roles and hashes of all pictures, the start's too."""
    seconds: float | None
    ratio: tuple[int, int] | None


class WorkItem(Plain):
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
    style: str | None = None
    """The look that was asked for, in words."""
    seconds: float | None = None
    """The length that was asked for."""
    ratio: tuple[int, int] | None = None
    """Width to height, as asked for: (9, 16)."""
    protocol: AskedProtocol = "auto"

    @property
    def asked(self) -> AskedOfItem:
        """What it was asked to be, to compare with another item."""
        pictures = [f"{one.role}:{one.image.sha256}" for one in self.references]
        pictures += [] if self.start is None else [f"start:{self.start.sha256}"]
        return AskedOfItem(self.prompt, self.style, tuple(sorted(pictures)), self.seconds, self.ratio)


class FileScores(Plain):
    """What came of one item."""

    scores: tuple[Score, ...] = ()
    """One per dimension of the item, in order; () when the file could not be scored."""
    reason: str | None = None
    """Why it could not be scored."""
    source_sha256: str | None = None
    """Hash of the file; None where it could not be read."""


class Asked(Plain):
    """What one file was asked to show, as a file of prompts says it."""

    prompt: str
    start: str | None = None
    """File of the picture that the clip was made from, from the prompts file's own folder."""
    style: str | None = None


class Found(NamedTuple):
    """A file that is to be scored."""

    path: Path
    name: str
    media: Literal["image", "video"]
    named: bool
    """Whether it was given by itself, and not found in a folder."""
    asked: Asked | None = None
    """What it was to show, where it is a generation's."""
    seconds: float | None = None
    """The length that the generation was to have, of its finished video."""
    ratio: tuple[int, int] | None = None
    """Width to height that its generation was to have."""
    references: tuple[Reference, ...] = ()
    """Of its generation."""


def files_of(paths: Iterable[Path]) -> list[Found]:
    """The files themselves, and the MP4 files and pictures in folders at any depth, sorted; hidden ones are left out.

    Raises BadInput.
    """
    found: dict[Path, Found] = {}
    for path in paths:
        if not path.exists():
            raise BadInput(f"{str(path)!r} is not there: give MP4 files, pictures, folders or the id of a generation")
        if not path.is_dir():
            found.setdefault(path, Found(path, path.name, _media(path), named=True))
            continue
        inside = [one for one in sorted(path.rglob("*")) if one.is_file() and _is_shown(one.relative_to(path))]
        if not inside:
            raise BadInput(f"the folder {str(path)!r} has no {VIDEO} file and no JPEG, PNG, WebP, AVIF or HEIC picture")
        for one in inside:
            found.setdefault(one, Found(one, one.relative_to(path).as_posix(), _media(one), named=False))
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
    prompt: str | None = None,
    prompts: Mapping[str, Asked] | None = None,
    references: tuple[Reference, ...] = (),
    protocol: AskedProtocol = "auto",
) -> list[WorkItem]:
    """One item per file. The alignment and the dynamics are always measured beside a similarity.

    `references` stand in for those of a generation. A picture in a folder that no dimension looks at is left out; what
    is measured of several files together is kept for videos, and its score says so. Raises UnknownDimension, BadInput
    for names of `prompts` that are no file's, and for files that `standard` cannot take.
    """
    asked = _by_file(files, prompts or {}, prompt)
    if protocol == "standard":
        dimensions = {IN_STANDARD.get(name, name) for name in dimensions}
        asked = {file.path: asked[file.path] or _of_name(file) for file in files}
    if not COMPANIONS.keys().isdisjoint(dimensions):
        dimensions = {*dimensions, *BESIDE}
    together = {name for name in dimensions if name in DIMENSIONS and not OF_FILES & {*DIMENSIONS[name].media}}
    of_clip = _in_order({*measured_on("clip", dimensions), *measured_on("video", dimensions), *together})
    of_still = measured_on("keyframe", dimensions)
    items = []
    for file in files:
        names = of_still if file.media == "image" else of_clip
        if not names and not file.named:
            continue
        told = asked[file.path]
        items.append(
            WorkItem(
                path=str(file.path),
                name=file.name,
                media=file.media,
                dimensions=names,
                prompt=None if told is None else told.prompt,
                references=references or file.references,
                start=_start(told),
                style=None if told is None else told.style,
                seconds=file.seconds,
                ratio=file.ratio,
                protocol=protocol,
            )
        )
    if not items:
        raise BadInput("no file is left to score: the dimensions that were named are not measured on pictures")
    return items


def work_item(
    path: Path,
    dimensions: Sequence[str],
    named: bool,
    prompt: str | None,
    references: tuple[Reference, ...],
    protocol: AskedProtocol,
) -> WorkItem:
    """One file by itself: the `dimensions` in their order, if they were `named`; else those that see such a file."""
    media = _media(path)
    if protocol == "standard" and media == "video":
        dimensions = tuple(dict.fromkeys(IN_STANDARD.get(name, name) for name in dimensions))
        found = numbered(path.name)
        prompt = found[0] if prompt is None and found is not None else prompt
    if media == "image":
        seeing = measured_on("keyframe", dimensions)
    else:
        seeing = (*measured_on("clip", dimensions), *measured_on("video", dimensions))
    kept = tuple(name for name in dimensions if name in seeing or (named and media == "video"))
    return WorkItem(path=str(path), name=path.name, media=media, dimensions=kept, prompt=prompt,
                    references=references, protocol=protocol)  # fmt: skip


def _in_order(names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in (*DIMENSIONS, *UNAVAILABLE) if name in names)


def _by_file(files: Sequence[Found], prompts: Mapping[str, Asked], prompt: str | None) -> dict[Path, Asked | None]:
    """What each file was asked to show. Raises BadInput for a name that fits no file, or several."""
    common = None if prompt is None else Asked(prompt=prompt)
    found: dict[Path, Asked | None] = {file.path: file.asked or common for file in files}
    for name, asked in prompts.items():
        own = [file for file in files if name == file.name] or [
            file for file in files if name in (file.path.name, file.path.stem, str(file.path))
        ]
        if not own:
            raise BadInput(f"the prompts name {name!r}, and no such file is scored: correct the name, or leave it out")
        if len(own) > 1:
            raise BadInput(f"the prompts name {name!r}, which {len(own)} files are called: name it with its folder")
        found[own[0].path] = asked
    return found


def numbered(name: str) -> tuple[str, int] | None:
    """Prompt and number of a file that is named as VBench names them; None for another."""
    match = NUMBERED.fullmatch(Path(name).stem)
    return None if match is None else (match[1], int(match[2]))


def _of_name(file: Found) -> Asked | None:
    if file.media == "image":
        return None
    if (found := numbered(file.name)) is None:
        raise BadInput(f"{file.name!r} is not named '<prompt>-<k>{VIDEO}', as the standard protocol wants: rename it, "
                       "give --prompts, or use another --protocol")  # fmt: skip
    return Asked(prompt=found[0])


def _start(asked: Asked | None) -> EncodedImage | None:
    if asked is None or asked.start is None:
        return None
    return EncodedImage(data=read_reference(_read(Path(asked.start), "picture"), asked.start))


def read_prompts(file: Path) -> dict[str, Asked]:
    """File name -> prompt, from JSON (`{"a.mp4": "a teal bottle"}`, or an object with `prompt`, `start` and `style` in
    place of the text) or CSV (columns `file`, `prompt`, and these). Raises BadInput naming what is wrong."""
    text = _read(file, "prompts file").decode("utf-8-sig", errors="replace")
    known: dict[str, Asked] = {}
    for name, given in _entries(text, file):
        if name in known:
            raise BadInput(f"{str(file)!r} names {name!r} twice: leave one out")
        try:
            asked = Asked.model_validate({"prompt": given} if isinstance(given, str) else given)
        except ValidationError as error:
            where = error.errors()[0]
            field = where["loc"][0] if where["loc"] else "entry"
            raise BadInput(f"{str(file)!r}, {name!r}: {field}: {where['msg']}") from None
        if not asked.prompt.strip():
            raise BadInput(f"{str(file)!r} has no prompt for {name!r}: write one, or leave the file out")
        known[name] = asked if asked.start is None else asked.model_copy(
            update={"start": str(file.parent / asked.start)}
        )  # fmt: skip
    return known


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
