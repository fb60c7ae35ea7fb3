"""The GPU benchmark never invents a number: where there is no CUDA device it says so and fails."""

import pytest
import torch

from benchmarks import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_nothing_is_measured_or_written(monkeypatch, capsys, tmp_path):
    file = tmp_path / "gpu.json"
    monkeypatch.setattr("sys.argv", ["gpu", "--json", str(file)])
    assert gpu.main() == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not file.exists()
