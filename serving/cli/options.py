"""Flags that several commands share, and their checks. Nothing heavy is imported here.

A flag that the user did not give is None and never overrides a recipe's or profile's own value.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

_FILE_ENDING = re.compile(r"\.\w{1,5}$")
Prompt = Annotated[
    str,
    typer.Option("--prompt", help="What the ad is for; @FILE reads it from a file, @@ begins a text with @."),
]
References = Annotated[
    list[str] | None,
    typer.Option(
        "--reference-images",
        help="A folder or up to three image files. `character=FILE`, `product=FILE`, `style=FILE` name a role.",
    ),
]
ProfileName = Annotated[str | None, typer.Option("--profile", help="Which models to use (configs/profiles).")]
ServerAddress = Annotated[
    str | None,
    typer.Option(
        "--server", envvar="ADMINT_SERVER", help="Let this server do it: http://HOST:PORT (see admint login)."
    ),
]
KnownServer = Annotated[
    str | None,
    typer.Option("--server", envvar="ADMINT_SERVER", help="http://HOST:PORT; that of the last login when left out."),
]
RecipeName = Annotated[str, typer.Option("--recipe", help="master, express or classic (configs/recipes).")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same ad. Random when left out, and reported.")]
Duration = Annotated[int, typer.Option("--duration", help="Seconds of the finished video, 9 to 60.")]
AspectRatio = Annotated[str, typer.Option("--aspect-ratio", help="9:16, 16:9 or 1:1.")]
FrameworkName = Annotated[str | None, typer.Option("--framework", help="AIDA, PAS or BAB.")]
Anyway = Annotated[
    bool,
    typer.Option("--anyway", help="Draw the nearest thing where the models cannot draw what the brief asks for."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse a --model that runs elsewhere, instead of using the nearest one here.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write over files that are there already.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


class UsualCommand(TyperGroup):
    """A group of commands of which one is meant where none is named: `admint score PATH` is `admint score files PATH`.

    A file or folder that is called as a command is given as a path: `./compare`.
    """

    usual: ClassVar[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] and args[0] in self.commands else [self.usual, *args])


def text_of(value: str) -> str:
    """The text itself, or the content of `@FILE`; `@@` begins a text with `@`. Raises BadInput.

    A text in several words that begins with `@` and names no file is that text: `@nike style summer sale`.
    """
    from pipelines.errors import BadInput

    if value.startswith("@@"):
        return value[1:]
    if not value.startswith("@"):
        return value
    name = value[1:]
    if not is_file(name) and len(value.split()) > 1 and not _FILE_ENDING.search(name):
        return value
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        no_text = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "no file has such a name"
        reason = error.strerror if isinstance(error, OSError) else no_text
        raise BadInput(
            f"cannot read the prompt file {name[:200]!r}: {reason}; write @@ for a prompt that begins with @"
        ) from None


def is_file(value: str) -> bool:
    """Whether `value` names a file that is there."""
    try:
        return Path(value).is_file()
    except (OSError, ValueError):  # a long prompt is no valid file name
        return False


def check_free(overwrite: bool, *paths: Path) -> None:
    """Raises BadInput when one of the files that a command will write is there, unless it may be overwritten."""
    from pipelines.errors import BadInput

    taken = [path for path in paths if path.exists() or path.is_symlink()]
    if taken and not overwrite:
        raise BadInput(f"{str(taken[0])!r} is there already: name another --output, or give --overwrite")


def seed_or_random(seed: int | None) -> int:
    """The given seed, or a fresh one that the report will name. Raises BadInput when out of range."""
    from pipelines.coherence import random_seed
    from pipelines.errors import BadInput

    if seed is None:
        return random_seed()
    if not 0 <= seed < 2**63:
        raise BadInput(f"--seed {seed!r} must be 0 to 2**63 - 1: leave it out for a random one")
    return seed


def chosen_server(server: str | None, profile: str | None) -> str | None:
    """The checked address of `--server`; None: this machine does the work.

    Raises BadInput, also for a profile beside a server.
    """
    from pipelines.errors import BadInput
    from serving.client.http import server_address

    if not server:
        return None
    if profile is not None:
        raise BadInput(f"--profile {profile!r} chooses models of this machine, and a server has its own: leave it out")
    return server_address(server)


def given_only(**flags: Any) -> dict[str, Any]:
    """Those of `flags` that the user gave."""
    return {name: value for name, value in flags.items() if value is not None}
