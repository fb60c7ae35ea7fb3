"""`admint enhance-image-prompt` and `enhance-video-prompt`: one prompt in, a richer one out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.options import (
    AsJson,
    Overwrite,
    ProfileName,
    Seed,
    ServerAddress,
    check_free,
    chosen_server,
    is_file,
    seed_or_random,
    text_of,
)

if TYPE_CHECKING:
    from pipelines.agents.conversation import Question
    from pipelines.agents.enhancers import Enhancer
    from serving.client.run import Job


Input = Annotated[str, typer.Option("--input", help="The prompt itself, or a file that holds it.")]
Output = Annotated[Path | None, typer.Option("--output", help="Text file for the result; stdout when left out.")]


def enhance_image_prompt(
    input: Input,
    output: Output = None,
    profile: ProfileName = None,
    server: ServerAddress = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Rewrite a simple prompt into a richer one for an image model."""
    _enhance("image_enhancer", input, output, profile, server, seed_or_random(seed), overwrite, as_json)


def enhance_video_prompt(
    input: Input,
    output: Output = None,
    profile: ProfileName = None,
    server: ServerAddress = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Rewrite a simple prompt into a richer one for a video model."""
    _enhance("video_enhancer", input, output, profile, server, seed_or_random(seed), overwrite, as_json)


def _enhance(
    agent: Enhancer,
    value: str,
    output: Path | None,
    profile: str | None,
    server: str | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    from pipelines.agents.enhancers import enhancement_question
    from pipelines.errors import BadInput
    from pipelines.store.artifacts import write_durably
    from serving.cli.output import NothingKept, print_result, run_to_end
    from serving.client.run import Job

    prompt = text_of(f"@{value}" if is_file(value) else value).strip()
    if not 1 <= len(prompt) <= 5000:
        raise BadInput(f"--input has {len(prompt)} characters: give a prompt of 1 to 5000")
    if output is not None:
        check_free(overwrite, output)
    address = chosen_server(server, profile)
    work = _ask(enhancement_question(agent, prompt, seed), Job(address) if address else None, profile)
    richer, notes = run_to_end(work, NothingKept())
    if output is not None:
        write_durably(output, (richer + "\n").encode())
    print_result({"prompt": richer, "output": output and str(output), "seed": seed}, notes, as_json)


async def _ask(question: Question, job: Job | None, profile: str | None) -> tuple[str, tuple[str, ...]]:
    """The richer prompt, and notes on the model."""
    from pipelines.agents.conversation import ask
    from pipelines.agents.enhancers import PromptAnswer
    from serving.cli.model_client import model_client

    async with model_client(job, profile) as client:
        return (await ask(client, question, PromptAnswer)).prompt, client.notes
