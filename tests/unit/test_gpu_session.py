"""A GPU session keeps what it has: a failing row ends nothing, none begins too late, each is in the file at once."""

import json
import sys

import numpy as np

from benchmarks.gpu_session import Session
from tests.support.program import run


def failing(*_):
    raise KeyError("no such layer")


def seconds(per_step):
    return {"seconds": 3 * per_step, "seconds_per_step": per_step}


def test_a_failing_row_says_why_and_the_next_is_measured_against_the_first(tmp_path):
    session = Session(tiny=True, path=tmp_path / "session.json")
    pixels = np.arange(12, dtype=np.uint8)
    session.row("part", "plain", 1, lambda: (seconds(2.0), pixels))
    session.row("part", "broken", 1, failing)
    session.row("part", "fast", 1, lambda: (seconds(1.0), pixels + 1))
    plain, broken, fast = json.loads((tmp_path / "session.json").read_text())["rows"]
    assert "speed_up" not in plain
    assert broken["refused"] == "KeyError: 'no such layer'"
    assert (fast["speed_up"], fast["largest_deviation"]) == (2.0, 1)


def test_no_row_and_no_part_begins_that_cannot_end_in_the_budget(tmp_path):
    session = Session(tiny=False, budget=10, path=tmp_path / "session.json")
    session.row("part", "long", 11, failing)
    session.part("part", failing)
    rows = json.loads((tmp_path / "session.json").read_text())["rows"]
    assert [row["what"] for row in rows if "may need" in row["not_begun"]] == ["long", "all rows"]


def test_the_gpu_tier_is_collected_without_what_a_gpu_image_lacks():
    look = (
        "import sys, tests.conftest, tests.gpu.conftest, tests.gpu.test_engines_on_cuda, tests.gpu.test_gpu_benchmark;"
        "print(sorted({'alembic', 'sqlalchemy', 'psycopg', 'ray', 'fastapi', 'openai', 'xgrammar'} & set(sys.modules)))"
    )
    looked = run([sys.executable, "-c", look])
    assert (looked.returncode, looked.stdout) == (0, "[]\n"), looked.stderr
