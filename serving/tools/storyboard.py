"""`admint create-storyboard`: the writing agents alone, into one JSON file that can be edited by hand."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from serving.tools.options import (
    AsJson,
    AspectRatio,
    Duration,
    FrameworkName,
    ProfileName,
    Prompt,
    RecipeName,
    References,
    Seed,
    given_only,
    seed_or_random,
    text_of,
)


def create_storyboard(
    prompt: Prompt,
    output: Annotated[Path, typer.Option("--output", help="The storyboard file to write.")],
    scenes: Annotated[int | None, typer.Option("--scenes", help="Number of scenes; else by the framework.")] = None,
    reference_images: References = None,
    recipe: RecipeName = "master",
    profile: ProfileName = None,
    seed: Seed = None,
    duration: Duration = 15,
    aspect_ratio: AspectRatio = "9:16",
    framework: FrameworkName = None,
    as_json: AsJson = False,
) -> None:
    """Write a storyboard: story and scenes, no pictures. `admint pipeline --storyboard FILE` draws it."""
    from pipelines.store.artifacts import write_durably
    from pipelines.storyboard_file import write_storyboard
    from serving.local_run import start
    from serving.order import new_run
    from serving.tools.results import print_result, run_to_end

    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        folder, order = new_run(
            output=Path(scratch) / "run",
            brief=given_only(
                prompt=text_of(prompt),
                num_scenes=scenes,
                duration=duration,
                aspect_ratio=aspect_ratio,
                framework=framework,
            ),
            coherence={},
            references=reference_images or [],
            storyboard=None,
            recipe=recipe,
            profile=profile,
            seed=seed_or_random(seed),
            stages=("story", "scenes"),
        )
        outcome = run_to_end(start(folder, order), None)
    brief = order.brief
    framework_used = brief.framework or order.recipe.framework
    if outcome.state.scenes is None:
        raise RuntimeError("the scenes stage ended without scenes")
    write_durably(output, write_storyboard(brief, framework_used, outcome.state.scenes, order.profile.fps))
    result = {"storyboard": str(output), "scenes": len(outcome.state.scenes.scenes), "seed": brief.seed}
    print_result(result, outcome.record.notes, as_json)
