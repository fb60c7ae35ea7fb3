"""Scorers are loaded light: without diffusers, and on a CPU in full precision."""

import subprocess
import sys

import pytest

from configs.settings import load_model
from models.registry import load
from models.spec import ScorerModelSpec
from tests.layouts.published import publish


def test_a_scorer_is_imported_without_diffusers():
    code = "import sys, models.scorers.clip; sys.exit('diffusers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_scorer_in_half_precision_runs_in_full_precision_on_a_cpu_and_its_scores_say_so(tmp_path):
    spec = load_model("clip-vit-l-14", ScorerModelSpec)
    assert spec.dtype == "float16"
    scorer = load(spec, publish(spec, tmp_path).folders(spec), "cpu")
    assert scorer.dtype == "float32"


def test_a_scorer_that_is_described_for_the_cpu_runs_there_in_a_profile_for_a_card(tmp_path):
    assert load_model("dinov2-base-cpu", ScorerModelSpec).device == "cpu"
    spec = load_model("clip-vit-l-14", ScorerModelSpec)
    folders = publish(spec, tmp_path).folders(spec)
    assert load(spec, folders, "meta").device == "meta"
    there = load(spec.model_copy(update={"device": "cpu"}), folders, "meta")
    assert (there.device, there.dtype) == ("cpu", "float32")


@pytest.mark.parametrize("module", ["serving.server.services", "serving.lab.orders", "serving.cli.main", "admint"])
def test_the_ways_in_load_no_network_library(module):
    """A gateway scores nothing itself, and a command that asks a server should not wait for torch."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], timeout=120).returncode == 0
