"""A file of video prompts: what `generate-videos --prompts` reads. A storyboard file is one too.

Accepts a JSON list of strings, a list of objects, or an object with `prompts` or `scenes`. Pure: bytes in, data out.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AliasChoices, ConfigDict, Field, StringConstraints, ValidationError

from models.interfaces import Plain
from models.spec import CameraMove
from pipelines.errors import BadInput, first_problem

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
    """Raises BadInput naming the file, the number of the prompt and the field."""
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
