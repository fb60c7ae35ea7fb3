"""`admint create-storyboard`: the writing agents alone, into one JSON file that can be edited by hand."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    ServerAddress,
    chosen_server,
    given_only,
    seed_or_random,
    text_of,
)

if TYPE_CHECKING:
    from pipelines.report.record import RunRecord


def create_storyboard(
    prompt: Prompt,
    output: Annotated[Path, typer.Option("--output", help="The storyboard file to write.")],
    scenes: Annotated[int | None, typer.Option("--scenes", help="Number of scenes; else by the framework.")] = None,
    reference_images: References = None,
    recipe: RecipeName = "master",
    profile: ProfileName = None,
    server: ServerAddress = None,
    seed: Seed = None,
    duration: Duration = 15,
    aspect_ratio: AspectRatio = "9:16",
    framework: FrameworkName = None,
    as_json: AsJson = False,
) -> None:
    """Write a storyboard: story and scenes, no pictures. `admint pipeline --storyboard FILE` draws it."""
    from serving.tools.results import print_result

    brief = given_only(
        prompt=text_of(prompt),
        num_scenes=scenes,
        duration=duration,
        aspect_ratio=aspect_ratio,
        framework=framework,
    )
    address = chosen_server(server, profile)
    order = Order(brief, reference_images or [], recipe, seed_or_random(seed))
    record = _on_server(address, order, output) if address else _here(profile, order, output)
    written = len(record.scenes.scenes) if record.scenes else 0
    print_result({"storyboard": str(output), "scenes": written, "seed": order.seed}, record.notes, as_json)


@dataclass(frozen=True)
class Order:
    """What to write."""

    brief: dict[str, Any]
    references: list[str]
    recipe: str
    seed: int


def _here(profile: str | None, order: Order, output: Path) -> RunRecord:
    from pipelines.report.record import storyboard_of
    from pipelines.store.artifacts import write_durably
    from serving.local_run import start
    from serving.order import new_run
    from serving.tools.results import NothingKept, run_to_end

    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        folder, new = new_run(
            output=Path(scratch) / "run",
            brief=order.brief,
            coherence={},
            references=order.references,
            storyboard=None,
            recipe=order.recipe,
            profile=profile,
            seed=order.seed,
            stages=("story", "scenes"),
        )
        record = run_to_end(start(folder, new), NothingKept())
    write_durably(output, storyboard_of(record))
    return record


def _on_server(server: str, order: Order, output: Path) -> RunRecord:
    from serving.client.ad_request import ad_request
    from serving.client.job import Job
    from serving.client.remote_run import write_scenes
    from serving.tools.results import run_to_end

    request = ad_request(
        brief=order.brief,
        coherence={},
        references=order.references,
        storyboard=None,
        recipe=order.recipe,
        seed=order.seed,
        wait_after="scenes",
    )
    job = Job(server, output)
    return run_to_end(write_scenes(job, request, output), job)
