"""A prompt suite: what the clips of a benchmark are to show, and what their files are called.

Plain text with a prompt on each line, as VBench's `prompts/*.txt`, or VBench's `VBench_full_info.json`, which also says
by which of its dimensions the clips of a prompt are measured. A second file of text, line by line, has what the models
are asked in place of the prompts (VBench's `*_longer.txt`); the scores compare with the prompts themselves.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from models.interfaces import Plain
from models.spec import AspectRatio
from pipelines.errors import BadInput, first_problem
from pipelines.lab.suite import Story, Suite, SuiteScene
from pipelines.storyboard_file import Text

LONGEST_NAME = 240
"""Bytes of a file's name at most; file systems end at 255."""
NOT_IN_A_NAME = re.compile(r"[/\x00-\x1f\x7f]")


class SuitePrompt(Plain):
    """One prompt of a suite."""

    text: Text
    """What the clips are to show, 1 to 5,000 characters: names their files, and is what scores compare with."""
    extended: Text | None = None
    """What the models are asked in its place; None: the text itself."""
    dimensions: tuple[str, ...] | None = None
    """VBench's words for the dimensions of VBench that the clips are measured by; None: all."""
    style: str | None = None
    """The look that it asks for, in words, for VBench's `appearance_style`."""

    @property
    def id(self) -> str:
        """It as a story's id. Follows from the text alone, and so does the noise of its clips."""
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.text)[:60].strip("-")
        return f"{_short_hash(self.text)}-{words}".strip("-")

    def file_name(self, sample: int, ending: str) -> str:
        """`<prompt>-<sample><ending>` as VBench names its clips.

        A prompt that cannot be a file's name (a slash, a control character, a dot in front, too long) is changed there
        and cut, and ends with a part of its hash, so that no two prompts have one name.
        """
        last = f"-{sample}{ending}"
        name = self.text + last
        if not (NOT_IN_A_NAME.search(name) or name.startswith(".") or len(name.encode()) > LONGEST_NAME):
            return name
        last = f"~{_short_hash(self.text)}{last}"
        kept = NOT_IN_A_NAME.sub("_", self.text.lstrip(".")).encode()[: LONGEST_NAME - len(last.encode())]
        return kept.decode(errors="ignore") + last


class PromptSuite(Plain):
    """Prompts, each once, in order."""

    file: str
    """Name of the file that they are from."""
    sha256: str
    """Of that file."""
    prompts: Annotated[tuple[SuitePrompt, ...], Field(min_length=1)]
    extension_sha256: str | None = None
    """Of the file of extended prompts; None: the models are asked the prompts themselves."""
    notes: tuple[str, ...] = ()
    """What of the file was not taken as it stands."""

    def stories(self, aspect_ratio: AspectRatio) -> Suite:
        """Each prompt as a story of one scene."""
        return Suite(
            stories=tuple(
                Story(
                    id=prompt.id,
                    aspect_ratio=aspect_ratio,
                    scenes=(SuiteScene(prompt=prompt.extended or prompt.text),),
                )
                for prompt in self.prompts
            )
        )


def read_prompt_suite(path: Path, extended: Path | None = None) -> PromptSuite:
    """The prompts in a file, those that are there twice once. Raises BadInput that names the file and the place."""
    data = _content(path, "prompts file")
    given = _of_vbench(path, data) if path.suffix.lower() == ".json" else _of_lines(path, data)
    longer = None if extended is None else _content(extended, "file of extended prompts")
    if extended is not None and longer is not None:
        given = _with_extended(given, path, extended, longer)
    merged: dict[str, SuitePrompt] = {}
    for prompt in given:
        merged[prompt.text] = _merged(merged.get(prompt.text), prompt)
    twice = [text for text, times in Counter(prompt.text for prompt in given).items() if times > 1]
    notes = [f"{path.name!r} has {text!r} more than once: its clips are made once" for text in twice]
    prompts = tuple(merged.values())
    notes += [
        f"{prompt.text[:60]!r}… cannot be the name of a file: its clips are called {prompt.file_name(0, '.mp4')!r}"
        for prompt in prompts
        if not prompt.file_name(0, ".mp4").startswith(prompt.text)
    ]
    return PromptSuite(
        file=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        prompts=prompts,
        extension_sha256=None if longer is None else hashlib.sha256(longer).hexdigest(),
        notes=tuple(notes),
    )


class _VBenchPrompt(Plain):
    """An entry of `VBench_full_info.json`."""

    model_config = ConfigDict(extra="ignore")

    prompt_en: Text
    dimension: Annotated[tuple[str, ...], Field(min_length=1)]
    auxiliary_info: dict[str, Any] = Field(default_factory=dict)

    @property
    def style(self) -> str | None:
        style = self.auxiliary_info.get("appearance_style")
        found = style.get("appearance_style") if isinstance(style, dict) else style
        return found if isinstance(found, str) else None


def _of_vbench(path: Path, data: bytes) -> list[SuitePrompt]:
    try:
        entries = TypeAdapter(list[_VBenchPrompt]).validate_json(data)
    except ValidationError as error:
        raise BadInput(
            f"prompts file {str(path)!r} is no list of prompts as VBench_full_info.json ({first_problem(error)}): "
            'write [{"prompt_en": …, "dimension": […]}, …], or plain text with a prompt on each line as .txt'
        ) from None
    if not entries:
        raise BadInput(f"prompts file {str(path)!r} has no prompt: write at least one")
    return [SuitePrompt(text=one.prompt_en, dimensions=one.dimension, style=one.style) for one in entries]


def _of_lines(path: Path, data: bytes) -> list[SuitePrompt]:
    lines = [(number, line) for number, line in enumerate(_lines(path, data), start=1) if line]
    if not lines:
        raise BadInput(f"prompts file {str(path)!r} has no prompt: write one on each line")
    found = []
    for number, line in lines:
        try:
            found.append(SuitePrompt(text=line))
        except ValidationError as error:
            raise BadInput(f"prompts file {str(path)!r}, line {number}: {first_problem(error)}") from None
    return found


def _with_extended(given: list[SuitePrompt], path: Path, extended: Path, longer: bytes) -> list[SuitePrompt]:
    lines = [line for line in _lines(extended, longer) if line]
    if len(lines) != len(given):
        raise BadInput(
            f"{str(extended)!r} has {len(lines)} extended prompts for the {len(given)} of {str(path)!r}: write one on "
            "each line, in the same order"
        )
    return [one.model_copy(update={"extended": line}) for one, line in zip(given, lines, strict=True)]


def _merged(first: SuitePrompt | None, again: SuitePrompt) -> SuitePrompt:
    """A prompt that is there twice, measured by the dimensions of both."""
    if first is None or first.dimensions is None or again.dimensions is None:
        return first or again
    both = tuple(dict.fromkeys((*first.dimensions, *again.dimensions)))
    return first.model_copy(update={"dimensions": both, "style": first.style or again.style})


def _lines(path: Path, data: bytes) -> list[str]:
    try:
        return [line.strip() for line in data.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise BadInput(f"{str(path)!r} is no text in UTF-8: write a prompt on each line") from None


def _content(path: Path, word: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the {word} {str(path)!r}: {error.strerror}") from None


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
