"""Scores of files on this machine's disk, in this process or in several, by the scorer models of a profile."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import get_args

from configs.settings import Profile, library_root, load_model
from models.errors import ModelError
from models.interfaces import Reference, Unwatched
from models.registry import not_asked, not_in_process
from models.spec import PACKAGES, ScorerModelSpec, SpecBase
from models.weights import Library
from pipelines.errors import BadInput
from pipelines.runtime.lanes import CHAT, Scorers
from pipelines.scoring import ScoreRequest, backbones_of
from pipelines.uploaded_videos import check_video
from pipelines.uploads import read_reference
from quality.catalogue import Entry, entries
from quality.protocols import AskedProtocol, in_protocol
from quality.registry import DIMENSIONS, UNAVAILABLE
from quality.score import QualityError
from serving.profile_models import LibraryLoader, asked_model, fingerprint, loaded_chat, measuring_models
from serving.scores.work import Asked, FileScores, WorkItem, work_item

KILLED = "a process that scored it was killed, mostly for want of memory: use fewer --jobs, and --resume"
ITEMS_A_CALL = 8
"""Files that one process takes at a time: enough to fill batches, few enough to share the work evenly."""
SHIPPED = {"raft": "raft-things", "ocr": "pp-ocrv6-small"}
"""The description of a backbone that is not called as it is, to name to those whose profile has none."""
EVERY_DIMENSION = tuple(sorted({*DIMENSIONS, *UNAVAILABLE}))


def scorers_of(profile: Profile) -> Scorers:
    """The profile's scorers, each loaded when a dimension first needs it; to be closed. Raises BadInput."""
    loader = LibraryLoader(Library(library_root()), profile.device)
    named = {backbone: load_model(name, ScorerModelSpec) for backbone, name in profile.backbones().items()}
    return Scorers(loader, named, partial(loaded_chat, profile, loader))


def measured_items(
    scorers: Scorers, items: Iterable[WorkItem], dimensions: Iterable[str], series: bool = False
) -> Iterator[FileScores]:
    """What comes of each item, in order, while later ones are read; backbones' batches are filled from several files.

    `dimensions` are all that the items ask for: their models are loaded first. A file that cannot be read, decoded or
    scored has its reason. Raises UnknownDimension, and every bug.
    """
    sources: deque[str | None] = deque()

    def requests() -> Iterator[ScoreRequest | Exception]:
        for item in items:
            try:
                data = Path(item.path).read_bytes()
            except OSError as error:
                sources.append(None)
                yield BadInput(f"cannot read {item.media} {item.path!r}: {error.strerror}")
                continue
            sources.append(hashlib.sha256(data).hexdigest())
            try:
                yield request_of(item, data, series)
            except Exception as error:
                yield error

    for outcome in scorers.measured_together(requests(), dimensions, Unwatched()):
        source = sources.popleft()
        if isinstance(outcome, BadInput | ModelError | QualityError):
            yield FileScores(reason=str(outcome), source_sha256=source)
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            yield FileScores(scores=outcome, source_sha256=source)


def measured_files(
    profile: Profile,
    paths: Iterable[str | Path],
    dimensions: Sequence[str] | None,
    prompt: str | Mapping[str, str] | Mapping[Path, str] | None,
    told: Asked,
    references: tuple[Reference, ...],
    protocol: AskedProtocol,
) -> Iterator[tuple[Path, FileScores]]:
    """What comes of each file, in order, as `measured_items` gives it.

    `dimensions`: all that are known and see such a file, where none are named. `prompt`: of all, or by path; `told`:
    what else all were asked to be. Raises BadInput for another protocol and for a text in place of names.
    """
    if protocol not in get_args(AskedProtocol):
        raise BadInput(f"protocol {protocol!r}: choose from {', '.join(get_args(AskedProtocol))}")
    if isinstance(dimensions, str):
        raise BadInput(f"dimensions is the text {dimensions!r}: give a list of names")
    asked = EVERY_DIMENSION if dimensions is None else tuple(dimensions)
    names = in_protocol(asked, protocol)
    prompts = {str(path): text for path, text in prompt.items()} if isinstance(prompt, Mapping) else {}
    ahead: deque[Path] = deque()

    def items() -> Iterator[WorkItem]:
        for path in paths:
            ahead.append(Path(path))
            text = prompts.get(str(path)) if isinstance(prompt, Mapping) else prompt
            own = told.model_copy(update={"prompt": text})
            yield work_item(ahead[-1], names, dimensions is not None, own, references, protocol)

    with closing(scorers_of(profile)) as scorers:
        for found in measured_items(scorers, items(), names, series=True):
            yield ahead.popleft(), found


def request_of(item: WorkItem, data: bytes, series: bool) -> ScoreRequest:
    """The call that measures the item, whose file holds `data`. Raises BadInput for what is no video or picture."""
    times = check_video(data, item.name, Unwatched()) if item.media == "video" else None
    return ScoreRequest(
        data=data if item.media == "video" else read_reference(data, item.name, "image"),
        media=item.media,
        times=times,
        dimensions=item.dimensions,
        prompt=item.prompt,
        references=item.references,
        start=item.start,
        asked=item.as_asked(),
        protocol=item.protocol,
        series=series,
    )


def scored_in_processes(
    profile: Profile, items: Sequence[WorkItem], jobs: int, series: bool = False
) -> Iterator[FileScores]:
    """As `measured_items`, by so many processes of this machine that each load the models; in order.

    A process that dies ends the others, and every item that was not yet given has that as its reason.
    """
    parts = [items[start : start + ITEMS_A_CALL] for start in range(0, len(items), ITEMS_A_CALL)]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")  # a fork would share torch's threads and locks
    with ProcessPoolExecutor(jobs, context, _begin, (profile, threads)) as processes:
        waiting = deque((part, processes.submit(_score, part, series)) for part in parts)
        try:
            while waiting:
                part, future = waiting.popleft()
                try:
                    yield from future.result()
                except BrokenProcessPool:
                    yield from [FileScores(reason=KILLED)] * len(part)
        finally:
            processes.shutdown(cancel_futures=True)


_own: list[Scorers] = []
"""In a process of `scored_in_processes`: its scorers."""


def _begin(profile: Profile, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    _own.append(scorers_of(profile))


def _score(items: Sequence[WorkItem], series: bool) -> list[FileScores]:
    return list(measured_items(_own[0], items, dimensions_of(items), series))


def dimensions_of(items: Iterable[WorkItem]) -> tuple[str, ...]:
    """All that the items ask for, each once."""
    return tuple(dict.fromkeys(name for item in items for name in item.dimensions))


def fingerprints_of(profile: Profile, dimensions: Iterable[str]) -> dict[str, str]:
    """What identifies each scorer model that the dimensions need and that is here, by the backbone that it is.

    Raises UnknownDimension, BadInput, WeightsError.
    """
    library, specs = Library(library_root()), measuring_models(profile)
    needed = [name for name in backbones_of(dimensions) if name in specs]
    return {name: fingerprint(specs[name], library) for name in needed if library.present(specs[name])}


def catalogue_of(profile: Profile, served: bool = False) -> tuple[Entry, ...]:
    """Every dimension, with what is missing on this machine under `profile`; on a server of it where it is `served`.

    Raises BadInput.
    """
    library, specs = Library(library_root()), measuring_models(profile)
    here = {backbone for backbone, spec in specs.items() if library.present(spec)}
    chat = asked_model(profile)
    why = not_asked(chat) or (None if served and chat.name == profile.chat else not_in_process(chat))
    if why is not None:
        here.discard(CHAT)
    reasons = {CHAT: why}
    unnamed = dict.fromkeys(model for entry in entries({}, here) for model in entry.models if model not in specs)
    offered = {backbone: spec for backbone in unnamed if (spec := _shipped(backbone)) is not None}
    licences = {backbone: spec.licence for backbone, spec in (*offered.items(), *specs.items())}
    lacking = {backbone: _commands(spec) for backbone, spec in offered.items() if not library.present(spec)}
    lacking |= {backbone: _commands(spec) for backbone, spec in specs.items() if backbone not in here}
    names = {backbone: spec.name for backbone, spec in offered.items()}
    return tuple(_with_remedy(entry, names, lacking, here, reasons) for entry in entries(licences, here))


def _shipped(backbone: str) -> ScorerModelSpec | None:
    """The description of a backbone that the profile could name; None where there is none."""
    try:
        return load_model(SHIPPED.get(backbone, backbone.replace("_", "-")), ScorerModelSpec)
    except BadInput:
        return None


def _commands(spec: SpecBase) -> str:
    return PACKAGES if spec.packages else f"admint models pull {spec.name}"


def _with_remedy(
    entry: Entry,
    offered: Mapping[str, str],
    lacking: Mapping[str, str],
    here: set[str],
    reasons: Mapping[str, str | None],
) -> Entry:
    """Why a model cannot be used as it is, and what to do: the name to write into the profile, where it has none, from
    `offered`, and the commands that bring the weights that are `lacking`."""
    absent = [model for model in entry.models if model not in here]
    if why := next((reason for model in absent if (reason := reasons.get(model))), None):
        return entry.model_copy(update={"missing": why})
    commands = " && ".join(lacking[model] for model in absent if model in lacking)
    if not (unnamed := [f"{model}: {offered[model]}" for model in absent if model in offered]):
        return entry.model_copy(update={"missing": f"its weights are not here: {commands}"}) if commands else entry
    then = f", then: {commands}" if commands else ""
    return entry.model_copy(update={"missing": f"{entry.missing} (`{', '.join(unnamed)}`){then}"})
