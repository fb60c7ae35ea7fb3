"""`admint generate-images` and `generate-videos`: pictures and clips by one model, without a generation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.options import (
    AsJson,
    AspectRatio,
    Overwrite,
    ProfileName,
    Prompt,
    References,
    Seed,
    ServerAddress,
    Strict,
    check_free,
    chosen_server,
    seed_or_random,
    text_of,
)

if TYPE_CHECKING:
    from models.interfaces import Reference, VideoRequest
    from models.spec import Size
    from pipelines.storyboard_file import VideoPrompt
    from serving.cli.model_client import ModelClient


IMAGES, VIDEOS = "images.json", "videos.json"
"""What each command writes of its files beside them."""


def generate_images(
    prompt: Prompt,
    output: Annotated[Path, typer.Option("--output", help="Folder for the pictures.")],
    count: Annotated[int, typer.Option("--count", help="How many, 1 to 100.")] = 1,
    model: Annotated[str | None, typer.Option("--model", help="An image model (admint models list).")] = None,
    negative_prompt: Annotated[str, typer.Option("--negative-prompt", help="What the pictures must not show.")] = "",
    reference_images: References = None,
    profile: ProfileName = None,
    server: ServerAddress = None,
    seed: Seed = None,
    aspect_ratio: AspectRatio = "1:1",
    strict: Strict = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Draw reference images or stills; picture k uses a seed derived from --seed and k."""
    from pipelines.errors import BadInput
    from pipelines.reading.domain import prompt_warnings
    from serving.cli.model_client import model_client
    from serving.cli.output import NothingKept, print_result, run_to_end
    from serving.client.run import Job
    from serving.reference_files import bound_references, skipped_pictures

    text = text_of(prompt)
    if not text.strip():
        raise BadInput("--prompt is empty: say what to draw")
    if not 1 <= count <= 100:
        raise BadInput(f"--count {count!r} must be 1 to 100")
    check_free(overwrite, *(output / _image_name(number) for number in range(1, count + 1)), output / IMAGES)
    references, skipped = bound_references(reference_images or []), skipped_pictures(reference_images or [])
    root = seed_or_random(seed)
    address = chosen_server(server, profile)

    async def work() -> tuple[list[str], tuple[str, ...]]:
        async with model_client(Job(address) if address else None, profile, image=model, strict=strict) as client:
            made, notes = await _make_images(
                client, text, negative_prompt, references, aspect_ratio, root, count, output
            )
            spec = client.image_model
            warnings = prompt_warnings(text, spec.name, spec.domain)
            return made, tuple(dict.fromkeys((*client.notes, *skipped, *warnings, *notes)))

    images, notes = run_to_end(work(), NothingKept())
    print_result({"output": str(output), "images": images, "seed": root}, notes, as_json)


async def _make_images(
    client: ModelClient,
    prompt: str,
    negative_prompt: str,
    references: tuple[Reference, ...],
    aspect_ratio: str,
    root: int,
    count: int,
    output: Path,
) -> tuple[list[str], tuple[str, ...]]:
    """The paths of the pictures, and what was not done as asked."""
    from models.interfaces import ImageRequest, NoiseSpec
    from pipelines.coherence import derived_seed
    from pipelines.media import encode_png
    from pipelines.store.artifacts import write_durably
    from serving.cli.model_client import size_of

    spec = client.image_model
    width, height = size_of(spec.sizes, aspect_ratio)
    made: list[dict[str, Any]] = []
    notes: list[str] = []
    for number in range(1, count + 1):
        client.task = f"image {number} of {count}"
        request = ImageRequest(
            prompt=prompt,
            negative_prompt=negative_prompt,
            width=width,
            height=height,
            noise=NoiseSpec(seed=derived_seed(root, "image", number)),
            num_inference_steps=spec.num_inference_steps,
            guidance_scale=spec.guidance_scale,
            references=references,
        )
        result = await client.generate_image(request)
        notes += result.notes
        name = _image_name(number)
        write_durably(output / name, encode_png(result.image))
        made.append({"file": name, "seed": request.noise.seed, "noise_sha256": result.noise_sha256})
    record = {"prompt": prompt, "model": spec.name, "seed": root, "images": made}
    write_durably(output / IMAGES, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    return [str(output / image["file"]) for image in made], tuple(notes)


def _image_name(number: int) -> str:
    return f"image-{number:03d}.png"


def generate_videos(
    prompts: Annotated[Path, typer.Option("--prompts", help="JSON list of prompts, or a storyboard file.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the clips.")],
    reference_images: References = None,
    model: Annotated[str | None, typer.Option("--model", help="A video model (admint models list).")] = None,
    profile: ProfileName = None,
    server: ServerAddress = None,
    seed: Seed = None,
    aspect_ratio: AspectRatio = "9:16",
    strict: Strict = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make one clip per prompt, each from a keyframe that is drawn first."""
    from pipelines.errors import BadInput
    from pipelines.storyboard_file import read_prompts
    from serving.cli.model_client import model_client
    from serving.cli.output import NothingKept, print_result, run_to_end
    from serving.client.run import Job
    from serving.reference_files import bound_references, skipped_pictures

    try:
        items = read_prompts(prompts.read_bytes(), prompts.name)
    except OSError as error:
        raise BadInput(f"cannot read --prompts {str(prompts)!r}: {error.strerror}") from None
    names = [_video_name(number) for number in range(1, len(items) + 1)]
    check_free(overwrite, *(output / f"{name}{end}" for name in names for end in (".mp4", ".png")), output / VIDEOS)
    references, skipped = bound_references(reference_images or []), skipped_pictures(reference_images or [])
    root = seed_or_random(seed)
    address = chosen_server(server, profile)
    job = Job(address) if address else None

    async def work() -> tuple[list[str], tuple[str, ...]]:
        async with model_client(job, profile, video=model, strict=strict) as client:
            made, notes = await _make_videos(client, items, references, aspect_ratio, root, output)
            return made, tuple(dict.fromkeys((*client.notes, *skipped, *notes)))

    videos, notes = run_to_end(work(), job or NothingKept())
    print_result({"output": str(output), "videos": videos, "seed": root}, notes, as_json)


async def _make_videos(
    client: ModelClient,
    items: tuple[VideoPrompt, ...],
    references: tuple[Reference, ...],
    aspect_ratio: str,
    root: int,
    output: Path,
) -> tuple[list[str], tuple[str, ...]]:
    """The paths of the clips, and what was not done as asked, by the clip."""
    from pipelines.coherence import derived_seed
    from pipelines.store.artifacts import write_durably
    from serving.cli.model_client import size_of

    sizes = size_of(client.image_model.sizes, aspect_ratio), size_of(client.video_model.sizes, aspect_ratio)
    made: list[dict[str, Any]] = []
    notes = list(_unused_references(client, references))
    for number, item in enumerate(items, start=1):
        client.task = f"video {number} of {len(items)}"
        name = _video_name(number)
        keyframe, of_keyframe = await _draw(client, item, references, sizes[0], derived_seed(root, "keyframe", number))
        write_durably(output / f"{name}.png", keyframe)
        request, of_request = await _clip(
            client, item, references, sizes[1], derived_seed(root, "clip", number), keyframe
        )
        of_clip = await client.generate_video(request, output / f"{name}.mp4")
        notes += [f"{name}: {note}" for note in dict.fromkeys((*of_keyframe, *of_request, *of_clip))]
        seed = request.noise.seed
        made.append({"file": f"{name}.mp4", "keyframe": f"{name}.png", "prompt": item.prompt, "seed": seed})
    record = {"model": client.video_model.name, "seed": root, "videos": made}
    write_durably(output / VIDEOS, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    return [str(output / video["file"]) for video in made], tuple(notes)


def _video_name(number: int) -> str:
    return f"video-{number:03d}"


def _unused_references(client: ModelClient, references: tuple[Reference, ...]) -> tuple[str, ...]:
    """One note when neither model takes all of the references; else none."""
    taken = max(client.image_model.references, client.video_model.references)
    if taken >= len(references):
        return ()
    return (
        f"{len(references)} reference images were given, and these models take {taken}: the last ones are not used",
    )


async def _draw(
    client: ModelClient, item: VideoPrompt, references: tuple[Reference, ...], size: Size, seed: int
) -> tuple[bytes, tuple[str, ...]]:
    """The keyframe as PNG, and what was not done as asked."""
    from models.interfaces import ImageRequest, NoiseSpec
    from pipelines.media import encode_png

    spec = client.image_model
    request = ImageRequest(
        prompt=item.image_prompt or item.prompt,
        width=size[0],
        height=size[1],
        noise=NoiseSpec(seed=seed),
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        references=references[: spec.references],
    )
    result = await client.generate_image(request)
    return encode_png(result.image), result.notes


async def _clip(
    client: ModelClient, item: VideoPrompt, references: tuple[Reference, ...], size: Size, seed: int, keyframe: bytes
) -> tuple[VideoRequest, tuple[str, ...]]:
    """The request to the video model, and what that cannot do as asked, which is printed at once too."""
    from models.interfaces import EncodedImage, NoiseSpec, VideoRequest
    from pipelines.stages.video import supported_camera
    from pipelines.timeline import native_frames

    spec = client.video_model
    notes: list[str] = []
    camera = supported_camera(spec, item.camera)
    if camera != item.camera:
        notes.append(f"{spec.name!r} knows no camera move {item.camera!r}")
        await client.notice("camera_not_supported", notes[-1], "warning")
    length = native_frames(round(item.seconds * spec.native_fps), spec.native_fps, spec)
    if length.retimed:
        notes.append(
            f"{spec.name!r} makes at most {length.num_frames} frames: the clip is shorter than {item.seconds} s"
        )
        await client.notice("clip_shortened", notes[-1], "warning")
    request = VideoRequest(
        prompt=item.prompt,
        width=size[0],
        height=size[1],
        num_frames=length.num_frames,
        camera=camera,
        noise=NoiseSpec(seed=seed),
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        first_frame=EncodedImage(data=keyframe),
        references=references[: spec.references],
    )
    return request, tuple(notes)
