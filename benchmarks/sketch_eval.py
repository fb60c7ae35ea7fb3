"""What the sketch family reaches, on combinations of attributes that no training has seen.

`python -m benchmarks.sketch_eval [--rows vae,clip,image,…] [--samples 200]` prints a table and writes
`benchmarks/results/sketch_eval.json`; `--weights` takes another folder than the packaged one, such as what a release
wrote. Judged by classical image analysis that knows the renderer (`models.sketch.training.world.judge`, `.moves`),
never by the trained CLIP; the judge itself is measured first, on renders. What the language model gets wrong is listed
by a benchmark of its own, `benchmarks.sketch_llm_eval`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F
from transformers import CLIPModel, CLIPTokenizer

from models.diffusion.latents import encode
from models.diffusion.references import ReferenceAdapter
from models.interfaces import AdapterSettings, EncodedImage, Reference
from models.sketch.training import farm
from models.sketch.training.pipelines import complete, image_pipeline, video_pipeline, with_references
from models.sketch.training.release import WEIGHTS
from models.sketch.training.world import (
    SceneSpec,
    frame_size,
    plain_caption,
    render_array,
    render_clip,
    render_reference,
    sample_spec,
)
from models.sketch.training.world.captions import SETTING_WORDS
from models.sketch.training.world.judge import Judge
from models.sketch.training.world.moves import recovered_move
from models.video.animatediff import KeyframePipeline, followed

RESULTS = Path("benchmarks/results/sketch_eval.json")
STEPS, GUIDANCE = 12, 3.0
VIDEO_STEPS, VIDEO_GUIDANCE = 10, 1.0
FRAMES = 16
MOVES = ("static", "push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "tilt_down")
ATTRIBUTES = ("colour", "shape", "setting", "time")
BATCH = 20
SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)
EDGES = 0.1
"""Share of a picture's pixels that count as its edges."""
Row = dict[str, Any]
Picture = NDArray[np.uint8]


def scenes(count: int, seed: int, aspect: str | None = None) -> list[SceneSpec]:
    """Held-out scenes at rest; all aspects by turns unless one is given."""
    rng = np.random.default_rng(seed)
    turns = ("1:1", "9:16", "1:1", "16:9")
    return [
        replace(sample_spec(rng, "heldout", aspect or turns[k * 4 // count]), moment=0.0, camera="static")
        for k in range(count)
    ]


def row(what: str, value: float, bar: float | None, samples: int) -> Row:
    passed = None if bar is None else bool(value >= bar)
    return {"what": what, "value": round(float(value), 4), "bar": bar, "passed": passed, "samples": samples}


def bounded(what: str, value: float, bar: float, samples: int) -> Row:
    """A row that must stay at or below its bar."""
    return {**row(what, value, bar, samples), "passed": bool(value <= bar)}


def share(verdicts: list[Any], wanted: list[Any], name: str) -> float:
    """Of the verdicts that agree with what was wanted in one attribute."""
    return float(np.mean([getattr(v, name) == getattr(w, name) for v, w in zip(verdicts, wanted, strict=True)]))


@cache
def the_judge() -> Judge:
    return Judge()


def judge(picture: Picture) -> Any:
    return the_judge().judge(picture)


def _batches(specs: list[SceneSpec]) -> Iterator[tuple[int, list[SceneSpec]]]:
    """Runs of one aspect, at most BATCH long, with the index of their first."""
    start = 0
    while start < len(specs):
        end = start
        while end < min(len(specs), start + BATCH) and specs[end].aspect == specs[start].aspect:
            end += 1
        yield start, specs[start:end]
        start = end


@dataclass(frozen=True)
class Batch:
    """Pictures of one size that are drawn together; the seed of each is its index."""

    weights: Path
    first: int
    """Index of the first."""
    size: tuple[int, int]
    """Height and width in pixels."""
    prompts: tuple[str, ...]
    latents: torch.Tensor | None
    references: tuple[tuple[EncodedImage, ...], ...] | None
    """Of each; None: the adapter is not even loaded."""
    scale: float


class Workers:
    """Processes of one thread each that rows spread their pictures over; with one job, this process."""

    def __init__(self, jobs: int) -> None:
        self.pool = ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) if jobs > 1 else None

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """What `function` gives for each, in order."""
        return list(map(function, items) if self.pool is None else self.pool.map(function, items))

    def judged(self, pictures: list[Picture]) -> list[Any]:
        return self.map(judge, pictures)


@cache
def painter(weights: Path, adapted: bool) -> tuple[StableDiffusionPipeline, ReferenceAdapter | None]:
    """The image model, once per process."""
    pipe = image_pipeline(weights)
    return pipe, with_references(pipe, weights) if adapted else None


def paint(
    workers: Workers,
    weights: Path,
    specs: list[SceneSpec],
    prompt: Callable[[SceneSpec], str],
    latents: list[torch.Tensor] | None = None,
    references: list[list[EncodedImage]] | None = None,
    scale: float = 1.0,
) -> list[Picture]:
    """One picture per scene; the seed is the index."""
    batches = []
    for start, some in _batches(specs):
        span = slice(start, start + len(some))
        batches.append(
            Batch(
                weights=weights,
                first=start,
                size=frame_size(some[0].aspect),
                prompts=tuple(prompt(s) for s in some),
                latents=torch.stack(latents[span]) if latents else None,
                references=tuple(map(tuple, references[span])) if references is not None else None,
                scale=scale,
            )
        )
    return [picture for drawn in workers.map(paint_batch, batches) for picture in drawn]


def paint_batch(batch: Batch) -> list[Picture]:
    pipe, adapter = painter(batch.weights, batch.references is not None)
    extra: dict[str, Any] = {} if batch.latents is None else {"latents": batch.latents}
    if adapter is not None and batch.references is not None:
        items = [[Reference(image=i, role="product") for i in some] for some in batch.references]
        extra["ip_adapter_image_embeds"] = adapter.begin_batch(items, AdapterSettings(scale=batch.scale), GUIDANCE > 1)
    images = pipe(
        list(batch.prompts),
        height=batch.size[0],
        width=batch.size[1],
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=[torch.Generator().manual_seed(batch.first + k) for k in range(len(batch.prompts))],
        **extra,
    ).images
    return [np.asarray(i) for i in images]


def rows_judge(workers: Workers, weights: Path, count: int) -> list[Row]:
    specs = scenes(count, 11)
    verdicts = workers.judged([render_array(s) for s in specs])
    rows = [row(f"judge on renders: {name}", share(verdicts, specs, name), None, count) for name in ATTRIBUTES]
    moving = [replace(s, camera=MOVES[k % len(MOVES)]) for k, s in enumerate(specs)]
    clips = workers.map(rendered, moving)
    moves = workers.map(move_of, clips)
    right = np.mean([move == s.camera for move, s in zip(moves, moving, strict=True)])
    # What a made clip can reach at most: a move may carry a part of the product out of the picture.
    first, last = (workers.judged([clip[at] for clip in clips]) for at in (0, -1))
    return [
        *rows,
        row(f"judge on renders: camera move of {len(MOVES)}", float(right), None, count),
        row("judge on renders: shape on the last frame as on the first", share(last, first, "shape"), None, count),
    ]


def rendered(spec: SceneSpec) -> Picture:
    return render_clip(spec, FRAMES)


def move_of(clip: Picture) -> str:
    return recovered_move(clip, MOVES)


def _pixels(pictures: list[Picture]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _bytes(pixels: torch.Tensor) -> Picture:
    """n x 3 x height x width in -1 to 1 as n x height x width x 3 bytes."""
    scaled = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.asarray(scaled.permute(0, 2, 3, 1).numpy())


@torch.no_grad()
def rows_vae(workers: Workers, weights: Path, count: int) -> list[Row]:
    vae = image_pipeline(weights).vae
    levels, edges = [], []
    for _, batch in _batches(scenes(count, 12)):
        pictures = [render_array(s) for s in batch]
        back = _bytes(vae.decode(encode(vae, _pixels(pictures))).sample)
        levels += [psnr(a, b) for a, b in zip(pictures, back, strict=True)]
        edges += [edge_ratio(a, b) for a, b in zip(pictures, back, strict=True)]
    return [
        row("VAE reconstruction PSNR, dB", float(np.mean(levels)), 30.0, count),
        row("VAE: sharpness of edges against the render", float(np.mean(edges)), 0.8, count),
    ]


@torch.no_grad()
def rows_clip(workers: Workers, weights: Path, count: int) -> list[Row]:
    with complete(weights, "clip") as folder:
        clip: Any = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    rng = np.random.default_rng(5)
    right = {"shape, colour, setting": 0, "shape, colour, time": 0}
    for spec in scenes(count, 13):
        pixels = _pixels([farm.squeezed(render_array(spec))])
        picture = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)[0]
        for names in right:
            texts = [plain_caption(s) for s in [spec, *farm.distractors(spec, rng, tuple(names.split(", ")))]]
            ids = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
            text = F.normalize(clip.text_projection(clip.text_model(input_ids=ids).pooler_output), dim=-1)
            right[names] += int((text @ picture).argmax() == 0)
    what = "CLIP: right caption among 10 differing in one attribute"
    return [row(f"{what} ({names})", value / count, 0.98, count) for names, value in right.items()]


def rows_image(workers: Workers, weights: Path, count: int) -> list[Row]:
    specs = scenes(count, 14)
    verdicts = workers.judged(paint(workers, weights, specs, plain_caption))
    bars = {"colour": 0.98, "shape": 0.95, "setting": 0.98, "time": 0.9}
    return [row(f"image: asked {name}", share(verdicts, specs, name), bar, count) for name, bar in bars.items()]


def _unnamed(spec: SceneSpec) -> str:
    return f"a product {SETTING_WORDS[spec.setting][0]}"


def _encoded(picture: Image.Image) -> EncodedImage:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return EncodedImage(data=buffer.getvalue())


def _references(spec: SceneSpec, index: int, count: int) -> list[EncodedImage]:
    """The same product elsewhere: photographed alone, or every other time in a scene of its own."""
    rng = np.random.default_rng(10_000 + index)
    found = []
    for k in range(count):
        other = sample_spec(rng, "train")
        scene = replace(other, shape=spec.shape, colour=spec.colour, material=spec.material, moment=0.0)
        alone = (index + k) % 2 == 0
        found.append(_encoded(render_reference(scene, rng) if alone else Image.fromarray(render_array(scene))))
    return found


def rows_adapter(workers: Workers, weights: Path, count: int) -> list[Row]:
    specs = scenes(count, 15)
    references = [_references(s, k, 3) for k, s in enumerate(specs)]
    single = [some[:1] for some in references]
    rows, means = [], []
    for scale in SCALES:
        number = count if scale in (0.0, 1.0) else max(count // 2, 1)
        drawn = paint(workers, weights, specs[:number], _unnamed, references=single[:number], scale=scale)
        verdicts = workers.judged(drawn)
        colour, shape = (share(verdicts, specs[:number], name) for name in ("colour", "shape"))
        means.append((colour + shape) / 2)
        if scale in (0.0, 1.0):
            bars = (None, None) if scale == 0 else (0.98, 0.9)
            what = "the same without it" if scale == 0 else "IP-Adapter: one reference, prompt names neither"
            rows += [row(f"{what}: colour", colour, bars[0], count), row(f"{what}: shape", shape, bars[1], count)]
    verdicts = workers.judged(paint(workers, weights, specs, _unnamed, references=references))
    what = "IP-Adapter: three references, prompt names neither"
    rows += [
        row(f"{what}: {name}", share(verdicts, specs, name), bar, count)
        for name, bar in (("colour", 0.98), ("shape", 0.9))
    ]
    rises = all(a <= b for a, b in itertools.pairwise(means))
    return [
        *rows,
        {**row("IP-Adapter: likeness rises over 5 scales", float(rises), 1.0, count), "values": means},
    ]


def rows_noise(workers: Workers, weights: Path, count: int) -> list[Row]:
    """Distance of the same product's place between two scenes, over the shared part of their noise."""
    pipe, _ = painter(weights, False)
    first = scenes(count, 16, "1:1")
    second = [replace(s, setting=t.setting) for s, t in zip(first, scenes(count, 17, "1:1"), strict=True)]
    values = []
    for shared in SCALES:
        drawn = []
        for side, specs in enumerate((first, second)):
            latents = [_blend(pipe, shared, k, side) for k in range(count)]
            pictures = paint(workers, weights, specs, plain_caption, latents=latents)
            drawn.append([v.centre for v in workers.judged(pictures)])
        values.append(float(-np.median(np.linalg.norm(np.subtract(drawn[0], drawn[1]), axis=1))))
    rises = all(a <= b for a, b in itertools.pairwise(values))
    return [{**row("shared noise: layout likeness rises over 5 shares", float(rises), 1.0, count), "values": values}]


def _blend(pipe: StableDiffusionPipeline, share_of: float, index: int, side: int) -> torch.Tensor:
    """Variance-preserving blend of shared and own noise."""
    size = frame_size("1:1")[0] // pipe.vae_scale_factor
    shape = (pipe.unet.config.in_channels, size, size)
    seeds = (index, 10**6 * (side + 1) + index)
    shared, own = (torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds)
    return torch.add(share_of**0.5 * shared, own, alpha=(1 - share_of) ** 0.5)


@dataclass(frozen=True)
class Take:
    """A clip to be made."""

    weights: Path
    spec: SceneSpec
    key: Picture
    seed: int


def rows_video(workers: Workers, weights: Path, count: int) -> list[Row]:
    """Clips from the family's own keyframes, by turns of every move; for flicker, from rendered ones."""
    specs = [replace(s, camera=MOVES[k % len(MOVES)]) for k, s in enumerate(scenes(count, 18))]
    keyframes = paint(workers, weights, specs, plain_caption)
    takes = [Take(weights, spec, key, k) for k, (spec, key) in enumerate(zip(specs, keyframes, strict=True))]
    clips = workers.map(animate, takes)
    likeness = [ssim(frames[0], key) for frames, key in zip(clips, keyframes, strict=True)]
    confusion = {m: dict.fromkeys(MOVES, 0) for m in MOVES}
    for spec, move in zip(specs, workers.map(move_of, clips), strict=True):
        confusion[spec.camera][move] += 1
    before, after = workers.judged(keyframes), workers.judged([frames[-1] for frames in clips])
    right = sum(confusion[m][m] for m in MOVES) / count
    lost: dict[str, int] = dict.fromkeys(MOVES, 0)
    for spec, one, other in zip(specs, before, after, strict=True):
        lost[spec.camera] += one.shape != other.shape
    return [
        row("video: first frame against keyframe, SSIM", float(np.mean(likeness)), 0.9, count),
        {**row(f"video: asked camera move of {len(MOVES)}", right, 0.9, count), "confusion": confusion},
        row("video: colour on the last frame as on the keyframe", share(after, before, "colour"), 0.98, count),
        {
            **row("video: shape on the last frame as on the keyframe", share(after, before, "shape"), 0.9, count),
            "lost": lost,
        },
        row_flicker(workers, weights, max(count // 4, 1)),
    ]


def row_flicker(workers: Workers, weights: Path, count: int) -> Row:
    """Second differences over time of made clips, against those of the true clips from the same first frame."""
    specs = [replace(s, camera=MOVES[k % len(MOVES)]) for k, s in enumerate(scenes(count, 19))]
    true = workers.map(rendered, specs)
    takes = [Take(weights, spec, clip[0], k) for k, (spec, clip) in enumerate(zip(specs, true, strict=True))]
    shaken = sum(map(flicker, workers.map(animate, takes)))
    return bounded("video: flicker against the render's own", float(shaken / sum(map(flicker, true))), 1.3, count)


@cache
def animator(weights: Path) -> KeyframePipeline:
    """The video model, once per process."""
    return video_pipeline(weights)


def animate(take: Take) -> Picture:
    pipe, spec = animator(take.weights), take.spec
    height, width = frame_size(spec.aspect)
    with torch.no_grad():
        told = followed(pipe, Image.fromarray(take.key), spec.camera, FRAMES)
    out = pipe(
        image=told,
        prompt=plain_caption(spec),
        height=height,
        width=width,
        num_frames=FRAMES,
        num_inference_steps=VIDEO_STEPS,
        guidance_scale=VIDEO_GUIDANCE,
        generator=torch.Generator().manual_seed(take.seed),
        latents=_noise(pipe, height, width, take.seed),
        output_type="np",
    ).frames[0]
    return np.asarray(np.rint(np.asarray(out) * 255), np.uint8)


def _noise(pipe: KeyframePipeline, height: int, width: int, seed: int) -> torch.Tensor:
    """The stock pipeline would draw four channels."""
    channels, factor = pipe.vae.config.latent_channels, pipe.vae_scale_factor
    shape = (1, channels, FRAMES, height // factor, width // factor)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- measures on bytes -----------------------------------------------------------------------------------------------


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal-to-noise ratio in dB of `b` against `a`, for 8 bits: 30 dB is an error of 8 levels on average."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def _grey(picture: Picture) -> NDArray[np.float64]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float64)


def ssim(a: Picture, b: Picture) -> float:
    """Mean structural similarity (Wang et al. 2004) of grey pictures, Gaussian window of sigma 1.5: 1 is equal."""
    x, y = _grey(a), _grey(b)

    def blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(image, (11, 11), 1.5))

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(value.mean())


def edge_ratio(true: Picture, made: Picture) -> float:
    """Steepness of the made picture where the true one is steepest, as a share of the true one's.

    1 is as sharp as the true picture, below 1 blurred, above 1 sharpened.
    """
    steep = _steepness(true)
    where = steep >= np.quantile(steep, 1 - EDGES)
    return float(_steepness(made)[where].mean() / max(steep[where].mean(), 1e-9))


def _steepness(picture: Picture) -> NDArray[Any]:
    grey = _grey(picture)
    return np.asarray(np.hypot(cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1)))


def flicker(clip: Picture) -> float:
    """Mean size, in 8-bit levels, of second differences over time of a clip (frames, height, width, 3).

    A steady move has little, brightness that jumps has much.
    """
    frames = clip.astype(np.float32)
    return float(np.abs(frames[2:] - 2 * frames[1:-1] + frames[:-2]).mean())


# --- the language model, and whole ads -------------------------------------------------------------------------------


def rows_llm(workers: Workers, weights: Path, count: int) -> list[Row]:
    from benchmarks.sketch_llm_eval import evaluate as evaluate_llm

    found = asyncio.run(evaluate_llm(weights / "llm", count, 4242))["rows"]
    return [row(f"LLM: {what}", one["percent"] / 100, one["bar"] / 100, one["n"]) for what, one in found.items()]


def rows_ad(workers: Workers, weights: Path, count: int) -> list[Row]:
    """The ad of `make demo` as a process of its own: 15 s, three references, four scenes, recipe `master`."""
    example = Path("examples/water-bottle")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "serving", "pipeline", "--prompt", f"@{example}/brief.txt", "--title", "Dew",
            "--reference-images", str(example / "references"), "--recipe", "master", "--duration", "15",
            "--aspect-ratio", "9:16", "--seed", "7", "--output", f"{folder}/ad", "--full-pipeline", "--json",
        ]  # fmt: skip
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
    gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return [
        bounded("a 15 s, 3-reference, 4-scene master ad, seconds", seconds, 45, 1),
        bounded("the same, GB of memory at its peak", gigabytes, 1.5, 1),
    ]


ROWS: dict[str, Callable[[Workers, Path, int], list[Row]]] = {
    "judge": rows_judge,
    "vae": rows_vae,
    "clip": rows_clip,
    "image": rows_image,
    "adapter": rows_adapter,
    "noise": rows_noise,
    "video": rows_video,
    "llm": rows_llm,
    "ad": rows_ad,
}


def evaluate(names: list[str], count: int, weights: Path, jobs: int) -> Iterator[Row]:
    """The rows of the named groups in turn; each group loads what it needs."""
    workers = Workers(jobs)
    for name in names:
        start = time.monotonic()
        for result in ROWS[name](workers, weights, count):
            yield {"group": name, **result, "seconds": round(time.monotonic() - start, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1, help="processes that pictures are spread over")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    kept = json.loads(args.results.read_text())["rows"] if args.results.exists() else []
    names = args.rows.split(",")
    rows = [r for r in kept if r["group"] not in names]
    for result in evaluate(names, args.samples, args.weights, args.jobs):
        mark = {None: "", True: "met", False: "SHORT"}[result["passed"]]
        print(f"{result['what']:<78} {result['value']:>8} {result['bar'] or '':>6} {mark}", flush=True)
        rows.append({**result, "date": datetime.now(UTC).isoformat(timespec="minutes")})
    versions = {p: version(p) for p in ("torch", "diffusers", "transformers", "numpy")}
    versions["opencv"] = cv2.__version__
    settings = {"steps": STEPS, "guidance": GUIDANCE, "video_steps": VIDEO_STEPS, "video_guidance": VIDEO_GUIDANCE}
    args.results.parent.mkdir(parents=True, exist_ok=True)
    whole = {"versions": versions, "python": platform.python_version(), "settings": settings, "rows": rows}
    args.results.write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
