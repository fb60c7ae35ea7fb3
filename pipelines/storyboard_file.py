"""Files that people write or edit: a storyboard (`create-storyboard`, `pipeline --storyboard`), and prompts of clips.

A problem is reported with the field and the number of its scene or prompt. Pure: bytes in and out.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AliasChoices, ConfigDict, Field, StringConstraints, ValidationError

from models.interfaces import Plain
from models.spec import AspectRatio, CameraMove
from pipelines.brief import Brief, Framework, FrameworkName
from pipelines.errors import BadInput, first_problem
from pipelines.screenplay import Cohesion, PairAnalysis, Scene, SceneDraft, ScenesResult

FORMAT = "admint-storyboard/1"
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)]
Handle = Annotated[str, StringConstraints(max_length=200)]


class StoryboardScene(Plain):
    """One scene of a storyboard file."""

    scene_number: Annotated[int, Field(ge=1)]
    """Counts from 1 without a gap."""
    purpose: Text
    """Stage of the framework: Attention, Problem, Before, …, Action."""
    seconds: Annotated[float, Field(ge=0.5, le=10.0)]
    """Its length, 0.5 to 10; all scenes together are the duration."""
    setting: Text
    """Where and when it plays."""
    action: Text
    """What happens."""
    camera: CameraMove
    """Move of the camera."""
    entities: Annotated[tuple[Handle, ...], Field(max_length=20)] = ()
    """Handles of who and what it shows."""
    image_prompt: Text
    """Prompt of its keyframe, at most 5,000 characters."""
    video_prompt: Text
    """Prompt of its clip, at most 5,000 characters."""
    transition_score: Annotated[float, Field(ge=0, le=100)] | None = None
    """Cohesor's score of the transition to the next scene: >= 85 crossfade, >= 70 cut, else fade."""


class Storyboard(Plain):
    """Finished scenes as a file: written by one run, read by another."""

    format: Annotated[str, StringConstraints(max_length=100)] = FORMAT
    """Always `admint-storyboard/1`."""
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=5000)]
    """What the ad is for, at most 5,000 characters."""
    title: Annotated[str, StringConstraints(max_length=200)] | None = None
    """A working title; null: none."""
    framework: FrameworkName
    """`AIDA`, `PAS` or `BAB`: the order in which the ad argues."""
    aspect_ratio: AspectRatio
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    duration: Annotated[int, Field(ge=9, le=60)]
    """Seconds of the finished video, 9 to 60."""
    scenes: Annotated[tuple[StoryboardScene, ...], Field(min_length=1, max_length=40)]
    """1 to 40 scenes."""


def write_storyboard(brief: Brief, framework: Framework, result: ScenesResult, fps: int) -> bytes:
    """The file for finished scenes."""
    pairs = result.cohesion.pair_wise_analysis if result.cohesion else ()
    scores = {pair.from_scene: pair.transition_score for pair in pairs}
    scenes = tuple(
        StoryboardScene(
            scene_number=scene.scene_number,
            purpose=scene.purpose,
            seconds=round(scene.frames / fps, 4),
            setting=scene.draft.setting,
            action=scene.draft.action,
            camera=scene.draft.camera,
            entities=scene.draft.entities,
            image_prompt=scene.image_prompt,
            video_prompt=scene.video_prompt,
            transition_score=scores.get(scene.scene_number),
        )
        for scene in result.scenes
    )
    board = Storyboard(
        prompt=brief.prompt,
        title=brief.title,
        framework=framework,
        aspect_ratio=brief.aspect_ratio,
        duration=brief.duration,
        scenes=scenes,
    )
    return (json.dumps(board.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def read_storyboard(data: bytes, name: str) -> Storyboard:
    """The storyboard in a file called `name`. Raises BadInput naming the file, the scene and the field."""
    try:
        content: Any = json.loads(data)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadInput(f"storyboard {name!r} is not valid JSON: {error}") from None
    try:
        board = Storyboard.model_validate(content)
    except ValidationError as error:
        raise BadInput(f"storyboard {name!r}: {_where(error)}") from None
    return board


def storyboard_scenes(board: Storyboard, fps: int) -> ScenesResult:
    """The scenes of `board` at `fps`.

    Raises BadInput for another format, for scenes that do not count from 1, and unless the seconds of the scenes add up
    to the duration, in frames.
    """
    if board.format != FORMAT:
        raise BadInput(f"format is {board.format!r}, this version reads {FORMAT!r}", "storyboard")
    for position, scene in enumerate(board.scenes, start=1):
        if scene.scene_number != position:
            raise BadInput(f"scene {position}: scene_number is {scene.scene_number}, must be {position}", "storyboard")
    frames = [round(scene.seconds * fps) for scene in board.scenes]
    if sum(frames) != board.duration * fps:
        raise BadInput(
            f"the scenes last {sum(frames) / fps:.2f} s together, but duration is {board.duration} s: change the "
            "seconds of a scene or the duration",
            "storyboard",
        )
    scenes = tuple(_scene(scene, count) for scene, count in zip(board.scenes, frames, strict=True))
    return ScenesResult(scenes=scenes, cohesion=_cohesion(board), cohesion_rounds=0)


def _scene(scene: StoryboardScene, frames: int) -> Scene:
    draft = SceneDraft(setting=scene.setting, action=scene.action, camera=scene.camera, entities=scene.entities)
    return Scene(
        scene_number=scene.scene_number,
        purpose=scene.purpose,
        frames=frames,
        draft=draft,
        image_prompt=scene.image_prompt,
        video_prompt=scene.video_prompt,
        content=f"{scene.setting}. {scene.action}",
        iterations=0,
        approved=True,
        critique=None,
    )


def _cohesion(board: Storyboard) -> Cohesion | None:
    pairs = tuple(
        PairAnalysis(
            from_scene=scene.scene_number,
            to_scene=scene.scene_number + 1,
            transition_score=scene.transition_score,
            issues=(),
            recommendations=(),
        )
        for scene in board.scenes[:-1]
        if scene.transition_score is not None
    )
    if not pairs:
        return None
    return Cohesion(
        overall_cohesion_score=round(sum(pair.transition_score for pair in pairs) / len(pairs), 2),
        pair_wise_analysis=pairs,
        global_issues=(),
        scene_specific_feedback={},
        consistency_issues=(),
        overall_recommendations=(),
    )


def _where(error: ValidationError) -> str:
    """`scene 3: camera: Input should be …`, counting scenes from 1 as the file's reader does."""
    problem = error.errors(include_url=False)[0]
    place = list(problem["loc"])
    words = []
    if len(place) >= 2 and place[0] == "scenes" and isinstance(place[1], int):
        words.append(f"scene {place[1] + 1}")
        place = place[2:]
    words.extend(str(part) for part in place)
    return f"{': '.join(words) or 'the whole'}: {problem['msg']} (got {str(problem['input'])[:80]!r})"


MAX_PROMPTS = 40


class VideoPrompt(Plain):
    """One clip to make."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # scenes of a storyboard carry more than this

    prompt: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=5000),
        Field(validation_alias=AliasChoices("prompt", "video_prompt")),
    ]
    image_prompt: str | None = None
    """Prompt of the keyframe; the video prompt when left out."""
    seconds: Annotated[float, Field(gt=0.0, le=10.0)] = 3.0
    camera: CameraMove = "static"


def read_prompts(data: bytes, name: str) -> tuple[VideoPrompt, ...]:
    """The prompts in a file called `name`. Raises BadInput naming the file, the number of the prompt and the field."""
    try:
        content: Any = json.loads(data)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadInput(f"prompts file {name!r} is not valid JSON: {error}") from None
    if isinstance(content, dict):
        content = content.get("prompts", content.get("scenes"))
    if not isinstance(content, list) or not 1 <= len(content) <= MAX_PROMPTS:
        raise BadInput(
            f"prompts file {name!r} must hold 1 to {MAX_PROMPTS} prompts: a JSON list of strings or objects, "
            "or an object with 'prompts' or 'scenes'"
        )
    return tuple(_prompt(item, number, name) for number, item in enumerate(content, start=1))


def _prompt(item: Any, number: int, name: str) -> VideoPrompt:
    try:
        return VideoPrompt.model_validate({"prompt": item} if isinstance(item, str) else item)
    except ValidationError as error:
        raise BadInput(f"prompts file {name!r}: prompt {number}: {first_problem(error)}") from None
