"""`admint models selftest`: one fixed request to a model with the weights of this machine, and a file of what came out.

Weights can be whole, of the right names and shapes, and still be wired wrong: then the picture is noise, or shows
something else. Only a result of the real weights tells, so the file is made to be sent: it names the weights by their
hashes, the libraries, the device, and how well the picture fits its prompt.
"""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import torch

    from models.interfaces import EncodedImage, Pixels, Samples
    from models.spec import ChatModelSpec, ImageModelSpec, ScorerModelSpec, SpecBase, VideoModelSpec
    from models.weights import Library

PROMPT = "a red ball on a wooden table, in daylight"
OTHER = "a green forest in the fog"
"""Shows nothing of the prompt: what a picture of nothing in particular scores."""
MOVING_PROMPT = "a red ball lies on a grey floor, the camera moves closer"
QUESTION = "Which colour do blue and yellow paint give when they are mixed? Answer with one word."
SIGHT_QUESTION = "Which colour is the ball in this picture? Answer with one word."
SEED = 7
PICTURE = "a red ball on a grey floor"
"""What the picture shows that chat models and scorers look at."""
SAME_PICTURE = "a crimson sphere lies on the floor"
"""The same in other words, for a model that reads texts only."""
PICTURE_SIZE = 256
"""Its width and height in pixels."""
SCORED_FRAMES = 9
"""Frames of the clip that scorers look at."""
CLIP_FRAMES = 33
"""The most frames of the clip: enough to see motion."""
LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "tokenizers", "peft", "numpy")
REPORT = "selftest.json"
WITH_REFERENCE = "picture-with-reference.png"


@dataclass
class Made:
    """What the model answered to its fixed request."""

    request: dict[str, Any]
    sha256: str
    """Of the answer itself: the bytes of the pixels, of the text, or of the scores as JSON."""
    seconds: float
    answer: dict[str, Any] = field(default_factory=dict)
    """What is said of the answer besides."""
    files: dict[str, bytes] = field(default_factory=dict)
    """What is written beside the report."""
    pictures: dict[str, Pixels] = field(default_factory=dict)
    """What is compared with the prompt, by the file that shows it."""
    notes: tuple[str, ...] = ()


def selftest(
    name: Annotated[str, typer.Argument(help="A name from `admint models list`, whose weights are here.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the report and the picture [selftest-NAME].")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; left out: cuda where there is one.")] = None,
    profile: Annotated[str | None, typer.Option(help="Whose scorer compares the picture with its prompt.")] = None,
) -> None:
    """Make one fixed request with the weights of this machine, and write a report that can be sent."""
    import torch

    from configs.settings import Settings, library_root, load_profile
    from models.registry import load
    from models.weights import Library
    from pipelines.store.artifacts import write_durably

    spec, library = _described(name), Library(library_root())
    scorer_name = load_profile(profile or Settings().profile).scorer
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    folders = library.folders(spec)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    engine: Any = load(spec, folders, place)
    loaded = time.monotonic() - began
    made = _made(spec, engine)
    report = {
        "description": name,
        "kind": spec.kind,
        "family": spec.family,
        "dtype": spec.dtype,
        "weights": _weights(library, spec),
        "admint": _version("admint"),
        "libraries": {library_name: _version(library_name) for library_name in LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if place.startswith("cuda") else platform.processor() or "cpu",
        "date": time.strftime("%Y-%m-%d"),
        "request": made.request,
        "seconds": {"load": round(loaded, 2), "request": round(made.seconds, 2)},
        "peak_memory_gb": _peak_memory(place),
        "result_sha256": made.sha256,
        **made.answer,
        "notes": list(made.notes),
    }
    del engine  # the scorer may need its room
    if made.pictures:
        report["alignment"] = _alignment(library, scorer_name, made, place)
    folder = output or Path(f"selftest-{name}")
    for file, data in made.files.items():
        write_durably(folder / file, data)
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    write_durably(folder / REPORT, text.encode())
    typer.echo(text, nl=False)
    typer.echo(f"written: {', '.join(str(folder / file) for file in (*made.files, REPORT))}", err=True)


def _described(name: str) -> Any:
    """The description `name`; a chat model where it runs now."""
    from configs.settings import load_model, load_model_specs
    from models.spec import ChatModelSpec
    from pipelines.errors import BadInput

    specs = load_model_specs()
    if name not in specs:
        raise BadInput(f"no model {name!r}: choose one of {', '.join(specs)}")
    return load_model(name, ChatModelSpec) if specs[name].kind == "chat" else specs[name]


def _made(spec: Any, engine: Any) -> Made:
    makers: dict[str, Callable[[Any, Any], Made]] = {
        "image": _picture, "video": _clip, "chat": _answer, "scorer": _scores,
    }  # fmt: skip
    return makers[spec.kind](spec, engine)


def _picture(spec: ImageModelSpec, engine: Any) -> Made:
    """A picture, and for a model that takes references the same one after the fixed picture."""
    from models.interfaces import ImageRequest, NoiseSpec, Reference, Unwatched
    from pipelines.media import encode_png

    width, height = next(iter(spec.sizes.values()))
    request = ImageRequest(
        prompt=PROMPT,
        width=width,
        height=height,
        noise=NoiseSpec(seed=SEED),
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        deterministic=True,
    )
    result = engine.generate(request, Unwatched())
    made = Made(
        request=_said(request),
        sha256=hashlib.sha256(result.image.tobytes()).hexdigest(),
        seconds=result.seconds,
        answer={"noise_sha256": result.noise_sha256, "timings": _rounded(result.timings)},
        files={"picture.png": encode_png(result.image)},
        pictures={"picture.png": result.image},
        notes=result.notes,
    )
    if spec.references:
        reference = Reference(image=fixed_picture(PICTURE_SIZE, PICTURE_SIZE), role="product")
        second = engine.generate(request.model_copy(update={"references": (reference,)}), Unwatched())
        made.answer["with_reference"] = {
            "result_sha256": hashlib.sha256(second.image.tobytes()).hexdigest(),
            "seconds": round(second.seconds, 2),
            "notes": list(second.notes),
        }
        made.files[WITH_REFERENCE] = encode_png(second.image)
        made.pictures[WITH_REFERENCE] = second.image
    return made


def _clip(spec: VideoModelSpec, engine: Any) -> Made:
    from models.interfaces import NoiseSpec, Unwatched, VideoRequest
    from pipelines.media import encode_clip, encode_png

    width, height = next(iter(spec.sizes.values()))
    multiple = spec.frame_multiple
    most = min(CLIP_FRAMES, spec.max_frames)
    request = VideoRequest(
        prompt=MOVING_PROMPT,
        width=width,
        height=height,
        num_frames=most if multiple == 1 else (most - 1) // multiple * multiple + 1,
        noise=NoiseSpec(seed=SEED),
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        first_frame=None if spec.first_frame == "unused" else fixed_picture(width, height),
        deterministic=True,
    )
    result = engine.generate(request, Unwatched())
    last = result.frames[-1]
    return Made(
        request=_said(request),
        sha256=hashlib.sha256(result.frames.tobytes()).hexdigest(),
        seconds=result.seconds,
        answer={"noise_sha256": result.noise_sha256, "timings": _rounded(result.timings)},
        files={"clip.mp4": encode_clip(result.frames, spec.native_fps), "last-frame.png": encode_png(last)},
        pictures={"last-frame.png": last},
        notes=result.notes,
    )


def _answer(spec: ChatModelSpec, engine: Any) -> Made:
    from models.interfaces import ChatMessage, ChatRequest, Unwatched

    images = (fixed_picture(PICTURE_SIZE, PICTURE_SIZE),) if spec.vision else ()
    message = ChatMessage(role="user", content=SIGHT_QUESTION if spec.vision else QUESTION, images=images)
    request = ChatRequest(messages=(message,), seed=SEED, temperature=0.0, max_tokens=32)
    # As a stream: an answer that is cut at `max_tokens` is one too.
    result = engine.stream(request, Unwatched(), lambda piece: None)
    return Made(
        request={"question": message.content, "picture": spec.vision, "max_tokens": request.max_tokens, "seed": SEED},
        sha256=hashlib.sha256(result.text.encode()).hexdigest(),
        seconds=result.seconds,
        answer={"answer": result.text, "finish_reason": result.finish_reason},
        notes=result.notes,
    )


def _scores(spec: ScorerModelSpec, engine: Any) -> Made:
    """The dimensions that read this model, of a clip in which the ball rolls; a model of texts also compares two with
    the picture, or with the same in other words."""
    from pipelines.errors import BadInput
    from quality.engine import measure
    from quality.registry import DIMENSIONS, UNAVAILABLE, of_name
    from quality.stream import Shot

    backbones = dict.fromkeys((spec.family, spec.name.replace("-", "_")), engine)
    reading = [
        name
        for name in DIMENSIONS
        if name not in UNAVAILABLE and any(stream.backbone in backbones for stream in of_name(name).NEEDS)
    ]
    if not reading:
        raise BadInput(f"no quality dimension reads {spec.name!r} yet: there is nothing to test it by")
    frames = [fixed_pixels(PICTURE_SIZE, PICTURE_SIZE, shift=4 * number) for number in range(SCORED_FRAMES)]
    shot = Shot(
        medium="clip",
        fps=8.0,
        frame_count=len(frames),
        prompt=PICTURE,
        voice=lambda: (fixed_voice(SCORED_FRAMES / 8),),
        backbones=backbones,
    )
    began = time.monotonic()
    measured = {score.metric_id: score.raw for score in measure(reading, frames, shot)}
    answer: dict[str, Any] = {"scores": measured}
    if hasattr(engine, "text"):
        reads_only = not hasattr(engine, "features")
        seen = engine.text(SAME_PICTURE)[0] if reads_only else engine.features(_batch((frames[0],)))[0]
        answer["cosines"] = {text: round(float(seen @ engine.text(text)[0]), 4) for text in (PICTURE, OTHER)}
    return Made(
        request={"clip": PICTURE, "frames": len(frames), "dimensions": reading},
        sha256=hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest(),
        seconds=time.monotonic() - began,
        answer=answer,
    )


def fixed_picture(width: int, height: int) -> EncodedImage:
    """`fixed_pixels` as a PNG file."""
    from models.interfaces import EncodedImage
    from pipelines.media import encode_png

    return EncodedImage(data=encode_png(fixed_pixels(width, height)))


def fixed_pixels(width: int, height: int, shift: int = 0) -> Pixels:
    """A red ball on a grey floor before a pale wall, `shift` pixels right of the middle: the same on every machine."""
    import numpy as np

    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.where(rows[..., None] < height * 3 // 5, (226, 222, 214), (122, 122, 126)).astype(np.uint8)
    radius = min(width, height) // 5
    distance = (rows - height * 11 // 20) ** 2 + (columns - width // 2 - shift) ** 2
    pixels[distance <= radius**2] = (204, 32, 36)
    return pixels


def fixed_voice(seconds: float) -> Samples:
    """Like somebody who says "ayaya": 16,000 samples a second, the harmonics of a falling pitch by three formants."""
    import numpy as np

    time = np.arange(round(16_000 * seconds)) / 16_000
    pitch = 120 - 15 * time
    phase, mouth = 2 * np.pi * np.cumsum(pitch) / 16_000, np.sin(4 * np.pi * time) ** 2
    formants = np.array([730 - 430 * mouth, 1090 + 1100 * mouth, 2440 + 300 * mouth])
    wave = sum(np.sin(k * phase) * (1 / (1 + ((k * pitch - formants) / 80) ** 2)).sum(axis=0) for k in range(1, 30))
    return np.asarray(0.3 * wave * mouth / np.abs(wave * mouth).max(), np.float32)


def _alignment(library: Library, scorer: str | None, made: Made, place: str) -> dict[str, Any] | str:
    """Cosines of each picture with its prompt, another text and the fixed picture, by the profile's CLIP model.

    Where that is not here, what to do.
    """
    from configs.settings import load_model
    from models.registry import load
    from models.spec import ScorerModelSpec

    if scorer is None:
        return "not measured: the profile has no scorer; choose one that has by --profile"
    spec = load_model(scorer, ScorerModelSpec)
    if not library.present(spec):
        return f"not measured: run `admint models pull {scorer}`, then this command again"
    encoder: Any = load(spec, library.folders(spec), place)
    prompt = made.request["prompt"]
    others = {text: encoder.text(text)[0] for text in (prompt, OTHER)}
    (others["the fixed picture"],) = encoder.features(_batch((fixed_pixels(PICTURE_SIZE, PICTURE_SIZE),)))
    found = {}
    for file, picture in made.pictures.items():
        (seen,) = encoder.features(_batch((picture,)))
        found[file] = {name: round(float(seen @ other), 4) for name, other in others.items()}
    return {"scorer": scorer, "fidelity": spec.fidelity, "weights_sha256": encoder.weights_sha256, "cosines": found}


def _batch(frames: tuple[Pixels, ...]) -> torch.Tensor:
    """Frames as an encoder's own processor takes them: uint8, (frames, 3, height, width)."""
    import numpy as np
    import torch

    return torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2).copy())


def _said(request: Any) -> dict[str, Any]:
    """The request as the report gives it: without the bytes of pictures, which are fixed too."""
    fields = {"prompt", "width", "height", "num_frames", "noise", "num_inference_steps", "guidance_scale"}
    said: dict[str, Any] = request.model_dump(include=fields)
    return {**said, "first_frame": getattr(request, "first_frame", None) is not None}


def _weights(library: Library, spec: SpecBase) -> dict[str, Any]:
    """Repository, commit and the sha256 of each file, by part, from the manifests that were just checked."""
    from models.manifest import read_manifest

    found = {}
    for part, folder in library.folders(spec).items():
        manifest = read_manifest(folder)
        files = {name: file.sha256 for name, file in manifest.files.items()}
        found[part] = {"repository": manifest.repository, "revision": manifest.revision, "files": files}
    return found


def _peak_memory(place: str) -> dict[str, float | None]:
    import torch

    on_device = torch.cuda.max_memory_allocated() / 1e9 if place.startswith("cuda") else None
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"device": on_device if on_device is None else round(on_device, 2), "host": round(host, 2)}


def _rounded(timings: dict[str, float]) -> dict[str, float]:
    return {name: round(seconds, 3) for name, seconds in timings.items()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
