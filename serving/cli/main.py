"""The `admint` command: its subcommands, and the one mapping of errors to exit codes.

Imports nothing heavy: every command imports what it needs when it runs, so that `--help` answers at once.

Exit codes: 0 done · 2 bad input or flags · 3 a step failed (resumable) · 4 disk or database refused (resumable) ·
5 model weights missing or altered · 6 another process runs it · 7 the server cannot be reached, or was lost (it goes
on with the generation) · 130 interrupted (resumable) or cancelled.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys

import typer

from models.library_logs import quiet_libraries
from serving.cli import ads, data, enhance, pictures
from serving.cli.bench import app as bench_app
from serving.cli.compare import compare
from serving.cli.deploy import deploy
from serving.cli.models import app as models_app
from serving.cli.plan import plan
from serving.cli.remote import attach, cancel, list_jobs, login, logout
from serving.cli.score import app as score_app
from serving.cli.server import serve, worker
from serving.cli.sweep import sweep
from serving.cli.users import app as users_app

OLD_TOOLS = (
    "create-storyboard", "generate-images", "generate-videos", "enhance-image-prompt", "enhance-video-prompt",
    "pipeline",
)  # fmt: skip
"""What the old system had as scripts in `cli_tools/`."""
MULTIPLE_VALUES = ("--reference-images",)
"""Options that take several values after one flag, as a shell's `*.jpg` hands them over."""

INTERRUPTED = 128 + signal.SIGINT

app = typer.Typer(
    name="admint",
    help="Ad videos from a brief and up to three reference images, on your own machine, with open models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("pipeline")(ads.pipeline)
app.command("create-storyboard")(ads.create_storyboard)
app.command("generate-images")(pictures.generate_images)
app.command("generate-videos")(pictures.generate_videos)
app.command("enhance-image-prompt")(enhance.enhance_image_prompt)
app.command("enhance-video-prompt")(enhance.enhance_video_prompt)
app.command("serve")(serve)
app.command("worker")(worker)
app.command("deploy")(deploy)
app.command("backup")(data.backup)
app.command("restore")(data.restore)
app.command("gc")(data.gc)
app.command("disk")(data.disk)
app.command("plan")(plan)
app.command("sweep")(sweep)
app.command("compare")(compare)
app.command("login")(login)
app.command("logout")(logout)
app.command("attach")(attach)
app.command("cancel")(cancel)
app.command("list")(list_jobs)
app.add_typer(models_app, name="models")
app.add_typer(score_app, name="score", help="Measure files; `admint score compare A B` compares two runs.")
app.add_typer(bench_app, name="bench", help="Prompts through models, scored; `admint bench compare A B` compares two.")
app.add_typer(users_app, name="users")


def main() -> None:
    """Run the `admint` command: the entry point of the script."""
    hear_ctrl_c()
    # Log lines of these libraries (no torchvision, a cut prompt) would tear the display; our notices say what matters.
    for library in ("DIFFUSERS", "TRANSFORMERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    quiet_libraries()
    arguments = sys.argv[1:]
    if (now := renamed(arguments)) is not None:
        typer.echo(f"admint: {arguments[0]!r} is a command of admint now, with the same flags: {now}", err=True)
        raise SystemExit(2)
    try:
        code = app(args=repeat_flags(arguments), prog_name="admint", standalone_mode=False)
    except typer.TyperException as error:  # a flag that does not exist, a value of the wrong type
        typer.echo(f"admint: {error.format_message()} (see admint --help)", err=True)
        raise SystemExit(2) from None
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        typer.echo(f"admint: {one_line(error)}", err=True)
        raise SystemExit(code) from None
    raise SystemExit(code or 0)


def renamed(arguments: list[str]) -> str | None:
    """The command line that was meant, where the first argument is a tool as the old system spelt it, else None.

    `cli_tools/create_storyboard.py`, `create_storyboard.py` and `create_storyboard` are `admint create-storyboard` now.
    """
    if not arguments:
        return None
    script, *rest = arguments
    name = re.split(r"[/\\]", script)[-1].removesuffix(".py").replace("_", "-")
    if name == script or name not in OLD_TOOLS:
        return None
    flags = [re.sub(r"^--[a-z_]+", lambda flag: flag[0].replace("_", "-"), each) for each in rest]
    return shlex.join(["admint", name, *flags])


def hear_ctrl_c() -> None:
    """Let Ctrl-C stop this process also where it was started with SIGINT ignored.

    A shell starts `command &` in a script so, and Python then leaves the signal ignored: the command and every program
    above it could only be killed. SIGHUP, which `nohup` ignores, stays as it is.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def repeat_flags(arguments: list[str]) -> list[str]:
    """`--reference-images a b` → `--reference-images a --reference-images b`, which is what the parser reads."""
    repeated: list[str] = []
    flag: str | None = None
    for argument in arguments:
        if argument.startswith("-"):
            flag = argument if argument in MULTIPLE_VALUES else None
        elif flag is not None and repeated[-1] != flag:
            repeated.append(flag)
        repeated.append(argument)
    return repeated


def exit_code(error: Exception) -> int | None:
    """The documented exit code of an error of ours; None for a bug, which keeps its traceback."""
    from models.errors import Cancelled, InvalidRequest, ModelError, WeightsError
    from pipelines.errors import BadInput, Busy, NotFound, PipelineError, StorageFailed
    from serving.errors import (
        Forbidden,
        PortTaken,
        ServingError,
        Unauthenticated,
        Unreachable,
        UnsafeCredentials,
        UnsafeSecret,
    )

    codes: tuple[tuple[type[Exception], int], ...] = (
        (BadInput, 2),
        (NotFound, 2),
        (InvalidRequest, 2),
        (PortTaken, 2),
        (UnsafeSecret, 2),
        (UnsafeCredentials, 2),
        (Unauthenticated, 2),
        (Forbidden, 2),
        (Unreachable, 7),
        (Cancelled, INTERRUPTED),
        (WeightsError, 5),
        (StorageFailed, 4),
        (Busy, 6),
        (PipelineError, 3),
        (ModelError, 3),
        (ServingError, 3),
    )
    cause = error.__cause__
    if isinstance(cause, WeightsError):
        return 5
    return next((code for kind, code in codes if isinstance(error, kind)), None)


def one_line(error: Exception) -> str:
    """The message of `error` and its notes, on one line."""
    return " ".join(" ".join([str(error), *getattr(error, "__notes__", [])]).split())
