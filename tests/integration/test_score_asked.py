"""`admint score` and `admint.score`: what a file of one's own was asked to be, and files that are named twice."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import admint as public
from configs import settings
from configs.settings import load_profile
from pipelines.errors import BadInput
from pipelines.media import encode_clip
from serving.cli.score import score
from serving.scores import measuring
from serving.scores.work import Asked, Found, work_items
from tests.support.command import REPOSITORY, environment


def scored(capsys, *paths, **options):
    score([str(path) for path in paths], form="json", **options)
    return json.loads(capsys.readouterr().out)["scores"]


@pytest.fixture(scope="module")
def sale(tmp_path_factory):
    """A film of 2 s, 320x240: the words SUMMER SALE, and after a second none."""
    picture = Image.new("RGB", (320, 240), (20, 30, 60))
    ImageDraw.Draw(picture).text((40, 80), "SUMMER SALE", font=ImageFont.load_default(40), fill="white")
    file = tmp_path_factory.mktemp("sale") / "film.mp4"
    file.write_bytes(encode_clip(np.stack([np.asarray(picture)] * 8 + [np.full((240, 320, 3), 40, np.uint8)] * 8), 8))
    return file


ASKED = ["ad.duration", "ad.ratio", "text_legibility"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (None, None),
        ("p.json", '{"film": {"duration": 3, "aspect_ratio": "16:9", "overlays": ["0-1=Summer sale"]}}'),
        ("p.csv", "file,prompt,duration,aspect_ratio,overlays\nfilm.mp4,,3,16:9,0-1=Summer sale\n"),
    ],
)
def test_length_ratio_and_words_of_a_file_of_ones_own_are_held_against_what_was_asked(
    tmp_path, sale, monkeypatch, capsys, name, text
):
    read = load_profile("sketch").model_copy(update={"scorers": {"ocr": "pp-ocrv6-small"}})
    monkeypatch.setattr(settings, "load_profile", lambda _: read)
    if name is None:
        told = {"duration": 3.0, "aspect_ratio": "16:9", "overlays": ["0-1=Summer sale"]}
    else:
        (tmp_path / name).write_text(text)
        told = {"prompts": tmp_path / name, "duration": 9.0}
    found = scored(capsys, sale, dimensions=",".join(ASKED), **told)
    assert [row["value"] for row in found] == [8, pytest.approx(16 / 9 / (4 / 3) - 1), 1]
    assert [one.value for one in public.score(sale, dimensions=ASKED, duration=3, aspect_ratio="16:9",
                                              overlays="Summer sale")] == [8, found[1]["value"], 0]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"duration": -1.0}, "--duration: Input should be greater than 0 (got -1.0)"),
        ({"aspect_ratio": "tall"}, "--aspect-ratio: 'tall' is no ratio: write width:height"),
        ({"overlays": ["3-1=SALE"]}, "--overlay: '3-1=SALE' ends before it starts"),
        ({"overlays": ["?!"]}, "--overlay: '?!' has no letter to read: write the words"),
    ],
)
def test_what_cannot_have_been_asked_is_refused_by_its_name(sale, told, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        score([str(sale)], dimensions="ad.duration", **told)
    (field,) = told
    with pytest.raises(public.BadInput, match=re.escape(f"{field}: {message.partition(': ')[2]}")):
        public.score(sale, **told)


def test_a_file_that_is_given_twice_is_scored_once(sale, capsys):
    found = scored(capsys, sale, sale.parent, sale, dimensions="technical.exposure")
    assert [row["file"] for row in found] == ["film.mp4"]


def test_resuming_measures_anew_what_was_to_have_another_length(tmp_path, sale):
    for seconds, off in ((2.0, 0), (3.0, 8)):
        items = work_items([Found(sale, "ad.mp4", "video", named=True, asked=Asked(duration=seconds))], ["ad.duration"])
        (row,) = measuring.measured_rows(items, load_profile("sketch"), tmp_path / "out", resume=True)
        assert row.score is not None and row.score.raw == off


@pytest.mark.parametrize(
    "how",
    [
        ["-c", "import sys, admint; admint.score(sys.argv[1], 'a sale', dimensions=['text_alignment'])", "{}"],
        ["-m", "admint", "score", "{}", "--prompt", "a sale", "--dimensions", "text_alignment", "--jobs", "2"],
    ],
)
def test_libraries_write_nothing_beside_the_scores(sale, how):
    command = [sys.executable, *(str(sale) if part == "{}" else part for part in how)]
    ran = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")
