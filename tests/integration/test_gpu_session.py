"""The GPU session at its smallest, on a CPU: every row is there, and ours gives what bare diffusers gives."""

import json
import os
import sys

from tests.support.program import run

ROWS = {
    "wan-14b": [
        "bare diffusers", "ours", "compile + cuDNN attention", "compile + cuDNN attention + float8 products",
        "cuDNN attention", "cuDNN attention + float8 storage",
    ],
    "sdxl": ["bare diffusers", "ours", "batch of 1", "batch of 2", "compile"],
    "wan-1.3b": [
        "bare diffusers", "ours", "cuDNN attention", "compile + cuDNN attention",
        "first block cache (void: random weights say nothing of it)",
    ],
    "klein": ["ours", "compile"],
}  # fmt: skip


def test_every_row_is_measured_and_ours_equals_bare_diffusers(tmp_path):
    file = tmp_path / "session.json"
    # Compiling for real takes a minute, and is tested for each family by itself.
    quick = os.environ | {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    done = run([sys.executable, "-m", "benchmarks.gpu_session", "--tiny", "--json", file], env=quick)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert {part: [row["what"] for row in rows if row["part"] == part] for part in ROWS} == ROWS
    assert all(row.get("seconds_per_step", 0) > 0 for row in rows), rows
    ours = [row for row in rows if row["what"] == "ours" and row["part"] != "klein"]
    assert [row["largest_deviation"] for row in ours] == [0, 0, 0]
