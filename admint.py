"""The public Python API of AdMint: make an ad here or on a server, score a video, list profiles and models.

    import admint

    generation = admint.generate("An ad for a steel water bottle", output="bottle-ad")
    for event in generation:
        print(event.message)
    print(generation.result.video)

    with admint.Client("http://127.0.0.1:8000", api_key="admint_…") as client:
        ad = client.generations.create("An ad for a steel water bottle", duration=9)
        client.generations.wait(ad.id)
        client.generations.download(ad.id, "bottle.mp4")

What is not in `__all__` is internal and may change with any release. Importing this module imports nothing else of
AdMint: the rest is loaded by the first call. The packages beside it have common names (`models`, `configs`, …), so
every call checks first that no other folder of that name is found before them.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import queue
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypedDict, Unpack, cast, overload

if TYPE_CHECKING:
    from pipelines.records import Event as StoredEvent
    from pipelines.report.record import RunRecord
    from quality.score import Score as MeasuredScore
    from serving.client.client import AsyncClient, Client
    from serving.client.exceptions import (
        APIError,
        Conflict,
        Forbidden,
        InvalidRequest,
        NotFound,
        NotReady,
        OutOfDomain,
        QueueFull,
        QuotaExceeded,
        ServerFailed,
        TooManyAttempts,
        Unauthenticated,
        Unreachable,
    )

__version__ = "0.1.0"

__all__ = [
    "APIError", "Ad", "AdMintError", "AsyncClient", "BadInput", "Cancelled", "Client", "Conflict", "Event",
    "Failed", "Forbidden", "Generation", "InvalidRequest", "Model", "NotFound", "NotReady", "OutOfDomain",
    "Profile", "QueueFull", "QuotaExceeded", "Score", "Scored", "ServerFailed", "ShadowedPackage", "TooManyAttempts",
    "Unauthenticated", "Unreachable", "__version__", "generate", "models", "profiles", "score",
]  # fmt: skip
_CLIENT = ("AsyncClient", "Client")
"""Public names that `serving.client.client` defines; others that are not here are errors of a server."""

AspectRatio = Literal["9:16", "16:9", "1:1"]
ScoreProtocol = Literal["auto", "custom", "standard", "long2s"]
_PACKAGES = ("configs", "models", "pipelines", "quality", "serving")


def __getattr__(name: str) -> Any:
    """The names of `__all__` that are not in this file: a server's client and its errors, loaded by their first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _check_packages()
    module = importlib.import_module("serving.client.client" if name in _CLIENT else "serving.client.exceptions")
    return getattr(module, name)


class AdMintError(Exception):
    """Base of the errors that this module raises on purpose. `__cause__` is the internal error, where there is one."""


class BadInput(AdMintError, ValueError):
    """An argument or a file must be changed. Nothing was started."""


class Cancelled(AdMintError):
    """The generation was cancelled. Finished steps are kept: `admint pipeline --resume FOLDER --full-pipeline`."""


class Failed(AdMintError):
    """A model, a step, the disk or the database failed. Finished steps are kept, as with `Cancelled`."""


class ShadowedPackage(AdMintError, ImportError):
    """Another package or folder has the name of one of AdMint's packages and is found before it."""


@dataclass(frozen=True)
class Event:
    """One entry of a generation's log."""

    seq: int
    """Counts from 1 without a gap."""
    kind: str
    """Such as `stage_started`, `step_progress`, `step_completed`, `notice`, `generation_completed`."""
    message: str
    severity: Literal["info", "warning", "error"]
    step: str | None
    """Such as `storyboard/scene-002`; None for the whole generation."""
    scene_number: int | None
    data: Mapping[str, Any]
    """Details by kind: `step_progress` has `done` and `total`."""
    created_at: datetime


@dataclass(frozen=True)
class Score:
    """One quality dimension of a clip or video: a value, or the reason why there is none."""

    metric: str
    """What was measured, such as `vbench.temporal_flickering`. The prefix `toy.` marks the sketch models' own scale."""
    value: float | None
    """On the metric's own scale."""
    reason: str | None
    """Why there is no value."""
    scene_number: int | None
    """None: the whole video."""
    implementation: str
    """The code that measured it, with its version. Values of different versions cannot be compared."""
    label: str | None
    """How near to the published metric: `equal`, `like`, `proxy`, `classical` or `toy`; None without a value."""
    protocol: str
    """How it was cut: `custom` is the whole, `long2s` the mean over pieces of two seconds, `slow_fast` half that."""
    backbone: str | None
    """The learned model behind the value; None for a formula."""
    note: str | None
    """What must be known to read the value right."""
    range: tuple[float, float | None] | None
    """Least and greatest value on the metric's own scale; None for a greatest one: there is none."""
    frames: int
    series: tuple[tuple[float, float], ...]
    """Second and value of each of the `frames` it was measured on, or of each pair, whose mean it is; or ()."""
    weights_sha256: str | None
    licence: str | None
    """Of the weights of the model behind the value."""
    preprocessing: str | None
    """What was done to the frames before the model saw them."""
    source_sha256: str | None
    """Of the file that was measured."""


@dataclass(frozen=True)
class Scored:
    """One of many files that were measured."""

    path: Path
    scores: tuple[Score, ...]
    """One per dimension; () for a file that could not be measured."""
    reason: str | None
    """Why it could not be measured; None: it was."""


@dataclass(frozen=True)
class Ad:
    """A finished ad and its files."""

    generation_id: str
    folder: Path
    video: Path
    thumbnail: Path
    report: Path
    """One self-contained HTML page."""
    run: Path
    """The whole record as JSON: seeds, models, takes, messages, scores."""
    seed: int
    """Of the ad; with it and the same models the same ad is made again."""
    seconds: float
    scores: tuple[Score, ...]
    approval_status: Literal["approved", "needs_revision"] | None
    """Whether the facts of the brief hold in story and scenes and their critics agree."""
    warnings: tuple[str, ...]
    """What is not approved and why, what is drawn otherwise than asked, what the models are: as a server's answers
    have them."""
    notes: tuple[str, ...]
    """What must be known about this ad: what the models are, and what was done in another way than asked."""


@dataclass(frozen=True)
class Profile:
    """A named choice of models (`configs/profiles/`)."""

    name: str
    description: str
    chat: str
    image: str
    video: str
    scorer: str | None
    device: str


@dataclass(frozen=True)
class Model:
    """A model that AdMint can run (`configs/models/`)."""

    name: str
    kind: str
    """`chat`, `image`, `video` or `scorer`."""
    family: str
    licence: str
    gpu_memory_gb: float
    weights: Literal["here", "untrained", "not here", "remote"]
    """`untrained`: stand-ins that make noise. `admint models pull NAME` brings weights that are not here."""


class Generation(Iterator[Event]):
    """An ad that is being made in a thread of its own.

    Iterate over it for its events, each once, in order; the iteration ends with the generation and raises what stopped
    it. `result` waits for the finished ad. In a `with` block, leaving the block early cancels it, and so does Ctrl-C
    while it is waited for.
    """

    def __init__(self, work: Callable[[Callable[[Event], None]], Awaitable[Ad]], folder: Path) -> None:
        """Use `generate`."""
        self.folder = folder
        self._work = work
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._finished = threading.Event()
        self._cancel_lock = threading.Lock()
        self._cancel_requested = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._ad: Ad | None = None
        self._error: BaseException | None = None
        self._untold: BaseException | None = None
        """The error, until the iteration has raised it; a cancel is no news to whoever iterates."""
        # A daemon, so that a program that ends does not wait for the ad; what is finished is in the folder.
        threading.Thread(target=self._run, name=f"admint {folder.name}", daemon=True).start()

    def __next__(self) -> Event:
        with self._cancelled_by_interrupt():
            event = self._events.get()
        if event is not None:
            return event
        self._events.put(None)  # for the next call
        error, self._untold = self._untold, None
        if error is not None:
            raise error
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
        self._finished.wait()

    def cancel(self) -> None:
        """Stop within one denoising step. Returns at once; does nothing when it has ended or was cancelled before.

        The run stays in its folder and can be resumed.
        """
        with self._cancel_lock:
            if self._cancel_requested:
                return
            self._cancel_requested = True
            running = self._running
        if running is not None:
            loop, task = running
            with contextlib.suppress(RuntimeError):  # the loop has closed: the generation has ended
                loop.call_soon_threadsafe(task.cancel)

    @property
    def done(self) -> bool:
        """Whether it has ended: finished, failed or cancelled."""
        return self._finished.is_set()

    @property
    def result(self) -> Ad:
        """The finished ad; waits for it. Raises Cancelled, Failed or BadInput when there is none."""
        with self._cancelled_by_interrupt():
            self._finished.wait()
        if self._error is not None:
            raise self._error
        assert self._ad is not None  # noqa: S101 - one of the two is set before `_finished`
        return self._ad

    @contextlib.contextmanager
    def _cancelled_by_interrupt(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.cancel()
            raise

    def _run(self) -> None:
        try:
            with _public_errors():
                self._ad = asyncio.run(self._main())
        except asyncio.CancelledError:
            self._error = Cancelled(
                f"cancelled; to continue: admint pipeline --resume {str(self.folder)!r} --full-pipeline"
            )
        except BaseException as error:  # also a bug: it reaches the caller and not only this thread's end
            self._error = self._untold = error
        finally:
            self._finished.set()
            self._events.put(None)

    async def _main(self) -> Ad:
        task = asyncio.current_task()
        with self._cancel_lock:
            if self._cancel_requested or task is None:
                raise asyncio.CancelledError
            self._running = (asyncio.get_running_loop(), task)
        return await self._work(self._events.put)


def generate(
    brief: str,
    references: str | Path | Sequence[str | Path] = (),
    *,
    output: str | Path,
    profile: str | None = None,
    recipe: str = "master",
    duration: int = 15,
    aspect_ratio: AspectRatio = "9:16",
    scenes: int | None = None,
    framework: Literal["AIDA", "PAS", "BAB"] | None = None,
    title: str | None = None,
    brand_name: str | None = None,
    seed: int | None = None,
    coherence: Mapping[str, Any] | None = None,
    anyway: bool = False,
) -> Generation:
    """Start an ad and return at once. All arguments are checked first: raises BadInput before anything is started.

    Args:
        brief: What the ad is for, 10 to 5000 characters.
        references: A folder, or up to three image files. `product=FILE`, `character=FILE` and `style=FILE` name a role.
        output: A new folder for the finished ad.
        profile: Which models make it (`profiles()`); None: `$ADMINT_PROFILE`, else `sketch`.
        recipe: `master` (all agents), `express` (no critics), `classic`, or one of your own in `configs/recipes/`.
        duration: Seconds of the finished video, 9 to 60.
        aspect_ratio: `9:16`, `16:9` or `1:1`.
        scenes: Number of scenes; None: as many as the framework has for this duration.
        framework: `AIDA`, `PAS` or `BAB`; None: the recipe's.
        title: A working title.
        brand_name: The brand, which the agents then keep to.
        seed: The same seed makes the same ad. None: a random one, which `Ad.seed` names.
        coherence: Settings that differ from the recipe's, such as `{"use_latent_reuse": True}`. The names are the
            fields of `CoherenceSettings` in `pipelines/coherence.py`.
        anyway: Draw the nearest thing where the models cannot draw what the brief asks for, instead of refusing it.
    """
    _check_packages()
    from configs import settings
    from pipelines.coherence import random_seed
    from serving.ad_flags import AdFlags, new_folder
    from serving.profile_models import ad_planner

    files = [references] if isinstance(references, str | Path) else references
    fields = {
        "prompt": brief, "duration": duration, "aspect_ratio": aspect_ratio, "num_scenes": scenes,
        "framework": framework, "title": title, "brand_name": brand_name,
    }  # fmt: skip
    flags = AdFlags(
        brief={name: value for name, value in fields.items() if value is not None}, coherence=coherence or {},
        references=[str(file) for file in files], storyboard=None, recipe=recipe,
        seed=random_seed() if seed is None else seed, anyway=anyway,
    )  # fmt: skip
    with _public_errors():
        folder = new_folder(Path(output))
        loaded = settings.load_profile(profile or settings.Settings().profile)
        request, images = flags.read()
        order = ad_planner(loaded).plan(request)
    if "stitch" not in order.recipe.stages:
        raise BadInput(f"recipe {recipe!r} makes no finished video: add the stage `stitch` to it")

    async def make(show: Callable[[Event], None]) -> Ad:
        from serving.console import HandedOn
        from serving.local_run import start

        return _ad(folder, await start(folder, order, images, loaded, HandedOn(lambda event: show(_event(event)))))

    return Generation(make, folder)


class _ScoreOptions(TypedDict, total=False):
    """What both ways to call `score` take."""

    profile: str | None
    dimensions: Sequence[str] | None
    references: str | Path | Sequence[str | Path]
    style: str | None
    duration: float | None
    aspect_ratio: str | None
    overlays: str | Sequence[str]
    protocol: ScoreProtocol


class _Scoring(Protocol):
    """The two ways to call `score`."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a text is an iterable of texts; the first that fits counts
        self, video: str | Path, prompt: str | None = None, **options: Unpack[_ScoreOptions]
    ) -> tuple[Score, ...]: ...

    @overload
    def __call__(
        self,
        video: Iterable[str | Path],
        prompt: str | Mapping[str, str] | Mapping[Path, str] | None = None,
        **options: Unpack[_ScoreOptions],
    ) -> Iterator[Scored]: ...


def _called_in_two_ways(function: Callable[..., Any]) -> _Scoring:
    """Type checkers read this file as a stub too, in which a function with overloads may have no body."""
    return cast(_Scoring, function)


@_called_in_two_ways
def score(
    video: str | Path | Iterable[str | Path],
    prompt: str | Mapping[str, str] | Mapping[Path, str] | None = None,
    *,
    profile: str | None = None,
    dimensions: Sequence[str] | None = None,
    references: str | Path | Sequence[str | Path] = (),
    style: str | None = None,
    duration: float | None = None,
    aspect_ratio: str | None = None,
    overlays: str | Sequence[str] = (),
    protocol: ScoreProtocol = "auto",
) -> tuple[Score, ...] | Iterator[Scored]:
    """Measure the quality of a file, or of many: MP4 videos, and PNG, JPEG or WebP pictures.

    Of one file the scores; of an iterable a `Scored` for each, in order, as soon as it is measured: files are read as
    needed, and models see batches from several. The values equal those of single calls within 1e-6. A dimension that
    cannot be measured has no value and says why. Raises BadInput; one of many that cannot be measured has its reason.

    Args:
        video: A video has one stream, at most 120 s and 4096x2304 pixels.
        prompt: What they were asked to show, of many also by path; without it the alignment has no value.
        profile: Whose scorer models are used (`profiles()`); None: `$ADMINT_PROFILE`, else `sketch`.
        dimensions: Names of dimensions; None: all that are known and that are measured on such a file.
        references: Pictures that they were to look like, as `generate` takes them.
        style: The look that they were to have, in words.
        duration: Seconds that they were to have.
        aspect_ratio: Width to height that they were to have, such as `9:16`.
        overlays: Words that were to be read in them, throughout or, as `0.5-3=WORDS`, from one second to another.
        protocol: `auto` measures VBench's dimensions of clips of 5 s or more in pieces of 2 s, `custom` as a whole,
            `standard` says that these are clips of VBench's own prompts.
    """
    _check_packages()
    from configs.settings import Settings, load_profile
    from serving.reference_files import bound_references
    from serving.scores.local import measured_files
    from serving.scores.work import asked_of

    single = isinstance(video, str | Path)
    pictures = [references] if isinstance(references, str | Path) else references
    with _public_errors():
        chosen = load_profile(profile or Settings().profile)
        bound = bound_references([str(picture) for picture in pictures])
        told = asked_of({"style": style, "duration": duration, "aspect_ratio": aspect_ratio, "overlays": overlays})

    def scored() -> Iterator[Scored]:
        paths = cast("Iterable[str | Path]", [video] if single else video)
        with _public_errors():
            for path, found in measured_files(chosen, paths, dimensions, prompt, told, bound, protocol):
                yield Scored(path, tuple(_score(one, found.source_sha256) for one in found.scores), found.reason)

    if not single:
        return scored()
    (one,) = scored()
    if one.reason is not None:
        raise BadInput(" ".join(one.reason.split()))
    return one.scores


def profiles() -> tuple[Profile, ...]:
    """The profiles there are, in alphabetical order."""
    _check_packages()
    from configs import settings

    with _public_errors():
        return tuple(
            Profile(
                name=each.name, description=each.description, chat=each.chat, image=each.image, video=each.video,
                scorer=each.scorer, device=each.device,
            )
            for each in map(settings.load_profile, settings.profile_names())
        )  # fmt: skip


def models() -> tuple[Model, ...]:
    """The models there are, in alphabetical order, and whether their weights are on this machine."""
    _check_packages()
    from configs import settings
    from models.weights import Library

    library = Library(settings.library_root())
    with _public_errors():
        return tuple(
            Model(
                name=spec.name, kind=spec.kind, family=spec.family, licence=spec.licence, gpu_memory_gb=spec.vram_gb,
                weights=library.state(spec),
            )
            for spec in settings.load_model_specs().values()
        )  # fmt: skip


def _ad(folder: Path, record: RunRecord) -> Ad:
    from pipelines.report.verdict import warnings

    assert record.final is not None  # noqa: S101 - `generate` takes no recipe without `stitch`
    return Ad(
        generation_id=record.generation_id, folder=folder, video=folder / "final.mp4",
        thumbnail=folder / "thumbnail.jpg", report=folder / "report.html", run=folder / "run.json",
        seed=record.brief.acting_seed, seconds=record.final.seconds, scores=tuple(map(_score, record.scores)),
        approval_status=record.approval_status, warnings=warnings(record.manifest, record.story, record.scenes),
        notes=record.notes,
    )  # fmt: skip


def _event(event: StoredEvent) -> Event:
    return Event(
        seq=event.seq, kind=event.kind, message=event.message, severity=event.severity, step=event.step,
        scene_number=event.scene_number, data=event.data, created_at=event.created_at,
    )  # fmt: skip


def _score(score: MeasuredScore, source: str | None = None) -> Score:
    parts = () if score.series is None else zip(score.series.seconds, score.series.values, strict=True)
    return Score(
        metric=score.metric_id, value=score.raw, reason=score.reason, scene_number=score.scene_number,
        implementation=score.impl_id, label=score.fidelity, protocol=score.protocol, backbone=score.backbone,
        note=score.note, range=score.range, frames=score.frames_used, series=tuple(parts), licence=score.licence,
        weights_sha256=score.weights_sha256, preprocessing=score.preproc, source_sha256=source or score.source_sha256,
    )  # fmt: skip


@contextlib.contextmanager
def _public_errors() -> Iterator[None]:
    """Errors of the packages as those of this module. A bug stays what it is."""
    from models import errors as model_errors
    from pipelines import errors as pipeline_errors
    from quality.score import QualityError

    try:
        yield
    except (pipeline_errors.BadInput, model_errors.InvalidRequest, QualityError) as error:
        raise BadInput(_one_line(error)) from error
    except (pipeline_errors.PipelineError, model_errors.ModelError) as error:
        raise Failed(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(" ".join([str(error), *getattr(error, "__notes__", [])]).split())


def _check_packages() -> None:
    """Raises ShadowedPackage when a package that is found is not the one beside this file."""
    here = Path(__file__).resolve().parent
    for name in _PACKAGES:
        found = _place(name)
        if found is None:
            raise ShadowedPackage(f"AdMint's package {name!r} is missing beside {__file__!r}: install AdMint again")
        if found.resolve() != here / name:
            raise ShadowedPackage(
                f"{str(found)!r} is found before AdMint's own package {name!r}: rename it, or take its folder "
                f"{str(found.parent)!r} off the Python path (start Python elsewhere, or change PYTHONPATH or sys.path)"
            )


def _place(name: str) -> Path | None:
    """The folder or file that `import name` gives; None when there is none."""
    module = sys.modules.get(name)
    spec = importlib.util.find_spec(name) if module is None else module.__spec__
    places = [] if spec is None else [*(spec.submodule_search_locations or []), *([spec.origin] if spec.origin else [])]
    return Path(places[0]) if places else None


if __name__ == "__main__":
    try:
        _check_packages()
    except ShadowedPackage as shadowed:
        sys.exit(f"admint: {shadowed}")
    importlib.import_module("serving.cli").main()
