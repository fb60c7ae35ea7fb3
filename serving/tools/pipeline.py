"""`admint pipeline`: from a brief to a finished ad in a folder, resumable.

Without `--full-pipeline` it stops after the storyboard, to be looked at before the expensive part; the same folder
goes on with `--resume DIR --full-pipeline`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.tools.options import (
    AsJson,
    AspectRatio,
    FrameworkName,
    ProfileName,
    References,
    Seed,
    given_only,
    seed_or_random,
    text_of,
)

if TYPE_CHECKING:
    from serving.local_run import Outcome

BEFORE_VIDEO = ("story", "scenes", "reference_image", "storyboard")


def pipeline(
    output: Annotated[Path | None, typer.Option("--output", help="Folder for the finished ad; must be new.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="What the ad is for; @FILE reads a file.")] = None,
    reference_images: References = None,
    full_pipeline: Annotated[
        bool,
        typer.Option("--full-pipeline", help="Story, images, videos and stitch; else stop at the storyboard."),
    ] = False,
    storyboard: Annotated[
        Path | None, typer.Option("--storyboard", help="A storyboard file instead of the writing agents.")
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Continue the run in this folder.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="master (default), express, classic.")] = None,
    profile: ProfileName = None,
    seed: Seed = None,
    duration: Annotated[int | None, typer.Option("--duration", help="Seconds, 9 to 60 (15).")] = None,
    aspect_ratio: AspectRatio = "",
    framework: FrameworkName = None,
    scenes: Annotated[int | None, typer.Option("--scenes", help="Number of scenes; else by the framework.")] = None,
    title: Annotated[str | None, typer.Option("--title")] = None,
    brand_name: Annotated[str | None, typer.Option("--brand-name")] = None,
    seed_control: Annotated[bool | None, typer.Option(help="One seed policy over all scenes.")] = None,
    seed_policy: Annotated[str | None, typer.Option(help="fixed, derived or blend.")] = None,
    blend_strength: Annotated[float | None, typer.Option(help="Shared part of the noise, 0 to 1.")] = None,
    latent_reuse: Annotated[bool | None, typer.Option(help="Start each scene from the last frame before it.")] = None,
    latent_strength: Annotated[
        float | None, typer.Option(help="1 forgets the frame before, 0.3 nearly copies.")
    ] = None,
    chain_last_frame: Annotated[bool | None, typer.Option(help="Start each clip where the one before ended.")] = None,
    ip_adapter: Annotated[bool | None, typer.Option(help="Let the references condition the pictures.")] = None,
    adapter_scale: Annotated[float | None, typer.Option(help="Strength of the references, 0 to 1.")] = None,
    adapter_blocks: Annotated[str | None, typer.Option(help="all, style or layout.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an ad: story, scenes, keyframes, clips, one finished video and its report."""
    brief = given_only(
        prompt=prompt and text_of(prompt),
        duration=duration,
        aspect_ratio=aspect_ratio or None,
        framework=framework,
        num_scenes=scenes,
        title=title,
        brand_name=brand_name,
    )
    coherence = given_only(
        use_seed_control=seed_control,
        seed_policy=seed_policy,
        blend_strength=blend_strength,
        use_latent_reuse=latent_reuse,
        latent_strength=latent_strength,
        chain_last_frame=chain_last_frame,
        use_ip_adapter=ip_adapter,
        adapter_scale=adapter_scale,
        adapter_blocks=adapter_blocks,
    )
    from serving.local_run import resume as resume_run
    from serving.local_run import start
    from serving.order import new_run, refuse_with_resume
    from serving.tools.results import print_result, run_to_end

    if resume is not None:
        others = given_only(output=output, storyboard=storyboard, recipe=recipe, profile=profile, seed=seed)
        refuse_with_resume({**brief, **coherence, **others}, reference_images)
        folder, work = resume, resume_run(resume, full_pipeline)
    else:
        folder, order = new_run(
            output=output,
            brief=brief,
            coherence=coherence,
            references=reference_images or [],
            storyboard=storyboard,
            recipe=recipe,
            profile=profile,
            seed=seed_or_random(seed),
            stages=None if full_pipeline else BEFORE_VIDEO,
        )
        work = start(folder, order)
    outcome = run_to_end(work, folder)
    print_result(summary(folder, outcome), outcome.record.notes, as_json)


def summary(folder: Path, outcome: Outcome) -> dict[str, Any]:
    """What the tool prints, and all of `--json`."""
    record = outcome.record
    final = folder / "final.mp4"
    return {
        "generation_id": record.generation_id,
        "status": record.status,
        "seed": record.brief.seed,
        "video": str(final) if record.final else None,
        "seconds": record.final.seconds if record.final else None,
        "report": str(folder / "report.html"),
        "run": str(folder / "run.json"),
    }
