"""What the sketch family reaches, on combinations of attributes that no training has seen.

`python -m benchmarks.sketch_eval [--rows vae,clip,image,…] [--samples 200]` prints a table and writes
`benchmarks/results/sketch_eval.json`; `--weights` takes another folder than the packaged one, such as what training
exports. Judged by classical image analysis with the renderer's knowledge
(`models.sketch.training.world.judge`), never by the trained CLIP; the judge itself is measured first, on renders.
What the language model gets wrong is listed by a benchmark of its own, `benchmarks.sketch_llm_eval`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer

from benchmarks.sketch_llm_eval import evaluate as evaluate_llm
from configs.settings import library_root
from models.sketch.training.diffusion import psnr
from models.sketch.training.loop import as_tensor
from models.sketch.training.release import choice_accuracy, image_pipeline, plain_caption, video_pipeline
from models.sketch.training.world import SceneSpec, frame_size, render, render_clip, sample_spec
from models.sketch.training.world.judge import BENCHMARK_MOVES, Judge, recovered_move
from models.sketch.training.world.spec import SETTING_WORDS
from models.video.animatediff import KeyframePipeline, followed
from models.weights import PACKAGED, packaged_model

RESULTS = Path("benchmarks/results/sketch_eval.json")
STEPS, GUIDANCE = 12, 2.0
VIDEO_STEPS, VIDEO_GUIDANCE = 10, 1.0
FRAMES = 16
BATCH = 20
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
    return {"what": what, "value": round(value, 4), "bar": bar, "passed": passed, "samples": samples}


def bounded(what: str, value: float, bar: float, samples: int) -> Row:
    """A row that must stay at or below its bar."""
    return {**row(what, value, bar, samples), "passed": bool(value <= bar)}


def ssim(a: Picture, b: Picture) -> float:
    """Mean structural similarity of grey pictures, Gaussian window of sigma 1.5."""
    x, y = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float64) for p in (a, b))

    def blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(image, (11, 11), 1.5))

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(value.mean())


def _generators(count: int, first: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + k) for k in range(count)]


def _batches(specs: list[SceneSpec]) -> Iterator[tuple[int, list[SceneSpec]]]:
    """Runs of one aspect, at most BATCH long, with the index of their first."""
    start = 0
    while start < len(specs):
        end = start
        while end < min(len(specs), start + BATCH) and specs[end].aspect == specs[start].aspect:
            end += 1
        yield start, specs[start:end]
        start = end


def paint(
    pipe: StableDiffusionPipeline, specs: list[SceneSpec], prompt: Callable[[SceneSpec], str], **extra: Any
) -> list[Picture]:
    """One picture per scene; the seed is the index. `extra` values that are lists are sliced along."""
    out: list[Picture] = []
    for start, batch in _batches(specs):
        height, width = frame_size(batch[0].aspect)
        sliced = {k: v[start : start + len(batch)] for k, v in extra.items()}
        if "reference" in sliced:
            sliced["ip_adapter_image_embeds"] = [_embedded(pipe, sliced.pop("reference"))]
        if "latents" in sliced:
            sliced["latents"] = torch.stack(sliced["latents"])
        images = pipe(
            [prompt(s) for s in batch],
            height=height,
            width=width,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=_generators(len(batch), start),
            **sliced,
        ).images
        out += [np.asarray(i) for i in images]
    return out


@torch.no_grad()
def _embedded(pipe: StableDiffusionPipeline, references: list[Image.Image]) -> torch.Tensor:
    """One reference per prompt: zeros for the unguided half, then the embeddings, each as one image's."""
    embeds, blank = pipe.encode_image(references, pipe.device, 1)
    return torch.cat([blank, embeds]).unsqueeze(1)


def rows_judge(judge: Judge, count: int) -> list[Row]:
    specs = scenes(count, 11)
    verdicts = [judge.judge(np.asarray(render(s))) for s in specs]
    rows = [
        row(f"judge on renders: {name}", np.mean([getattr(v, name) == getattr(s, name) for v, s in pairs]), None, count)
        for name in ("colour", "shape", "setting")
        if (pairs := list(zip(verdicts, specs, strict=True)))
    ]
    moving = [replace(s, camera=BENCHMARK_MOVES[k % 5]) for k, s in enumerate(specs)]
    right = np.mean([recovered_move(render_clip(s, FRAMES)) == s.camera for s in moving])
    return [*rows, row("judge on renders: camera move of 5", float(right), None, count)]


def rows_vae(pipe: StableDiffusionPipeline, count: int) -> list[Row]:
    values = []
    for _, batch in _batches(scenes(count, 12)):
        pixels = as_tensor(np.stack([np.asarray(render(s)) for s in batch]))
        values += [psnr(pipe.vae, pixels)] * len(batch)
    return [row("VAE reconstruction PSNR, dB", float(np.mean(values)), 27.0, count)]


def rows_clip(weights: Path, count: int) -> list[Row]:
    clip = CLIPModel.from_pretrained(weights / "clip", dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(weights / "clip")
    value = choice_accuracy(clip, tokenizer, scenes(count, 13))
    return [row("CLIP: right caption among 10 differing in one attribute", value, 0.9, count)]


def rows_image(pipe: StableDiffusionPipeline, judge: Judge, count: int) -> list[Row]:
    specs = scenes(count, 14)
    verdicts = [judge.judge(p) for p in paint(pipe, specs, plain_caption)]
    rows = []
    for name, bar in (("colour", 0.9), ("shape", 0.8), ("setting", 0.85)):
        right = np.mean([getattr(v, name) == getattr(s, name) for v, s in zip(verdicts, specs, strict=True)])
        rows.append(row(f"image: asked {name}", float(right), bar, count))
    return rows


def _unnamed(spec: SceneSpec) -> str:
    return f"a product {SETTING_WORDS[spec.setting][0]}"


def _reference(spec: SceneSpec, index: int) -> Image.Image:
    """The same product elsewhere: on a plain studio background half of the time, as users upload them."""
    rng = np.random.default_rng(10_000 + index)
    other = sample_spec(rng, "train", "1:1")
    setting = "studio" if index % 2 else other.setting
    return render(
        replace(other, shape=spec.shape, colour=spec.colour, material=spec.material, setting=setting, moment=0.0)
    )


def _product_right(judge: Judge, pictures: list[Picture], specs: list[SceneSpec]) -> tuple[float, float]:
    verdicts = [judge.judge(p) for p in pictures]
    pairs = list(zip(verdicts, specs, strict=True))
    colour = float(np.mean([v.colour == s.colour for v, s in pairs]))
    return colour, float(np.mean([v.shape == s.shape for v, s in pairs]))


def rows_adapter(pipe: StableDiffusionPipeline, judge: Judge, count: int) -> list[Row]:
    specs = scenes(count, 15)
    references = [_reference(s, k) for k, s in enumerate(specs)]
    results = {}
    for scale in (0.0, 0.25, 0.5, 0.75, 1.0):
        number = count if scale in (0.0, 1.0) else max(count // 2, 1)
        pipe.set_ip_adapter_scale(scale)
        drawn = paint(pipe, specs[:number], _unnamed, reference=references[:number])
        results[scale] = _product_right(judge, drawn, specs[:number])
    means = [(a + b) / 2 for a, b in results.values()]
    rises = all(a <= b for a, b in itertools.pairwise(means))
    return [
        row("IP-Adapter: reference's colour, prompt names neither", results[1.0][0], 0.8, count),
        row("IP-Adapter: reference's shape, prompt names neither", results[1.0][1], 0.65, count),
        row("the same without it: colour", results[0.0][0], None, count),
        row("the same without it: shape", results[0.0][1], None, count),
        {**row("IP-Adapter: likeness rises over 5 scales", float(rises), 1.0, count), "values": means},
    ]


def rows_noise(pipe: StableDiffusionPipeline, judge: Judge, count: int) -> list[Row]:
    """Distance of the same product's place between two scenes, over the shared part of their noise."""
    first = scenes(count, 16, "1:1")
    second = [replace(s, setting=t.setting) for s, t in zip(first, scenes(count, 17, "1:1"), strict=True)]
    values = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawn = []
        for side, specs in enumerate((first, second)):
            latents = [_blend(share, k, side) for k in range(count)]
            pictures = paint(pipe, specs, plain_caption, latents=latents)
            drawn.append([judge.judge(p).centre for p in pictures])
        values.append(float(-np.median(np.linalg.norm(np.subtract(drawn[0], drawn[1]), axis=1))))
    rises = all(a <= b for a, b in itertools.pairwise(values))
    return [{**row("shared noise: layout likeness rises over 5 shares", float(rises), 1.0, count), "values": values}]


def _blend(share: float, index: int, side: int) -> torch.Tensor:
    """Variance-preserving blend of shared and own noise."""
    seeds = (index, 10**6 * (side + 1) + index)
    shared, own = (torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(s)) for s in seeds)
    return torch.add(share**0.5 * shared, own, alpha=(1 - share) ** 0.5)


def rows_video(image: StableDiffusionPipeline, pipe: KeyframePipeline, count: int) -> list[Row]:
    """Clips from the family's own keyframes, a fifth for each move."""
    specs = [replace(s, camera=BENCHMARK_MOVES[k % 5]) for k, s in enumerate(scenes(count, 18))]
    keyframes = paint(image, specs, plain_caption)
    likeness, right, confusion = [], [], {m: dict.fromkeys(BENCHMARK_MOVES, 0) for m in BENCHMARK_MOVES}
    for index, (spec, key) in enumerate(zip(specs, keyframes, strict=True)):
        frames = animate(pipe, spec, key, index)
        likeness.append(ssim(frames[0], key))
        seen = recovered_move(frames)
        confusion[spec.camera][seen] += 1
        right.append(seen == spec.camera)
    return [
        row("video: first frame against keyframe, SSIM", float(np.mean(likeness)), 0.85, count),
        {**row("video: asked camera move of 5", float(np.mean(right)), 0.75, count), "confusion": confusion},
    ]


def animate(pipe: KeyframePipeline, spec: SceneSpec, key: Picture, seed: int) -> Picture:
    height, width = frame_size(spec.aspect)
    with torch.no_grad():
        told = followed(pipe, Image.fromarray(key), spec.camera, FRAMES)
    out = pipe(
        image=told,
        prompt=plain_caption(spec),
        height=height,
        width=width,
        num_frames=FRAMES,
        num_inference_steps=VIDEO_STEPS,
        guidance_scale=VIDEO_GUIDANCE,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    ).frames[0]
    return np.asarray(np.rint(np.asarray(out) * 255), np.uint8)


def rows_llm(weights: Path, count: int) -> list[Row]:
    found = asyncio.run(evaluate_llm(weights / "llm", count, 4242))["rows"]
    return [row(f"LLM: {what}", one["percent"] / 100, one["bar"] / 100, one["n"]) for what, one in found.items()]


def rows_ad() -> list[Row]:
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
        bounded("a 15 s, 3-reference, 4-scene master ad, seconds", seconds, 120, 1),
        bounded("the same, GB of memory at its peak", gigabytes, 3, 1),
    ]


def evaluate(names: list[str], count: int, weights: Path) -> Iterator[Row]:
    """The rows of the named groups in turn; each group loads what it needs."""
    judge = Judge()
    plans: dict[str, Callable[[], list[Row]]] = {
        "judge": lambda: rows_judge(judge, count),
        "vae": lambda: rows_vae(image_pipeline(weights, adapter=False), count),
        "clip": lambda: rows_clip(weights, count),
        "image": lambda: rows_image(image_pipeline(weights, adapter=False), judge, count),
        "adapter": lambda: rows_adapter(image_pipeline(weights), judge, count),
        "noise": lambda: rows_noise(image_pipeline(weights, adapter=False), judge, count),
        "video": lambda: rows_video(image_pipeline(weights, adapter=False), video_pipeline(weights), count),
        "llm": lambda: rows_llm(weights, count),
        "ad": rows_ad,
    }
    for name in names:
        start = time.monotonic()
        for result in plans[name]():
            yield {"group": name, **result, "seconds": round(time.monotonic() - start, 1)}


def packaged_models() -> Path:
    """The packaged models side by side, each complete, as training exports them."""
    folder = library_root() / "sketch" / "all"
    folder.mkdir(parents=True, exist_ok=True)
    for stored in PACKAGED.iterdir():
        link = folder / stored.name
        link.unlink(missing_ok=True)
        link.symlink_to(packaged_model(stored.name, library_root()).resolve())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="judge,vae,clip,image,adapter,noise,video,llm,ad")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--weights", type=Path, help="another folder of models than the packaged one")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    kept = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    names = args.rows.split(",")
    rows = [r for r in kept if r["group"] not in names]
    for result in evaluate(names, args.samples, args.weights or packaged_models()):
        mark = {None: "", True: "met", False: "SHORT"}[result["passed"]]
        print(f"{result['what']:<58} {result['value']:>8} {result['bar'] or '':>6} {mark}", flush=True)
        rows.append({**result, "date": datetime.now(UTC).isoformat(timespec="minutes")})
    versions = {p: version(p) for p in ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless")}
    settings = {"steps": STEPS, "guidance": GUIDANCE, "video_steps": VIDEO_STEPS, "video_guidance": VIDEO_GUIDANCE}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    whole = {"versions": versions, "python": platform.python_version(), "settings": settings, "rows": rows}
    RESULTS.write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
