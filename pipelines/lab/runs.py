"""The table of a sweep: one row per run, kept as a file each while the sweep goes on, and written as CSV and Parquet.

A row is written once, whole or not at all, so that a sweep that was killed has every run that it finished. Which rows
belong to the table, and in which order, is said by the sweep's plan: rows of an earlier version of the spec stay in
their folder and out of the table.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from models.interfaces import Plain
from pipelines.errors import BadInput, first_problem
from pipelines.store.artifacts import write_durably
from quality.score import Fidelity, Finite

Setting = str | int | float | bool | None
PLAN, ROWS, CSV, PARQUET = "plan.json", "rows", "runs.csv", "runs.parquet"


class RunScore(Plain):
    """One outcome of one run: a value, or the reason why there is none."""

    value: Finite | None = None
    """On the outcome's own scale."""
    impl_id: str
    """Which code measured it, with its version: `text_alignment@1`."""
    label: Fidelity | None = None
    """How near it is to the published metric; None when there is no value."""
    weights: str | None = None
    """sha256 of the weights behind it; None for a formula."""
    reason: str | None = None
    """Why there is no value."""

    @model_validator(mode="after")
    def _value_or_reason(self) -> RunScore:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"outcome of {self.impl_id!r} needs either a value or a reason, and not both")
        return self


class Run(Plain):
    """One arm at one story and seed: a row of the table."""

    run_id: str
    """A hash of all that the row depends on: another spec, model or story is another run."""
    arm: str
    story: str
    """Id of the story in the suite."""
    seed: int
    """Seed of the spec. The same stories and seeds are run for every arm."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What was set, by path (`coherence.adapter_scale`): every path that an arm of the sweep sets, for every arm."""
    takes: dict[str, str] = Field(default_factory=dict)
    """sha256 of what was made, in the sweep's artifacts: `scene-1/keyframe`, `scene-1/clip`, `video`."""
    scores: dict[str, RunScore] = Field(default_factory=dict)
    """By outcome: `text_alignment` is the mean over the scenes, `text_alignment.worst` the worst of them."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """By stage: how long its steps took when they were made, by whichever run of the sweep made them."""
    peak_memory_mb: float | None = None
    """The most that the process held while a step of the run was made, in units of 10^6 bytes; on a GPU, of its memory.
    None where the system does not say."""
    fingerprint: str = ""
    """A hash of the models, recipe, brief and library versions behind the run."""
    warnings: tuple[str, ...] = ()
    """What was done in another way than asked."""
    failed: str | None = None
    """Why there is no result; None: it is finished."""


class MixedImplementations(BadInput):
    """An outcome was measured in more than one way, so that its values are not in one column."""


class Runs(Sequence[Run]):
    """The finished runs of a sweep, in the order of its plan."""

    def __init__(self, runs: Iterable[Run], missing: int = 0) -> None:
        """`missing`: how many runs of the plan are not finished."""
        self._runs = tuple(runs)
        self.missing = missing

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, index: Any) -> Any:
        return self._runs[index]

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in the order of the plan."""
        return tuple(dict.fromkeys(run.arm for run in self._runs))

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Ids of all outcomes, in the order in which they first occur."""
        return tuple(dict.fromkeys(name for run in self._runs for name in run.scores))

    def implementations(self, outcome: str) -> tuple[str, ...]:
        """The ids of what measured the values of an outcome, sorted; () where no run has a value."""
        return tuple(sorted({score.impl_id for score in self._scores(outcome) if score.value is not None}))

    def values(self, outcome: str, impl_id: str | None = None) -> dict[tuple[str, str, int], float | None]:
        """The values of an outcome by (arm, story, seed); None where a run failed or has a reason instead.

        Raises MixedImplementations when more than one implementation measured it and `impl_id` names none of them.
        """
        found = self.implementations(outcome)
        if impl_id is None and len(found) > 1:
            raise MixedImplementations(
                f"outcome {outcome!r} was measured by {', '.join(found)}: say which one is meant, or measure all runs "
                "anew with one version"
            )
        wanted = found if impl_id is None else (impl_id,)
        table: dict[tuple[str, str, int], float | None] = {}
        for run in self._runs:
            score = run.scores.get(outcome)
            here = score is not None and score.impl_id in wanted
            table[run.arm, run.story, run.seed] = score.value if score is not None and here else None
        return table

    def _scores(self, outcome: str) -> Iterator[RunScore]:
        return (run.scores[outcome] for run in self._runs if outcome in run.scores)


# --- files ---


def write_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Keep what a sweep is going to run; `plan["runs"]` are the ids of its runs, in order. Raises StorageFailed."""
    write_durably(folder / PLAN, (json.dumps(plan, indent=1, ensure_ascii=False) + "\n").encode())


def read_plan(folder: Path) -> dict[str, Any]:
    """What `write_plan` kept. Raises BadInput when the folder holds no sweep."""
    try:
        plan = json.loads((folder / PLAN).read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{str(folder)!r} holds no sweep: name the --out folder of one") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"the plan of the sweep in {str(folder)!r} cannot be read: {error}") from None
    if not isinstance(plan, dict) or not isinstance(plan.get("runs"), list):
        raise BadInput(f"{str(folder / PLAN)!r} is no plan of a sweep: start the sweep again, finished runs are kept")
    return plan


def write_run(folder: Path, run: Run) -> None:
    """Keep the row of a finished run; a row of the same id is replaced. Raises StorageFailed."""
    write_durably(_row(folder, run.run_id), run.model_dump_json().encode())


def read_run(folder: Path, run_id: str) -> Run | None:
    """The row of a run; None when it is not finished. Raises BadInput for a file that is no row."""
    path = _row(folder, run_id)
    try:
        return Run.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise BadInput(
            f"{str(path)!r} is no row of a run ({first_problem(error)}): delete it to run it again"
        ) from None


def read_runs(folder: Path) -> Runs:
    """The finished runs of the sweep in `folder`, also while it is under way. Raises BadInput."""
    ids = read_plan(folder)["runs"]
    found = [run for run_id in ids if (run := read_run(folder, run_id)) is not None]
    return Runs(found, missing=len(ids) - len(found))


def write_tables(folder: Path, runs: Runs) -> None:
    """Write `runs.csv`, and `runs.parquet` where pyarrow is installed (extra `lab`). Raises StorageFailed."""
    columns = table_columns(runs)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_durably(folder / CSV, text.getvalue().encode())
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({name: _uniform(values) for name, values in columns.items()}), buffer)
    write_durably(folder / PARQUET, buffer.getvalue().to_pybytes())


def table_columns(runs: Runs) -> dict[str, list[Any]]:
    """The table by columns, a value or None per run.

    An outcome has a column for each implementation that measured it, named `OUTCOME [IMPL_ID]`, and beside it the same
    with `.label`, `.weights` and `.reason`.
    """
    columns: dict[str, list[Any]] = {
        name: [getattr(run, name) for run in runs]
        for name in ("run_id", "arm", "story", "seed", "failed", "fingerprint", "peak_memory_mb")
    }
    for name in _names(run.settings for run in runs):
        columns[f"settings.{name}"] = [_cell(run.settings.get(name)) for run in runs]
    for name in _names(run.seconds for run in runs):
        columns[f"seconds.{name}"] = [run.seconds.get(name) for run in runs]
    for name in _names(run.takes for run in runs):
        columns[f"takes.{name}"] = [run.takes.get(name) for run in runs]
    for outcome in runs.outcomes:
        for impl_id in sorted({run.scores[outcome].impl_id for run in runs if outcome in run.scores}):
            own = [_measured_by(impl_id, run.scores.get(outcome)) for run in runs]
            column = f"{outcome} [{impl_id}]"
            columns[column] = [score and score.value for score in own]
            for detail in ("label", "weights", "reason"):
                columns[f"{column}.{detail}"] = [score and getattr(score, detail) for score in own]
    columns["warnings"] = ["; ".join(run.warnings) or None for run in runs]
    return columns


def _row(folder: Path, run_id: str) -> Path:
    return folder / ROWS / f"{run_id}.json"


def _names(mappings: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for mapping in mappings for name in mapping))


def _measured_by(impl_id: str, score: RunScore | None) -> RunScore | None:
    return score if score is not None and score.impl_id == impl_id else None


def _cell(value: Any) -> Setting:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def _uniform(values: list[Any]) -> list[Any]:
    """A column of one type: numbers where all are numbers, else texts."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1:
        return values
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]
