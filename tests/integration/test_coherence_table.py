"""Two stories of the coherence table with its controls: the real sweep, on the sketch family, by its command."""

import json
import re
import sys

import pytest

from benchmarks.coherence.plan import plan_sha256
from tests.support.command import REPOSITORY, environment
from tests.support.program import run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a table of one knob, made once."""
    out = tmp_path_factory.mktemp("table") / "out"
    part = ("--knobs", "adapter_blocks", "--stories", "2", "--jobs", "1")
    command = [sys.executable, "-m", "benchmarks.coherence", "--out", out, *part]
    ended = run(command, 600, cwd=REPOSITORY, env={**environment(), "PYTHONPATH": str(REPOSITORY)})
    assert ended.returncode == 0, ended.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def results(made):
    return json.loads((made / "coherence.json").read_text())


def test_every_arm_stands_beside_the_base(results):
    knob = results["knobs"]["adapter_blocks"]
    assert list(knob["arms"]) == ["adapter_blocks style", "adapter_blocks layout"]
    assert results["plan_sha256"] == plan_sha256()
    assert results["failed"] == 0
    for rows in knob["arms"].values():
        mean, difference, low, *_, pairs, word = rows["sketch.product_similarity"]
        assert (low, pairs, word) == (None, 2, "null")
        assert mean == pytest.approx(knob["base"]["sketch.product_similarity"] + difference, abs=1e-3)
        assert 0 <= rows["judge.product"][0] <= 1


def test_the_base_made_anew_is_the_same_to_the_bit(results):
    control = next(one for one in results["controls"] if one["name"] == "base again")
    assert control["passed"]
    assert control["found"].startswith("8 of 8 takes bit-equal")


def test_controls_come_out_as_they_must(results):
    found = {one["name"]: one for one in results["controls"]}
    assert set(found) == {"base again", "frozen", "shuffled", "wrong product"}
    assert all(one["passed"] for one in found.values()), found
    assert found["wrong product"]["found"].startswith("2 of 2 stories thrown out, 2 of the base's 2 kept")


def test_the_page_of_the_sweep_and_the_table_are_written(made):
    page = (made / "first-stills" / "report.html").read_text()
    assert "adapter_blocks style" in page
    assert not re.search(r"""(src|href)=["']https?:""", page)
    assert "| style |" in (made / "coherence.md").read_text()
