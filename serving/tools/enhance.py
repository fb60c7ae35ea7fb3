"""`admint enhance-image-prompt` and `enhance-video-prompt`: one prompt in, a richer one out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.tools.options import AsJson, ProfileName, Seed, seed_or_random, text_of

if TYPE_CHECKING:
    from pipelines.agents.conversation import Question

Input = Annotated[str, typer.Option("--input", help="The prompt itself, or a file that holds it.")]
Output = Annotated[Path | None, typer.Option("--output", help="Text file for the result; stdout when left out.")]


def enhance_image_prompt(
    input: Input, output: Output = None, profile: ProfileName = None, seed: Seed = None, as_json: AsJson = False
) -> None:
    """Rewrite a simple prompt into a richer one for an image model."""
    from pipelines.agents.image_enhancer import image_enhancement_question

    _enhance(image_enhancement_question, input, output, profile, seed_or_random(seed), as_json)


def enhance_video_prompt(
    input: Input, output: Output = None, profile: ProfileName = None, seed: Seed = None, as_json: AsJson = False
) -> None:
    """Rewrite a simple prompt into a richer one for a video model."""
    from pipelines.agents.video_enhancer import video_enhancement_question

    _enhance(video_enhancement_question, input, output, profile, seed_or_random(seed), as_json)


def _enhance(
    question: Callable[[str, int], Question],
    value: str,
    output: Path | None,
    profile: str | None,
    seed: int,
    as_json: bool,
) -> None:
    from configs.settings import Settings, load_profile
    from pipelines.agents.conversation import ask
    from pipelines.agents.image_enhancer import PromptAnswer
    from pipelines.errors import BadInput
    from pipelines.store.artifacts import write_durably
    from serving.tools.results import print_result, run_to_end
    from serving.tools.tool_desk import tool_desk

    prompt = text_of(f"@{value}" if _is_file(value) else value).strip()
    if not 1 <= len(prompt) <= 5000:
        raise BadInput(f"--input has {len(prompt)} characters: give a prompt of 1 to 5000")
    with tool_desk(load_profile(profile or Settings().profile)) as desk:
        answer = run_to_end(ask(desk, question(prompt, seed), PromptAnswer), None)
        notes = desk.notes
    if output is not None:
        write_durably(output, (answer.prompt + "\n").encode())
    print_result({"prompt": answer.prompt, "output": output and str(output), "seed": seed}, notes, as_json)


def _is_file(value: str) -> bool:
    try:
        return Path(value).is_file()
    except OSError:  # a long prompt is no valid file name
        return False
