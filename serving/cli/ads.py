"""`admint pipeline` makes an ad in a folder, resumable; `admint create-storyboard` only writes its story and scenes.

Without `--full-pipeline` the pipeline stops after the storyboard, to be looked at before the expensive part;
`--resume DIR --full-pipeline` continues in the same folder.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.options import (
    Anyway,
    AsJson,
    AspectRatio,
    Duration,
    FrameworkName,
    Overwrite,
    ProfileName,
    Prompt,
    RecipeName,
    References,
    Seed,
    ServerAddress,
    check_free,
    chosen_server,
    given_only,
    seed_or_random,
    text_of,
)

if TYPE_CHECKING:
    from pipelines.recipe import StageName
    from pipelines.report.record import RunRecord
    from serving.ad_flags import AdFlags
    from serving.client.generations import GenerationRequest


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
    anyway: Anyway = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a storyboard: story and scenes, no pictures. `admint pipeline --storyboard FILE` draws it."""
    from serving.ad_flags import AdFlags
    from serving.cli.output import print_result
    from serving.reference_files import skipped_pictures

    brief = given_only(
        prompt=text_of(prompt),
        num_scenes=scenes,
        duration=duration,
        aspect_ratio=aspect_ratio,
        framework=framework,
    )
    check_free(overwrite, output)
    address = chosen_server(server, profile)
    flags = AdFlags(brief, {}, reference_images or [], None, recipe, seed_or_random(seed), anyway)
    record = _write_on_server(address, flags, output) if address else _write_locally(profile, flags, output)
    written = len(record.scenes.scenes) if record.scenes else 0
    result = {"storyboard": str(output), "scenes": written, "seed": flags.seed}
    notes = (*skipped_pictures(reference_images or []), *record.notes)
    print_result({**result, "approval_status": record.approval_status}, notes, as_json)


def _write_locally(profile: str | None, flags: AdFlags, output: Path) -> RunRecord:
    """Run the writing stages in a folder that is deleted afterwards."""
    from pipelines.report.record import storyboard_of
    from pipelines.store.artifacts import write_durably
    from serving.cli.output import NothingKept, run_to_end

    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        record = run_to_end(_run_locally(Path(scratch) / "run", profile, flags, ("story", "scenes")), NothingKept())
    write_durably(output, storyboard_of(record))
    return record


def _run_locally(
    folder: Path, profile: str | None, flags: AdFlags, stages: tuple[StageName, ...] | None
) -> Coroutine[Any, Any, RunRecord]:
    """The run of a new ad in this process, up to the last of `stages`. Raises BadInput before anything starts."""
    from configs.settings import Settings, load_profile
    from serving.ad_flags import naming_flags
    from serving.local_run import start
    from serving.profile_models import ad_planner

    deployed = load_profile(profile or Settings().profile)
    with naming_flags():
        request, references = flags.read(stages)
        order = ad_planner(deployed).plan(request)
    return start(folder, order, references, deployed)


def _write_on_server(server: str, flags: AdFlags, output: Path) -> RunRecord:
    from serving.cli.output import run_to_end
    from serving.client.run import Job, write_scenes

    request = _server_request(flags, wait_after="scenes")
    job = Job(server, output)
    return run_to_end(write_scenes(job, request, output), job)


def _server_request(flags: AdFlags, wait_after: StageName | None) -> GenerationRequest:
    """The request to a server. The generation waits for approval after `wait_after`; None: it runs to its end."""
    from serving.ad_flags import naming_flags
    from serving.client.generations import generation_request

    with naming_flags():
        return generation_request(*flags.read(approvals=() if wait_after is None else (wait_after,)))


def pipeline(
    output: Annotated[Path | None, typer.Option("--output", help="Folder for the finished ad; must be new.")] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="What the ad is for; @FILE reads a file, @@ begins a text with @.")
    ] = None,
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
    server: ServerAddress = None,
    seed: Seed = None,
    duration: Annotated[int | None, typer.Option("--duration", help="Seconds, 9 to 60 (15).")] = None,
    aspect_ratio: AspectRatio = "",
    framework: FrameworkName = None,
    scenes: Annotated[int | None, typer.Option("--scenes", help="Number of scenes; else by the framework.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title of the ad.")] = None,
    brand_name: Annotated[str | None, typer.Option("--brand-name", help="Name of the brand.")] = None,
    seed_control: Annotated[bool | None, typer.Option(help="One seed policy over all scenes.")] = None,
    seed_policy: Annotated[str | None, typer.Option(help="fixed, derived or blend.")] = None,
    blend_strength: Annotated[float | None, typer.Option(help="Shared part of the noise, 0 to 1.")] = None,
    shared_cutoff: Annotated[
        float | None, typer.Option(help="Share only what is coarser, 0 to 0.5 cycles per latent cell.")
    ] = None,
    latent_reuse: Annotated[bool | None, typer.Option(help="Start each scene from the last frame before it.")] = None,
    latent_strength: Annotated[
        float | None, typer.Option(help="1 forgets the frame before, 0.3 nearly copies.")
    ] = None,
    chain: Annotated[
        str | None, typer.Option(help="What ties scenes together: none, last_frame, keyframe or first_last.")
    ] = None,
    consistent_attention: Annotated[
        bool | None, typer.Option(help="Let the pictures of all scenes look at the first scene's.")
    ] = None,
    cond_lowpass_until: Annotated[
        float | None, typer.Option(help="Share of a clip's steps that see its first frame without detail, 0 to 0.2.")
    ] = None,
    ip_adapter: Annotated[bool | None, typer.Option(help="Let the references condition the pictures.")] = None,
    adapter_scale: Annotated[float | None, typer.Option(help="Strength of the references, 0 to 1.")] = None,
    adapter_blocks: Annotated[str | None, typer.Option(help="all, style or layout.")] = None,
    reference_weights: Annotated[
        list[float] | None, typer.Option("--reference-weight", help="Weight of a reference, 0 to 1; once per file.")
    ] = None,
    anyway: Anyway = False,
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
        shared_cutoff=shared_cutoff,
        use_latent_reuse=latent_reuse,
        latent_strength=latent_strength,
        chain=chain,
        consistent_attention=consistent_attention,
        cond_lowpass_until=cond_lowpass_until,
        use_ip_adapter=ip_adapter,
        adapter_scale=adapter_scale,
        adapter_blocks=adapter_blocks,
        reference_weights=reference_weights or None,
    )
    from serving.ad_flags import AdFlags, new_folder, refuse_with_resume
    from serving.cli.output import Resumable, print_result, run_to_end
    from serving.reference_files import skipped_pictures

    if resume is not None:
        others = given_only(output=output, storyboard=storyboard, recipe=recipe, profile=profile, seed=seed)
        refuse_with_resume({**brief, **coherence, **others}, reference_images)
        folder, record = resume, _resume(resume, full_pipeline, server)
    else:
        flags = AdFlags(
            brief, coherence, reference_images or [], storyboard, recipe or "master", seed_or_random(seed), anyway
        )
        address = chosen_server(server, profile)
        folder = new_folder(output)
        if address:
            record = _make_on_server(address, flags, folder, full_pipeline)
        else:
            work = _run_locally(folder, profile, flags, None if full_pipeline else _before_video())
            record = run_to_end(work, Resumable(folder))
    notes = (*skipped_pictures(reference_images or []), *record.notes, *_advice(folder, record))
    print_result(summary(folder, record), notes, as_json)


def _before_video() -> tuple[StageName, ...]:
    """The stages of a run that stops at the storyboard."""
    from pipelines.recipe import STAGE_ORDER

    return STAGE_ORDER[: STAGE_ORDER.index("video")]


def _make_on_server(server: str, flags: AdFlags, folder: Path, full: bool) -> RunRecord:
    """Let a server make the ad. Unless `full`, it waits for approval after the storyboard, as in a browser."""
    from serving.cli.output import run_to_end
    from serving.client.run import Job, start

    request = _server_request(flags, wait_after=None if full else "storyboard")
    job = Job(server, folder)
    return run_to_end(start(job, folder, request), job)


def _resume(folder: Path, full_pipeline: bool, server: str | None) -> RunRecord:
    """Resume the run of `folder` where it was started: on its server, or in this process."""
    from pipelines.errors import BadInput
    from serving.cli.output import Resumable, run_to_end
    from serving.client import run as remote_run
    from serving.client.run import Job, read_note
    from serving.local_run import resume

    address, note = chosen_server(server, None), read_note(folder)
    if note is None and address is None:
        return run_to_end(resume(folder, full_pipeline), Resumable(folder))
    if note is None or address not in (None, note.server):
        place = f"on {note.server}" if note else "on this machine, or not at all"
        raise BadInput(f"the run in {str(folder)!r} was made {place}: leave --server {address} out (and ADMINT_SERVER)")
    job = Job(note.server, folder, note.generation_id)
    return run_to_end(remote_run.resume(note, folder, full_pipeline), job)


def _advice(folder: Path, record: RunRecord) -> tuple[str, ...]:
    """How to continue a generation that waits."""
    if record.status != "awaiting_approval":
        return ()
    command = f"admint pipeline --resume {shlex.quote(str(folder))} --full-pipeline"
    return (f"the generation waits for approval; look at its storyboard, then continue with: {command}",)


def summary(folder: Path, record: RunRecord) -> dict[str, Any]:
    """What the command prints, as text and with `--json`."""
    final = folder / "final.mp4"
    return {
        "generation_id": record.generation_id,
        "status": record.status,
        "approval_status": record.approval_status,
        "seed": record.brief.seed,
        "video": str(final) if record.final else None,
        "seconds": record.final.seconds if record.final else None,
        "report": str(folder / "report.html"),
        "run": str(folder / "run.json"),
    }
