"""Scores of files on this machine's disk, in this process, by the scorer models of a profile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from configs.settings import Profile, library_root, load_model
from models.interfaces import Unwatched
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.errors import BadInput
from pipelines.runtime.lanes import Scorers
from pipelines.scoring import ScoreRequest
from pipelines.uploaded_videos import check_video
from quality.catalogue import Entry, entries
from quality.registry import DIMENSIONS, UNAVAILABLE, check_dimension
from quality.score import Score
from serving.profile_models import LibraryLoader

EVERY_DIMENSION = tuple(sorted({*DIMENSIONS, *UNAVAILABLE}))


def scorers_of(profile: Profile) -> Scorers:
    """The profile's scorers, each loaded when a dimension first needs it; to be closed. Raises BadInput."""
    return Scorers(LibraryLoader(Library(library_root()), profile.device), _specs(profile))


def measured_file(
    scorers: Scorers, path: Path, dimensions: Sequence[str], prompt: str | None, series: bool = False
) -> tuple[Score, ...]:
    """One score per dimension of the MP4 at `path`, in order.

    Raises BadInput for a file that cannot be read or is no such video, UnknownDimension, ModelError.
    """
    for name in dimensions:
        check_dimension(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read video {str(path)!r}: {error.strerror}") from error
    times = check_video(data, path.name, Unwatched())
    request = ScoreRequest(data=data, times=times, dimensions=tuple(dimensions), prompt=prompt, series=series)
    return scorers.measured(request, Unwatched())


def catalogue_of(profile: Profile) -> tuple[Entry, ...]:
    """Every dimension, with what is missing on this machine under `profile`. Raises BadInput."""
    library, specs = Library(library_root()), _specs(profile)
    here = {backbone for backbone, spec in specs.items() if library.present(spec)}
    licences = {backbone: spec.licence for backbone, spec in specs.items()}
    return tuple(_with_remedy(entry, specs, here) for entry in entries(licences, here))


def _with_remedy(entry: Entry, specs: dict[str, ScorerModelSpec], here: set[str]) -> Entry:
    """Where the profile names every model and only weights are missing: the command that brings them."""
    if entry.missing is None or not entry.models or not specs.keys() >= set(entry.models):
        return entry
    commands = " && ".join(f"admint models pull {specs[model].name}" for model in entry.models if model not in here)
    return entry.model_copy(update={"missing": f"its weights are not here: {commands}"})


def _specs(profile: Profile) -> dict[str, ScorerModelSpec]:
    return {backbone: load_model(name, ScorerModelSpec) for backbone, name in profile.backbones().items()}
