"""`admint score`: files and folders as rows, a bad file as a row with its reason, and the list of dimensions."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from configs.settings import load_profile
from pipelines.errors import BadInput
from pipelines.media import encode_clip
from quality.registry import DIMENSIONS, UNAVAILABLE
from serving.cli.score import COLUMNS, files_of, score
from serving.local_scores import catalogue_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoded_clip):
    made = tmp_path_factory.mktemp("clips")
    (made / "deeper").mkdir()
    (made / "deeper" / "good.mp4").write_bytes(encoded_clip)
    (made / "bad.mp4").write_text("no video")
    (made / "notes.txt").write_text("not looked at")
    return made


@pytest.fixture(scope="module")
def encoded_clip():
    return encode_clip(np.stack([np.full((64, 96, 3), 40 + 5 * number, np.uint8) for number in range(8)]), 8)


def rows(capsys, *paths, **options):
    code = score(list(paths), form="json", **options)
    return code, json.loads(capsys.readouterr().out)


def test_a_folder_is_scored_file_by_file_and_a_bad_file_is_a_row_with_its_reason(folder, capsys):
    code, found = rows(capsys, folder, dimensions="temporal_flickering,technical.exposure")
    assert code == 3
    bad, *good = found
    assert bad["file"].endswith("bad.mp4") and "not an MP4" in bad["reason"] and bad["dimension"] is None
    assert [row["dimension"] for row in good] == ["temporal_flickering", "technical.exposure"]
    assert good[0]["value"] == pytest.approx(250 / 255, abs=0.005)
    assert all(row["reason"] is None and len(row["source_sha256"]) == 64 for row in good)


def test_without_names_everything_that_can_be_measured_here_is(folder, capsys):
    code, found = rows(capsys, folder / "deeper", prompt="a grey wall")
    assert code == 0
    possible = {entry.name for entry in catalogue_of(load_profile("sketch")) if entry.missing is None}
    assert {row["dimension"] for row in found} == possible
    assert {"text_alignment", "flow_dynamics"} <= possible


def test_the_table_can_be_a_new_csv_file_and_never_writes_over_one(folder, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    asked = {"dimensions": "temporal_flickering", "form": "csv", "out": out}
    assert score([folder / "deeper"], **asked) == 0
    assert capsys.readouterr().out == ""
    (row,) = csv.DictReader(io.StringIO(out.read_text()))
    assert tuple(row) == COLUMNS
    with pytest.raises(BadInput, match="name a new file"):
        score([folder / "deeper"], **asked)


def test_the_list_names_every_dimension_with_what_is_missing(capsys):
    assert score(list_them=True, form="json") == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(listed) == {*DIMENSIONS, *UNAVAILABLE}
    assert listed["text_alignment"]["missing"] is None
    assert listed["subject_consistency"]["missing"] == "name a model for dino_vitb16 under `scorers` in the profile"


def test_a_model_that_the_profile_names_and_that_is_not_here_has_the_command_that_brings_it():
    profile = load_profile("sketch").model_copy(update={"scorers": {"dino_vitb16": "dino-vitb16"}})
    listed = {entry.name: entry for entry in catalogue_of(profile)}
    assert listed["subject_consistency"].missing == "its weights are not here: admint models pull dino-vitb16"


@pytest.mark.parametrize(
    ("paths", "message"),
    [([], "no file to score"), (["nowhere.mp4"], "'nowhere.mp4' is not there"), (["."], "has no .mp4 file")],
)
def test_what_cannot_be_scored_at_all_is_refused(tmp_path, monkeypatch, paths, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=message):
        files_of([Path(path) for path in paths]) if paths else score([])
