"""`admint generate-videos`: one clip per prompt, each from a keyframe drawn first; a storyboard file works too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.tools.options import AsJson, AspectRatio, ProfileName, References, Seed, seed_or_random

if TYPE_CHECKING:
    from models.interfaces import Reference
    from models.spec import Size
    from pipelines.prompts_file import VideoPrompt
    from serving.tools.tool_desk import ToolDesk


def generate_videos(
    prompts: Annotated[Path, typer.Option("--prompts", help="JSON list of prompts, or a storyboard file.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the clips.")],
    reference_images: References = None,
    model: Annotated[str | None, typer.Option("--model", help="A video model (admint models list).")] = None,
    profile: ProfileName = None,
    seed: Seed = None,
    aspect_ratio: AspectRatio = "9:16",
    as_json: AsJson = False,
) -> None:
    """Draw a keyframe for every prompt and let it move."""
    from configs.settings import Settings, load_profile
    from pipelines.errors import BadInput
    from pipelines.prompts_file import read_prompts
    from serving.tools.reference_files import bound_references
    from serving.tools.results import print_result, run_to_end
    from serving.tools.sizes import size_of
    from serving.tools.tool_desk import tool_desk

    try:
        items = read_prompts(prompts.read_bytes(), prompts.name)
    except OSError as error:
        raise BadInput(f"cannot read --prompts {str(prompts)!r}: {error.strerror}") from None
    references = bound_references(reference_images or [])
    root = seed_or_random(seed)
    with tool_desk(load_profile(profile or Settings().profile), video=model) as desk:
        still = size_of(desk.image_model.sizes, aspect_ratio)
        moving = size_of(desk.video_model.sizes, aspect_ratio)
        videos = run_to_end(_film_all(desk, items, references, (still, moving), root, output), None)
        notes = desk.notes
    print_result({"output": str(output), "videos": videos, "seed": root}, notes, as_json)


async def _film_all(
    desk: ToolDesk,
    items: tuple[VideoPrompt, ...],
    references: tuple[Reference, ...],
    sizes: tuple[Size, Size],
    root: int,
    output: Path,
) -> list[str]:
    from pipelines.store.artifacts import write_durably

    made: list[dict[str, Any]] = []
    for number, item in enumerate(items, start=1):
        desk.task = f"video {number} of {len(items)}"
        keyframe, clip, seed = await _film(desk, item, references, sizes, root, number)
        name = f"video-{number:03d}"
        write_durably(output / f"{name}.png", keyframe)
        write_durably(output / f"{name}.mp4", clip)
        made.append({"file": f"{name}.mp4", "keyframe": f"{name}.png", "prompt": item.prompt, "seed": seed})
    record = {"model": desk.video_model.name, "seed": root, "videos": made}
    write_durably(output / "videos.json", (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    return [str(output / video["file"]) for video in made]


async def _film(
    desk: ToolDesk,
    item: VideoPrompt,
    references: tuple[Reference, ...],
    sizes: tuple[Size, Size],
    root: int,
    number: int,
) -> tuple[bytes, bytes, int]:
    """Keyframe PNG, clip MP4 and the clip's seed."""
    from models.interfaces import EncodedImage, ImageRequest, NoiseSpec, VideoRequest
    from pipelines.coherence import derived_seed
    from pipelines.media import encode_clip, encode_png
    from pipelines.stages.video import supported_camera
    from pipelines.timeline import native_frames

    image_spec, video_spec = desk.image_model, desk.video_model
    still = ImageRequest(
        prompt=item.image_prompt or item.prompt,
        width=sizes[0][0],
        height=sizes[0][1],
        noise=NoiseSpec(seed=derived_seed(root, "keyframe", number)),
        num_inference_steps=image_spec.num_inference_steps,
        guidance_scale=image_spec.guidance_scale,
        references=references[: image_spec.references],
    )
    keyframe = encode_png((await desk.image(still)).image)
    camera = supported_camera(video_spec, item.camera)
    if camera != item.camera:
        await desk.notice(
            "camera_not_supported", f"{video_spec.name!r} knows no camera move {item.camera!r}", "warning"
        )
    length = native_frames(round(item.seconds * video_spec.native_fps), video_spec.native_fps, video_spec)
    if length.retimed:
        text = (
            f"{video_spec.name!r} makes at most {length.num_frames} frames: the clip is shorter than {item.seconds} s"
        )
        await desk.notice("clip_shortened", text, "warning")
    request = VideoRequest(
        prompt=item.prompt,
        width=sizes[1][0],
        height=sizes[1][1],
        num_frames=length.num_frames,
        camera=camera,
        noise=NoiseSpec(seed=derived_seed(root, "clip", number)),
        num_inference_steps=video_spec.num_inference_steps,
        guidance_scale=video_spec.guidance_scale,
        first_frame=EncodedImage(data=keyframe),
        references=references[: video_spec.references],
    )
    result = await desk.video(request)
    return keyframe, encode_clip(result.frames, video_spec.native_fps), request.noise.seed
