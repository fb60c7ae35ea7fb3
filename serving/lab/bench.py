"""A benchmark of models: a prompt suite through each, its clips in VBench's naming, their scores, and what they cost.

The clips of a model are the runs of a sweep of one arm (`serving.lab.sweep`), so that a bench which was stopped goes on
where it was; their scores are those of `admint score`. In the folder of a model:

    conditions.json   what was asked: a folder holds one bench
    videos/           <prompt>-<k>.mp4; prompts.json says what each was to show
    NAME_eval_results.json, NAME_full_info.json   VBench's files; scores.json, .csv and .html hold all dimensions
    results.json      the conditions, the means, the speed and the failures
    sweep/            the runs (`pipelines.lab.runs`) and their steps
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from configs.settings import Profile, load_profile, profile_names
from models.interfaces import Plain
from models.spec import AspectRatio, ImageModelSpec, Size, VideoModelSpec
from pipelines.errors import BadInput, Busy
from pipelines.lab.cache import ARTIFACTS, StepRecord, all_records, claimed
from pipelines.lab.prompts import PromptSuite, SuitePrompt
from pipelines.lab.runs import Run, Runs
from pipelines.lab.spec import SweepSpec
from pipelines.orders.clip import nearest_ratio
from pipelines.store.artifacts import PART, LocalArtifacts, write_durably
from pipelines.timeline import native_frames
from quality.protocols import AskedProtocol
from quality.registry import DIMENSIONS, SUITES, UNAVAILABLE, of_name
from serving.backends.in_process import Loader
from serving.lab.bench_results import RESULTS, BenchResult, Conditions, Failure, Speed, differing, told_apart
from serving.lab.sweep import Elsewhere as RunsElsewhere
from serving.lab.sweep import Told, run_sweep
from serving.profile_models import ModelSet, model_sets
from serving.scores.measuring import Elsewhere as ScoresElsewhere
from serving.scores.measuring import measured_rows, write_scores
from serving.scores.rows import KEPT, Row, means
from serving.scores.work import Asked, Found, WorkItem, work_items

CLIP_SECONDS = 5
"""Length of a clip where the model makes longer ones and nobody says how long: that of most of VBench's results."""
CONDITIONS, VIDEOS, PROMPTS = "conditions.json", "videos", "prompts.json"
USUAL = (
    "text_alignment", "keyframe_alignment", "clip_consistency", "flow_smoothness", "flow_dynamics", "technical",
    *SUITES["vbench-custom"],
)  # fmt: skip
"""Dimensions that are measured where none are named, for prompts that are not VBench's."""
BESIDE = ("text_alignment", "flow_dynamics")
"""What is measured beside VBench's dimensions for VBench's prompts: is it what was asked, and does anything move?"""
PictureModel = ImageModelSpec | VideoModelSpec


class BenchSettings(Plain):
    """What a bench is asked for beside its models and prompts; None: as each model has it."""

    samples: int = 1
    """Clips of each prompt, each from another seed."""
    seed: int = 0
    start: Literal["keyframe", "text"] | None = None
    """None: text, where the model can."""
    steps: int | None = None
    guidance: float | None = None
    frames: int | None = None
    """Of a clip, at the model's own rate; None: as many as it makes, of at most CLIP_SECONDS."""
    size: Size | None = None
    aspect_ratio: AspectRatio = "16:9"
    """Chooses the model's own size where none is asked for."""
    protocol: AskedProtocol | None = None
    """None: `standard` for VBench's own prompts by dimension, else `custom`."""
    dimensions: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Bench:
    """The bench of one model, checked."""

    model: PictureModel
    fingerprint: str
    profile: Profile
    suite: PromptSuite
    conditions: Conditions
    spec: SweepSpec
    dimensions: tuple[str, ...]

    @property
    def ending(self) -> str:
        return ".png" if self.spec.until == "stills" else ".mp4"

    @property
    def take(self) -> str:
        """Name of the take that is the result of a run."""
        return "scene-1/keyframe" if self.spec.until == "stills" else "scene-1/clip"


# --- checked before the first clip ---


def checked_benches(
    models: Sequence[PictureModel], profile: Profile, suite: PromptSuite, asked: BenchSettings, here: bool = True
) -> tuple[Bench, ...]:
    """The benches of all models. `here`: this machine makes the clips.

    Raises BadInput for what a model cannot do, WeightsError for weights that are missing.
    """
    names = [model.name for model in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"the model {twice!r} is named twice: leave one out")
    described = model_sets(profile)
    return tuple(_checked(model, profile, suite, asked, here, described) for model in models)


def _checked(
    model: PictureModel, profile: Profile, suite: PromptSuite, asked: BenchSettings, here: bool, described: Any
) -> Bench:
    _check_device(model, profile, here)
    films = isinstance(model, VideoModelSpec)
    models: ModelSet = described(**{model.kind: model.name})
    start = _start(model, asked)
    width, height = _size(model, asked)
    frames = _frames(model, asked)
    model.check_pixels(width, height, frames)
    of_vbench = any(prompt.dimensions is not None for prompt in suite.prompts)
    conditions = Conditions(
        prompts_sha256=suite.sha256,
        prompts=len(suite.prompts),
        samples=asked.samples,
        prompt_extension=suite.extension_sha256 or "off",
        start="text" if start == "text" or not films else f"keyframe of {models.image.name}",
        steps=model.num_inference_steps if asked.steps is None else asked.steps,
        guidance=model.guidance_scale if asked.guidance is None else asked.guidance,
        frames=frames,
        fps=model.native_fps if isinstance(model, VideoModelSpec) else None,
        width=width,
        height=height,
        seed=asked.seed,
        protocol=asked.protocol or ("standard" if of_vbench else "custom"),
    )
    base: dict[str, Any] = {
        f"model.{model.kind}": model.name,
        f"{model.kind}.num_inference_steps": conditions.steps,
        f"{model.kind}.guidance_scale": conditions.guidance,
        f"{model.kind}.size": [width, height],
        "quality_gate.minimums": {},
    }
    spec = SweepSpec(
        asks=f"What does {model.name} make of {suite.file}?",
        profile=profile.name,
        recipe="clip",
        until="clips" if films else "stills",
        start=start if films else "keyframe",
        seeds=tuple(range(asked.seed, asked.seed + asked.samples)),
        base={**base, "video.num_frames": frames} if films else base,
    )
    wanted = _usual(suite) if asked.dimensions is None else asked.dimensions
    return Bench(model, models.fingerprints[model.kind], profile, suite, conditions, spec, wanted)


def _check_device(model: PictureModel, profile: Profile, here: bool) -> None:
    if profile.device == "cpu" and model.vram_gb:
        with_card = [name for name in profile_names() if load_profile(name).device == "cuda"]
        raise BadInput(
            f"model {model.name!r} needs a GPU of about {model.vram_gb:g} GB, and profile {profile.name!r} runs on the "
            f"CPU: choose another --profile ({', '.join(with_card)})"
        )
    if profile.device == "cuda" and here:
        import torch

        if not torch.cuda.is_available():
            raise BadInput(
                f"profile {profile.name!r} runs on a GPU, and this machine has none: choose another --profile, or let "
                "a cluster make the clips by --ray HOST:PORT"
            )


def _start(model: PictureModel, asked: BenchSettings) -> Literal["keyframe", "text"]:
    if isinstance(model, ImageModelSpec):
        if asked.start is not None:
            raise BadInput(f"{model.name!r} is an image model, whose pictures start from nothing: leave --start out")
        return "text"
    able = {"required": ("keyframe",), "optional": ("text", "keyframe"), "unused": ("text",)}[model.first_frame]
    if asked.start is not None and asked.start not in able:
        raise BadInput(f"model {model.name!r} makes clips from {able[0]} only: leave --start {asked.start} out")
    return asked.start or ("keyframe" if able[0] == "keyframe" else "text")


def _size(model: PictureModel, asked: BenchSettings) -> Size:
    if asked.size is None:
        if asked.aspect_ratio not in model.sizes:
            known = ", ".join(model.sizes)
            raise BadInput(f"model {model.name!r} has no size for --aspect-ratio {asked.aspect_ratio}: it has {known}")
        return model.sizes[asked.aspect_ratio]
    step = model.size_multiple
    if any(side < step or side % step for side in asked.size):
        width, height = asked.size
        raise BadInput(f"--size {width}x{height}: model {model.name!r} takes multiples of {step} pixels")
    return asked.size


def _frames(model: PictureModel, asked: BenchSettings) -> int:
    if isinstance(model, ImageModelSpec):
        if asked.frames is not None:
            raise BadInput(f"{model.name!r} is an image model: leave --frames out")
        return 1
    if asked.frames is None:
        return native_frames(CLIP_SECONDS * model.native_fps, model.native_fps, model).num_frames
    step = model.frame_multiple
    if not 1 <= asked.frames <= model.max_frames or (asked.frames - 1) % step:
        some = f", of {step} k + 1" if step > 1 else ""
        raise BadInput(f"--frames {asked.frames}: model {model.name!r} makes clips of 1 to {model.max_frames}{some}")
    return asked.frames


def _usual(suite: PromptSuite) -> tuple[str, ...]:
    """What is measured where nobody says: VBench's dimensions of VBench's prompts, else USUAL."""
    words = {word for prompt in suite.prompts for word in prompt.dimensions or ()}
    if not words:
        return USUAL
    own = {_vbench_word(name): name for name in (*DIMENSIONS, *UNAVAILABLE) if not name.endswith(".static_filtered")}
    if strange := sorted(words - own.keys()):
        raise BadInput(
            f"{suite.file!r} names the dimension {strange[0]!r}, which is none of VBench's: correct it, or name what "
            "is to be measured by --dimensions"
        )
    return (*(own[word] for word in own if word in words), *BESIDE)


@cache
def _vbench_word(dimension: str) -> str | None:
    """VBench's own word for a dimension of VBench; None for others."""
    if dimension in UNAVAILABLE:
        return dimension if "." not in dimension else None
    family, _, word = of_name(dimension).METRIC.id.partition(".")
    return word if family == "vbench" else None


# --- run ---


def run_bench(
    bench: Bench,
    out: Path,
    *,
    jobs: int = 1,
    runs_elsewhere: RunsElsewhere | None = None,
    scores_elsewhere: ScoresElsewhere | None = None,
    told: Told | None = None,
    loader: Loader | None = None,
) -> BenchResult:
    """Make the clips of one model that are not in the folder `out` yet, score them, and write its files.

    By this process, by `jobs` processes beside it, or elsewhere. A clip that cannot be made is a failure with its
    reason. `loader` builds the engines; None: from the weights library. Raises BadInput, also where `out` holds a bench
    with other conditions; Busy where another process scores its clips; and as `run_sweep`.
    """
    _keep_conditions(bench, out)
    stories = bench.suite.stories(nearest_ratio((bench.conditions.width, bench.conditions.height)))
    folder = out / "sweep"
    runs = run_sweep(bench.spec, folder, suite=stories, jobs=jobs, elsewhere=runs_elsewhere, told=told, loader=loader)
    with claimed(folder, "scores", lambda: False) as claim:
        if claim == "taken":
            raise Busy(f"another process scores the clips in {str(out)!r}: wait for it, its results will be there")
        clips = _exported(bench, runs, out)
        rows = _scored(bench, clips, out, jobs, scores_elsewhere)
        formats = ("json", "csv", "html", "vbench") if bench.spec.until == "clips" else ("json", "csv", "html")
        left_out = write_scores(rows, out, formats)
        device = _device(bench.profile, here=runs_elsewhere is None)
        speed = _speed(folder, [clip.run for clip in clips], device)
        result = _result(bench, runs, rows, left_out, speed)
        write_durably(out / RESULTS, (result.model_dump_json(indent=1) + "\n").encode())
    return result


class _Clip(NamedTuple):
    """A clip that was made."""

    prompt: SuitePrompt
    run: Run
    path: Path


def _keep_conditions(bench: Bench, out: Path) -> None:
    """Write down what `out` is for. Raises BadInput when that is something else."""
    path = out / CONDITIONS
    try:
        earlier = Conditions.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        write_durably(path, (bench.conditions.model_dump_json(indent=1) + "\n").encode())
        return
    except ValidationError:
        raise BadInput(f"{str(path)!r} cannot be read: name another --out") from None
    if differ := differing(earlier, bench.conditions):
        raise BadInput(f"{str(out)!r} holds a bench of other conditions ({told_apart(differ)}): name another --out")


def _exported(bench: Bench, runs: Runs, out: Path) -> list[_Clip]:
    """The clips under their names, and the list of what each is to show."""
    prompts = {prompt.id: prompt for prompt in bench.suite.prompts}
    artifacts = LocalArtifacts(out / "sweep" / ARTIFACTS)
    for half_written in (out / VIDEOS).glob(f"{PART}*"):
        half_written.unlink()  # VBench takes the ending of all clips from the first file of the folder
    clips = []
    for run in runs:
        prompt = prompts[run.story]
        path = out / VIDEOS / prompt.file_name(run.seed - bench.conditions.seed, bench.ending)
        if run.failed is not None:
            path.unlink(missing_ok=True)
            continue
        sha256 = run.takes[bench.take]
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            write_durably(path, artifacts.read(sha256))
        clips.append(_Clip(prompt, run, path))
    asked = {clip.path.name: clip.prompt.text for clip in clips}
    write_durably(out / PROMPTS, (json.dumps(asked, indent=1, ensure_ascii=False) + "\n").encode())
    return clips


def _scored(bench: Bench, clips: Sequence[_Clip], out: Path, jobs: int, elsewhere: ScoresElsewhere | None) -> list[Row]:
    items: list[WorkItem] = []
    for words, same in groupby(clips, lambda clip: clip.prompt.dimensions):
        dimensions = [name for name in bench.dimensions if words is None or _vbench_word(name) in (None, *words)]
        found = [
            Found(
                path=clip.path,
                name=f"{VIDEOS}/{clip.path.name}",
                media="image" if bench.ending == ".png" else "video",
                named=True,
                asked=Asked(prompt=clip.prompt.text, style=clip.prompt.style),
            )
            for clip in same
        ]
        items += work_items(found, dimensions, protocol=bench.conditions.protocol)
    return measured_rows(items, bench.profile, out, resume=(out / KEPT).exists(), jobs=jobs, elsewhere=elsewhere)


def _device(profile: Profile, here: bool) -> str:
    if not here:
        return f"{profile.device} of a Ray cluster"
    if profile.device == "cuda":
        import torch

        return str(torch.cuda.get_device_name(0))
    return profile.device


def _speed(folder: Path, runs: Iterable[Run], device: str) -> Speed | None:
    """How long the runs took, by the steps in the sweep's `folder`."""
    by_take = {stored.sha256: record for record in all_records(folder) for stored in record.artifacts}
    of_runs = [{take.rpartition("/")[2]: by_take[sha256] for take, sha256 in run.takes.items()} for run in runs]
    if not of_runs:
        return None
    by_stage = {stage: fmean(steps[stage].seconds for steps in of_runs) for stage in of_runs[0]}
    busy = _busy_seconds({record.key: record for steps in of_runs for record in steps.values()}.values())
    seconds = sum(by_stage.values())
    return Speed(
        device=device,
        device_seconds=seconds,
        by_stage=by_stage,
        clips_a_minute=60 * len(of_runs) / busy,
        at_once=seconds * len(of_runs) / busy,
    )


def _busy_seconds(records: Collection[StepRecord]) -> float:
    """How long at least one of the steps ran."""
    spans = sorted((record.created_at - timedelta(seconds=record.seconds), record.created_at) for record in records)
    busy, until = timedelta(), spans[0][0]
    for begin, end in spans:
        busy += max(end, until) - max(begin, until)
        until = max(end, until)
    return busy.total_seconds()


def _result(
    bench: Bench, runs: Runs, rows: Sequence[Row], left_out: tuple[str, ...], speed: Speed | None
) -> BenchResult:
    texts = {prompt.id: prompt.text for prompt in bench.suite.prompts}
    return BenchResult(
        model=bench.model.name,
        fingerprint=bench.fingerprint,
        profile=bench.profile.name,
        prompts_file=bench.suite.file,
        conditions=bench.conditions,
        wanted=len(runs) + runs.missing,
        made=sum(run.failed is None for run in runs),
        failures=tuple(
            Failure(
                prompt=texts[run.story],
                sample=run.seed - bench.conditions.seed,
                reason=run.failed,
                row=f"sweep/rows/{run.run_id}.json",
            )
            for run in runs
            if run.failed is not None
        ),
        speed=speed,
        means=tuple(means(rows)),
        not_in_vbench=left_out,
        warnings=tuple(dict.fromkeys((*bench.suite.notes, *(text for run in runs for text in run.warnings)))),
    )
