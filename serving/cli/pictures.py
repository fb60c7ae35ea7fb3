"""`admint generate-images` and `generate-videos`: pictures and clips by one model, without a generation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.options import (
    AsJson,
    AspectRatio,
    ProfileName,
    Prompt,
    References,
    Seed,
    ServerAddress,
    Strict,
    chosen_server,
    seed_or_random,
    text_of,
)

if TYPE_CHECKING:
    from models.interfaces import Reference, VideoRequest
    from models.spec import Size
    from pipelines.storyboard_file import VideoPrompt
    from serving.cli.model_client import ModelClient


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
    as_json: AsJson = False,
) -> None:
    """Draw reference images or stills; picture k uses a seed derived from --seed and k."""
    from pipelines.errors import BadInput
    from pipelines.reading.domain import prompt_warnings
    from serving.cli.model_client import model_client
    from serving.cli.output import NothingKept, print_result, run_to_end
    from serving.client.run import Job
    from serving.reference_files import bound_references

    text = text_of(prompt)
    if not text.strip():
        raise BadInput("--prompt is empty: say what to draw")
    if not 1 <= count <= 100:
        raise BadInput(f"--count {count!r} must be 1 to 100")
    references = bound_references(reference_images or [])
    root = seed_or_random(seed)
    address = chosen_server(server, profile)

    async def work() -> tuple[list[str], tuple[str, ...]]:
        async with model_client(Job(address) if address else None, profile, image=model, strict=strict) as client:
            made = await _make_images(client, text, negative_prompt, references, aspect_ratio, root, count, output)
            spec = client.image_model
            return made, (*client.notes, *prompt_warnings(text, spec.name, spec.domain))

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
) -> list[str]:
    from models.interfaces import ImageRequest, NoiseSpec
    from pipelines.coherence import derived_seed
    from pipelines.media import encode_png
    from pipelines.store.artifacts import write_durably
    from serving.cli.model_client import size_of

    spec = client.image_model
    width, height = size_of(spec.sizes, aspect_ratio)
    made: list[dict[str, Any]] = []
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
        name = f"image-{number:03d}.png"
        write_durably(output / name, encode_png(result.image))
        made.append({"file": name, "seed": request.noise.seed, "noise_sha256": result.noise_sha256})
    record = {"prompt": prompt, "model": spec.name, "seed": root, "images": made}
    write_durably(output / "images.json", (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    return [str(output / image["file"]) for image in made]


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
    as_json: AsJson = False,
) -> None:
    """Make one clip per prompt, each from a keyframe that is drawn first."""
    from pipelines.errors import BadInput
    from pipelines.storyboard_file import read_prompts
    from serving.cli.model_client import model_client
    from serving.cli.output import NothingKept, print_result, run_to_end
    from serving.client.run import Job
    from serving.reference_files import bound_references

    try:
        items = read_prompts(prompts.read_bytes(), prompts.name)
    except OSError as error:
        raise BadInput(f"cannot read --prompts {str(prompts)!r}: {error.strerror}") from None
    references = bound_references(reference_images or [])
    root = seed_or_random(seed)
    address = chosen_server(server, profile)
    job = Job(address) if address else None

    async def work() -> tuple[list[str], tuple[str, ...]]:
        async with model_client(job, profile, video=model, strict=strict) as client:
            return await _make_videos(client, items, references, aspect_ratio, root, output), client.notes

    videos, notes = run_to_end(work(), job or NothingKept())
    print_result({"output": str(output), "videos": videos, "seed": root}, notes, as_json)


async def _make_videos(
    client: ModelClient,
    items: tuple[VideoPrompt, ...],
    references: tuple[Reference, ...],
    aspect_ratio: str,
    root: int,
    output: Path,
) -> list[str]:
    from pipelines.coherence import derived_seed
    from pipelines.store.artifacts import write_durably
    from serving.cli.model_client import size_of

    sizes = size_of(client.image_model.sizes, aspect_ratio), size_of(client.video_model.sizes, aspect_ratio)
    made: list[dict[str, Any]] = []
    for number, item in enumerate(items, start=1):
        client.task = f"video {number} of {len(items)}"
        name = f"video-{number:03d}"
        keyframe = await _draw(client, item, references, sizes[0], derived_seed(root, "keyframe", number))
        write_durably(output / f"{name}.png", keyframe)
        request = await _clip(client, item, references, sizes[1], derived_seed(root, "clip", number), keyframe)
        await client.generate_video(request, output / f"{name}.mp4")
        seed = request.noise.seed
        made.append({"file": f"{name}.mp4", "keyframe": f"{name}.png", "prompt": item.prompt, "seed": seed})
    record = {"model": client.video_model.name, "seed": root, "videos": made}
    write_durably(output / "videos.json", (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    return [str(output / video["file"]) for video in made]


async def _draw(
    client: ModelClient, item: VideoPrompt, references: tuple[Reference, ...], size: Size, seed: int
) -> bytes:
    """The keyframe as PNG."""
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
    return encode_png((await client.generate_image(request)).image)


async def _clip(
    client: ModelClient, item: VideoPrompt, references: tuple[Reference, ...], size: Size, seed: int, keyframe: bytes
) -> VideoRequest:
    """The request to the video model. Prints a notice on what the model cannot do as asked."""
    from models.interfaces import EncodedImage, NoiseSpec, VideoRequest
    from pipelines.stages.video import supported_camera
    from pipelines.timeline import native_frames

    spec = client.video_model
    camera = supported_camera(spec, item.camera)
    if camera != item.camera:
        await client.notice("camera_not_supported", f"{spec.name!r} knows no camera move {item.camera!r}", "warning")
    length = native_frames(round(item.seconds * spec.native_fps), spec.native_fps, spec)
    if length.retimed:
        text = f"{spec.name!r} makes at most {length.num_frames} frames: the clip is shorter than {item.seconds} s"
        await client.notice("clip_shortened", text, "warning")
    return VideoRequest(
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
