import os
import sys

import pytest

from models.errors import InferenceFailed, WeightsError
from pipelines.errors import BadInput, Busy, LeaseLost, NotFound, StepFailed
from serving.cli.main import OLD_TOOLS, app, exit_code, one_line, renamed, repeat_flags
from tests.support.program import run


def test_a_flag_with_several_values_is_read_as_the_same_flag_several_times():
    assert repeat_flags(["pipeline", "--reference-images", "a.jpg", "b.jpg", "--output", "out"]) == [
        "pipeline",
        "--reference-images",
        "a.jpg",
        "--reference-images",
        "b.jpg",
        "--output",
        "out",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("x"), 2),
        (NotFound("x"), 2),
        (StepFailed("x"), 3),
        (InferenceFailed("x"), 3),
        (LeaseLost("x"), 4),
        (WeightsError("x"), 5),
        (Busy("x"), 6),
    ],
)
def test_every_error_of_ours_has_its_documented_exit_code(error, code):
    assert exit_code(error) == code


@pytest.mark.parametrize("tool", OLD_TOOLS)
@pytest.mark.parametrize("spelt", ["{}.py", "cli_tools/{}.py", "./cli_tools/{}.py", "backend\\cli_tools\\{}.py", "{}"])
def test_a_tool_as_the_old_system_spelt_it_is_told_its_command(tool, spelt):
    old = spelt.format(tool.replace("-", "_"))
    assert tool in {command.name for command in app.registered_commands}
    if old == tool:
        assert renamed([old]) is None
    else:
        said = renamed([old, "--prompt", "two words", "--reference_images=a_b", "--full_pipeline"])
        assert said == f"admint {tool} --prompt 'two words' --reference-images=a_b --full-pipeline"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["pipeline", "--prompt", "x"], ["serve"], ["other_tool.py"]])
def test_every_other_command_line_is_as_it_was(arguments):
    assert renamed(arguments) is None


def test_the_error_of_an_old_spelling_is_one_line_with_the_command():
    done = run([sys.executable, "-m", "serving", "cli_tools/create_storyboard.py", "--prompt", "x"])
    assert (done.returncode, done.stderr) == (
        2,
        "admint: 'cli_tools/create_storyboard.py' is a command of admint now, with the same flags: "
        "admint create-storyboard --prompt x\n",
    )


def test_a_bug_has_no_exit_code_and_keeps_its_traceback():
    assert exit_code(KeyError("x")) is None


def test_a_step_that_failed_for_its_weights_exits_as_weights():
    error = StepFailed("x")
    error.__cause__ = WeightsError("y")
    assert exit_code(error) == 5


def test_an_error_is_one_line_with_its_notes():
    error = BadInput("first\n  second")
    error.add_note("remedy")
    assert one_line(error) == "first second remedy"


def test_help_imports_no_heavy_library():
    script = (
        "import sys; from serving.cli.main import app\n"
        "import typer.testing; result = typer.testing.CliRunner().invoke(app, ['pipeline', '--help'])\n"
        "assert result.exit_code == 0 and '--full-pipeline' in result.output, result.output\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'sqlalchemy', 'av', 'cv2', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    listed = run([sys.executable, "-c", script])
    assert listed.returncode == 0, listed.stderr


def test_a_command_of_a_server_loads_nothing_that_makes_ads():
    script = (
        "import sys; from serving.cli.main import app\n"
        "import typer.testing\n"
        "result = typer.testing.CliRunner().invoke(app, ['list', '--server', 'http://127.0.0.1:1'])\n"
        "assert 'no connection' in str(result.exception), (result.exception, result.output)\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'sqlalchemy', 'av', 'cv2', 'decord', 'PIL', 'openai', 'jinja2',"
        " 'numpy', 'pipelines.orders.ad', 'pipelines.report.record'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    listed = run([sys.executable, "-c", script], env={**os.environ, "ADMINT_API_KEY": "admint_x"})
    assert listed.returncode == 0, listed.stderr
