"""The GPU benchmark at its smallest, on the device: every part runs and writes finite numbers."""

import json
import subprocess
import sys


def test_the_scoring_part_measures_and_names_the_device(tmp_path):
    file = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--only", "clip", "--json", str(file)]
    subprocess.run(command, check=True, timeout=600)
    result = json.loads(file.read_text())
    assert "CPU" not in result["device"]
    assert all(row["frames_per_second"] > 0 and row["peak_gb"] > 0 for row in result["clip"]["scoring"])
