"""The flags of an ad as fields of an `AdRequest`, and the planner's field names as flags again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import BadInput
from pipelines.orders.ad import AdRequest
from pipelines.recipe import StageName
from pipelines.storyboard_file import Storyboard, read_storyboard
from serving.reference_files import ReferenceFile, read_references
from serving.run_folder import check_new

FLAGS = {
    "brief.num_scenes": "--scenes",
    "references": "--reference-images",
    "coherence.use_seed_control": "--seed-control",
    "coherence.use_latent_reuse": "--latent-reuse",
    "coherence.use_ip_adapter": "--ip-adapter",
}
"""Flags of another name than their field."""


@dataclass(frozen=True)
class AdFlags:
    """An ad as the flags say it, those that were given."""

    brief: Mapping[str, Any]
    coherence: Mapping[str, Any]
    references: list[str]
    storyboard: Path | None
    recipe: str
    seed: int
    anyway: bool = False
    """Draw the nearest thing where the models cannot draw what the brief asks for."""

    def read(
        self, stages: tuple[StageName, ...] | None = None, approvals: tuple[StageName, ...] = ()
    ) -> tuple[AdRequest, tuple[ReferenceFile, ...]]:
        """The request, and the files of its references. Raises BadInput for a file that cannot be used."""
        files = read_references(self.references)
        request = AdRequest(
            recipe=self.recipe,
            brief={**self.brief, "seed": self.seed},
            references=tuple(file.reference for file in files),
            coherence=self.coherence,
            stages=stages,
            approvals=approvals,
            accept_out_of_domain=self.anyway,
            storyboard=None if self.storyboard is None else _storyboard(self.storyboard),
        )
        return request, files


def _storyboard(path: Path) -> Storyboard:
    try:
        return read_storyboard(path.read_bytes(), path.name)
    except OSError as error:
        raise BadInput(f"cannot read storyboard {str(path)!r}: {error.strerror}") from None


@contextmanager
def naming_flags() -> Iterator[None]:
    """Let a refusal that is raised inside name the flag instead of the field of the `AdRequest`."""
    try:
        yield
    except BadInput as error:
        raise error.renamed(flag_of) from None


def flag_of(field: str) -> str:
    return FLAGS.get(field) or "--" + field.rpartition(".")[2].replace("_", "-")


def new_folder(output: Path | None) -> Path:
    """Raises BadInput when none is named, or the one that is cannot take a new ad."""
    if output is None:
        raise BadInput("--output is missing: name a folder for the finished ad, or --resume an earlier one")
    check_new(output)
    return output


def refuse_with_resume(flags: Collection[str], references: list[str] | None) -> None:
    """A resumed run keeps its own brief. Raises BadInput when flags of a new one are given too."""
    named = sorted(flags) or (["reference_images"] if references else [])
    if named:
        raise BadInput(f"{flag_of(named[0])} cannot be changed with --resume: leave it out, or start a new run")
