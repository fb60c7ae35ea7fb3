"""`admint generate-images`: pictures from a prompt, optionally conditioned by references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.tools.options import (
    AsJson,
    AspectRatio,
    ProfileName,
    Prompt,
    References,
    Seed,
    ServerAddress,
    chosen_server,
    seed_or_random,
    text_of,
)

if TYPE_CHECKING:
    from models.interfaces import Reference
    from serving.tools.tool_desk import ToolDesk


def generate_images(
    prompt: Prompt,
    output: Annotated[Path, typer.Option("--output", help="Folder for the pictures.")],
    count: Annotated[int, typer.Option("--count", help="How many, 1 to 100.")] = 1,
    model: Annotated[str | None, typer.Option("--model", help="An image model (admint models list).")] = None,
    negative_prompt: Annotated[str, typer.Option("--negative-prompt")] = "",
    reference_images: References = None,
    profile: ProfileName = None,
    server: ServerAddress = None,
    seed: Seed = None,
    aspect_ratio: AspectRatio = "1:1",
    as_json: AsJson = False,
) -> None:
    """Draw reference images or stills; picture k uses a seed derived from --seed and k."""
    from pipelines.errors import BadInput
    from serving.client.job import Job
    from serving.tools.reference_files import bound_references
    from serving.tools.results import NothingKept, print_result, run_to_end
    from serving.tools.tool_desk import open_desk

    text = text_of(prompt)
    if not text.strip():
        raise BadInput("--prompt is empty: say what to draw")
    if not 1 <= count <= 100:
        raise BadInput(f"--count {count!r} must be 1 to 100")
    references = bound_references(reference_images or [])
    root = seed_or_random(seed)
    address = chosen_server(server, profile)

    async def work() -> tuple[list[str], tuple[str, ...]]:
        async with open_desk(Job(address) if address else None, profile, image=model) as desk:
            return await _draw_all(
                desk, text, negative_prompt, references, aspect_ratio, root, count, output
            ), desk.notes

    images, notes = run_to_end(work(), NothingKept())
    print_result({"output": str(output), "images": images, "seed": root}, notes, as_json)


async def _draw_all(
    desk: ToolDesk,
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
    from serving.tools.sizes import size_of

    spec = desk.image_model
    width, height = size_of(spec.sizes, aspect_ratio)
    made: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        desk.task = f"image {number} of {count}"
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
        result = await desk.image(request)
        name = f"image-{number:03d}.png"
        write_durably(output / name, encode_png(result.image))
        made.append({"file": name, "seed": request.noise.seed, "noise_sha256": result.noise_sha256})
    record = {"prompt": prompt, "model": spec.name, "seed": root, "images": made}
    write_durably(output / "images.json", (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    return [str(output / image["file"]) for image in made]
