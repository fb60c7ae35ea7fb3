"""A suite: the stories that every arm of a sweep is run on, with their prompts and reference images, from a file.

    stories:
      - id: teal-bottle
        references: [bottle.png, {file: label.png, weight: 0.5}]
        scenes:
          - prompt: a teal bottle in the kitchen
          - {prompt: the teal bottle on the beach, video_prompt: waves behind the teal bottle, camera: push_in}

A story with scenes needs no language model; one with a `brief` alone is written by the recipe's agents in every arm.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from models.interfaces import Plain, ReferenceRole, Unit
from models.spec import AspectRatio, CameraMove
from pipelines.brief import MAX_REFERENCES, BriefReference, Framework, role_of
from pipelines.errors import BadInput
from pipelines.storyboard_file import Storyboard, StoryboardScene, Text, read_storyboard
from pipelines.uploads import read_reference

SHORTEST_AD = 9
"""Seconds; scenes without a length of their own share at least these."""
SCENE_SECONDS = 3.0
StoryId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class SuiteScene(Plain):
    """One scene of a story."""

    prompt: Text
    """Prompt of its keyframe, at most 5,000 characters."""
    video_prompt: Text | None = None
    """Prompt of its clip; None: the same."""
    seconds: Annotated[float, Field(ge=0.5, le=10.0)] | None = None
    """Its length; None: an equal part of 9 s, or 3 s if that is more."""
    camera: CameraMove = "static"
    """Move of the camera."""
    transition_score: Annotated[float, Field(ge=0, le=100)] | None = None
    """How well the next scene follows: >= 85 crossfade, >= 70 cut, else fade; None: as the recipe says."""
    known: dict[str, Any] = Field(default_factory=dict)
    """What the scene is to show, for outcomes of one's own."""


class SuiteReference(Plain):
    """A reference image of a story."""

    png: bytes
    """The picture as this project wrote it (`pipelines.uploads.read_reference`)."""
    filename: str
    role: ReferenceRole = "product"
    weight: Unit = 1.0

    @property
    def bound(self) -> BriefReference:
        """It as a brief names it."""
        sha256 = hashlib.sha256(self.png).hexdigest()
        return BriefReference(artifact=sha256, role=self.role, filename=self.filename, weight=self.weight)


class Story(Plain):
    """One ad that every arm makes."""

    id: StoryId
    """Letters, digits, dots, dashes and underscores; unique in its suite."""
    brief: Text | None = None
    """What the ad is for; None: the prompt of its first scene."""
    scenes: Annotated[tuple[SuiteScene, ...], Field(max_length=40)] = ()
    """Its scenes; none: the recipe's agents write them from the brief."""
    storyboard: Storyboard | None = None
    """A storyboard file in place of `scenes`."""
    aspect_ratio: AspectRatio = "1:1"
    """Width to height; a storyboard has its own."""
    framework: Framework = "AIDA"
    """Names the scenes' purposes; a storyboard has its own."""
    references: Annotated[tuple[SuiteReference, ...], Field(max_length=MAX_REFERENCES)] = ()
    known: dict[str, Any] = Field(default_factory=dict)
    """What the story is about, for outcomes of one's own."""

    @model_validator(mode="after")
    def _one_source(self) -> Story:
        if self.scenes and self.storyboard is not None:
            raise ValueError("scenes and storyboard are both given: keep one of them")
        if not self.scenes and self.storyboard is None and self.brief is None:
            raise ValueError("it needs scenes, a storyboard or a brief")
        return self

    @property
    def board(self) -> Storyboard | None:
        """Its scenes as a storyboard; None where agents write them."""
        if self.storyboard is not None or not self.scenes:
            return self.storyboard
        share = max(SCENE_SECONDS, SHORTEST_AD / len(self.scenes))
        lengths = [share if scene.seconds is None else scene.seconds for scene in self.scenes]
        return Storyboard(
            prompt=self.brief or self.scenes[0].prompt,
            framework=self.framework,
            aspect_ratio=self.aspect_ratio,
            duration=round(sum(lengths)),
            scenes=tuple(
                StoryboardScene(
                    scene_number=number,
                    purpose=f"Scene {number}",
                    seconds=seconds,
                    setting=scene.prompt,
                    action=scene.prompt,
                    camera=scene.camera,
                    image_prompt=scene.prompt,
                    video_prompt=scene.video_prompt or scene.prompt,
                    transition_score=scene.transition_score,
                )
                for number, (scene, seconds) in enumerate(zip(self.scenes, lengths, strict=True), start=1)
            ),
        )


class Suite(Plain):
    """Stories, in order."""

    stories: Annotated[tuple[Story, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> Suite:
        ids = [story.id for story in self.stories]
        if twice := next((one for one in ids if ids.count(one) > 1), None):
            raise ValueError(f"story {twice!r} is there twice: give each an id of its own")
        return self


def read_suite(path: Path) -> Suite:
    """The suite in a YAML or JSON file; files that it names are beside it.

    Raises BadInput that names the file, the story and the field.
    """
    data = read_mapping(path, "suite")
    stories = data.get("stories")
    if not isinstance(stories, list) or not all(isinstance(story, dict) for story in stories):
        raise BadInput(f"suite {str(path)!r}: stories must be a list of stories, each a mapping with an id")
    read = [_with_files(path.parent, {**story}, f"suite {path.name!r}: {_name(story, at)}")
            for at, story in enumerate(stories)]  # fmt: skip
    try:
        return Suite.model_validate({**data, "stories": read})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = list(problem["loc"])
        words = []
        if len(place) >= 2 and isinstance(place[1], int):
            words, place = [_name(stories[place[1]], place[1])], place[2:]
        where = ".".join(map(str, place))
        said = problem["msg"].removeprefix("Value error, ")
        raise BadInput(f"suite {path.name!r}: {': '.join([*words, *([where] if where else [])])}: {said}") from None


def read_mapping(path: Path, word: str) -> dict[str, Any]:
    """The mapping in a YAML file. Raises BadInput."""
    try:
        data = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise BadInput(f"cannot read {word} {str(path)!r}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{word} {str(path)!r} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise BadInput(f"{word} {str(path)!r} must hold a mapping, not {type(data).__name__}")
    return data


def _name(story: dict[str, Any], at: int) -> str:
    return f"story {story['id']!r}" if isinstance(story.get("id"), str) else f"story {at + 1}"


def _with_files(folder: Path, story: dict[str, Any], where: str) -> dict[str, Any]:
    """The story with the contents of the files that it names."""
    if isinstance(board := story.get("storyboard"), str):
        story["storyboard"] = read_storyboard(_content(folder / board, f"{where}: storyboard"), board)
    references = story.get("references", [])
    if not isinstance(references, list):
        raise BadInput(f"{where}: references must be a list of files")
    story["references"] = [_reference(folder, each, f"{where}: references.{at}") for at, each in enumerate(references)]
    return story


def _reference(folder: Path, given: Any, where: str) -> dict[str, Any]:
    fields = {"file": given} if isinstance(given, str) else dict(given) if isinstance(given, dict) else {}
    if not isinstance(name := fields.pop("file", None), str):
        raise BadInput(f"{where}: name a picture, or {{file: …, role: …, weight: …}} (got {given!r})")
    png = read_reference(_content(folder / name, where), name)
    return {"role": role_of(Path(name).name), **fields, "png": png, "filename": Path(name).name}


def _content(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{where}: cannot read {str(path)!r}: {error.strerror}") from None
