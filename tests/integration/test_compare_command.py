"""`admint compare`: arms of sweeps and finished ads side by side, and what cannot stand there."""

import io
import json
import re
import shutil

import pytest
from PIL import Image

from pipelines.errors import BadInput
from pipelines.lab.comparison import compared
from pipelines.lab.runs import Run, RunScore, write_plan, write_run
from pipelines.store.artifacts import LocalArtifacts
from quality.score import Score
from serving.cli.compare import compare, lines_of

STORIES = 8


def picture(shade):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (shade, 90, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def sweep(folder, level, impl="likeness@1"):
    """A finished sweep of two arms, the second one better by 0.1."""
    artifacts = LocalArtifacts(folder / "artifacts")
    ids = []
    for arm, scale in (("base", 0.6), ("strong", 1.0)):
        for story in range(STORIES):
            ids.append(f"{arm}-{story}")
            taken = artifacts.put(picture(10 * story), "image/png")
            value = level + story / 100 + (0.1 + story / 1000) * (arm == "strong")
            write_run(
                folder,
                Run(
                    run_id=ids[-1],
                    arm=arm,
                    story=f"story-{story}",
                    seed=1,
                    settings={"coherence.adapter_scale": scale},
                    takes={"scene-1/keyframe": taken.sha256},
                    scores={"likeness": RunScore(value=value, impl_id=impl, label="toy")},
                    seconds={"storyboard": 1.0},
                ),
            )
    write_plan(folder, {"runs": ids})
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("one"), 0.5)


def ad(folder, scale, values):
    """The output folder of an ad, as far as it is read."""
    (folder / "scenes").mkdir(parents=True)
    still = "scenes/keyframe-1.png"
    (folder / still).write_bytes(picture(40))
    scores = [
        Score(metric_id="toy.keyframe_alignment", impl_id="k@1", scene_number=number, fidelity="toy", raw=value)
        for number, value in enumerate(values, start=1)
    ]
    record = {
        "generation_id": folder.name,
        "brief": {"seed": 3, "prompt": "A mug", "coherence": {"adapter_scale": scale}},
        "recipe": {"name": "express"},
        "takes": [{"id": "t", "kind": "keyframe", "scene_number": 1, "current": True, "artifact": "aa"}],
        "files": {"t": still},
        "scores": [score.model_dump(mode="json") for score in scores],
        "timings": [{"name": "storyboard/scene-001", "seconds": 2.0}],
    }
    (folder / "run.json").write_text(json.dumps(record))
    return str(folder)


def test_two_arms_of_a_sweep_differ_by_what_their_pairs_differ(one, capsys, tmp_path):
    assert compare([f"{one}:base", f"{one}:strong"], tmp_path / "page") == 0
    said = capsys.readouterr().out
    assert re.search(r"  likeness: 0.535 → 0.6385, \+0.10[34] \[\+0.10\d, \+0.10\d\]", said)
    assert f"  coherence.adapter_scale\n    {one}:base: 0.6\n    {one}:strong: 1.0" in said
    page = (tmp_path / "page" / "report.html").read_text()
    assert page.count('"strip":"') == 2 * STORIES


def test_arms_of_two_sweeps_are_paired_by_story_and_seed(one, tmp_path):
    other = sweep(tmp_path / "other", 0.7)
    (answer,) = compared([f"{one}:base", f"{other}:base"]).answers()
    finding = answer.finding(f"{other}:base")
    assert finding is not None
    difference = finding.compared.difference
    assert difference.pairs == STORIES
    assert difference.mean == pytest.approx(0.2)


def test_what_other_code_measured_is_not_compared(one, tmp_path):
    other = sweep(tmp_path / "other", 0.7, impl="likeness@2")
    said = lines_of(compared([f"{one}:base", f"{other}:base"]))
    assert not any("0.7" in line and "likeness" in line for line in said)


def test_two_ads_have_differences_without_an_interval(tmp_path):
    first, second = ad(tmp_path / "a", 0.6, (0.5, 0.7)), ad(tmp_path / "b", 1.0, (0.7, 0.9))
    said = "\n".join(lines_of(compared([first, second])))
    assert "keyframe_alignment: 0.6 → 0.8, +0.200 (no interval: 1 story)" in said
    assert f"coherence.adapter_scale\n    {first}: 0.6\n    {second}: 1.0" in said
    assert "recipe.name" not in said


def test_an_ad_beside_its_copy_has_no_difference(tmp_path):
    first = ad(tmp_path / "a", 0.6, (0.5, 0.7))
    shutil.copytree(first, tmp_path / "b")
    record = json.loads((tmp_path / "b" / "run.json").read_text()) | {"generation_id": "another"}
    (tmp_path / "b" / "run.json").write_text(json.dumps(record))
    said = lines_of(compared([first, str(tmp_path / "b")]))
    assert said[-1] == "no setting differs"
    assert "  keyframe_alignment: 0.6 → 0.6, 0.000 (no interval: 1 story)" in said


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["{one}:base"], "name two or more to compare"),
        (["{one}:base", "{one}:base"], "is named twice"),
        (["{one}:base", "{ad}"], "compare like with like"),
        (["{one}:base", "{one}"], "name an arm as"),
        (["{one}:base", "{one}:none"], "no finished run of the arm 'none': it has base, strong"),
        (["{ad}s:base", "{one}:base"], "holds no sweep"),
    ],
)
def test_what_cannot_be_compared_is_said(one, tmp_path, names, told):
    place = {"one": one, "ad": ad(tmp_path / "ad", 0.6, (0.5,))}
    with pytest.raises(BadInput, match=told):
        compared([name.format(**place) for name in names])
