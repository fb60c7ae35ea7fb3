"""Which files are scored and how, and tables of scores: pairs, means, VBench's files."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

import admint as public
from configs.settings import load_profile
from pipelines.errors import BadInput
from pipelines.media import encode_clip
from quality.score import Score
from serving.cli.score import chosen_dimensions
from serving.scores.comparison import differences
from serving.scores.rows import Row, means
from serving.scores.vbench_files import write_vbench
from serving.scores.work import Asked, files_of, work_item, work_items

SKETCH = load_profile("sketch")
FLICKER, STATIC = "temporal_flickering", "temporal_flickering.static_filtered"


def row(file, dimension, value, prompt=None, **changes):
    known = {"metric_id": f"vbench.{dimension.partition('.')[0]}", "impl_id": f"{dimension}@1"} | changes
    score = Score(**known, raw=value, reason="it moves" if value is None else None,
                  fidelity=None if value is None else "equal")  # fmt: skip
    return Row(file=file, dimension=dimension, score=score, prompt=prompt)


def both(file, prompt, value, static):
    """Of one file what two dimensions say of one metric."""
    return [row(file, FLICKER, value, prompt), row(file, STATIC, static, prompt, protocol="static_filtered")]


def test_two_dimensions_of_one_metric_have_a_mean_and_a_difference_each():
    rows = [*both("a-0.mp4", "red", 0.9, 0.8), *both("b-0.mp4", "blue", 0.7, None)]
    found = means(rows)
    assert [(each.mean, each.protocol, each.files, each.without) for each in found] == [
        (pytest.approx(0.8), "custom", 2, 0),
        (0.8, "static_filtered", 1, 1),
    ]
    told = differences(rows, rows)
    assert [(each.dimension, each.difference, each.pairs) for each in told] == [(FLICKER, 0, 2), (STATIC, 0, 1)]


def test_flickering_of_all_clips_goes_into_vbenchs_file_before_that_of_static_ones(tmp_path):
    left_out = write_vbench([*both("a-0.mp4", "red", 0.9, 0.8)], tmp_path, "run")
    written = json.loads((tmp_path / "run_eval_results.json").read_text())
    assert written == {FLICKER: [0.9, [{"video_path": "a-0.mp4", "video_results": 0.9}]]}
    assert [text.partition(":")[0] for text in left_out] == [STATIC]


def test_a_consistency_of_a_set_is_over_the_frames_of_all_clips_as_vbench_counts_it(tmp_path):
    rows = [
        row(f"{name}.mp4", word, value, frames_used=frames)
        for word in ("subject_consistency", "aesthetic_quality")
        for name, value, frames in (("a", 0.9, 5), ("b", 0.5, 2))
    ]
    write_vbench(rows, tmp_path, "run")
    written = json.loads((tmp_path / "run_eval_results.json").read_text())
    assert written["subject_consistency"][0] == pytest.approx((4 * 0.9 + 1 * 0.5) / 5)
    assert written["aesthetic_quality"][0] == pytest.approx(0.7)


def test_files_of_one_prompt_without_numbers_are_paired_by_name():
    before = [row(name, FLICKER, value, "red") for name, value in (("x.mp4", 0.1), ("y.mp4", 0.2))]
    after = [row(name, FLICKER, value, "red") for name, value in (("y.mp4", 0.5), ("x.mp4", 0.3))]
    (found,) = differences(before, after)
    assert (found.pairs, found.prompts) == (2, 1)
    assert found.difference == pytest.approx(0.25) and found.low is None


def test_the_standard_protocol_of_a_single_file_is_that_of_many(tmp_path):
    file = tmp_path / "a red wall-0.mp4"
    file.touch()
    (tmp_path / "cover.png").touch()
    alone = work_item(file, [FLICKER], True, Asked(), (), "standard")
    together, still = work_items(files_of([tmp_path]), [FLICKER, "technical"], protocol="standard")
    assert (alone.dimensions, alone.prompt) == ((STATIC,), "a red wall")
    assert (together.dimensions, together.prompt) == ((STATIC, "technical"), "a red wall")
    assert (still.dimensions, still.prompt) == (("technical",), None)


def test_what_compares_scenes_stays_among_the_dimensions_of_a_clip_that_asks_for_it(tmp_path):
    (tmp_path / "clip.mp4").touch()
    (item,) = work_items(files_of([tmp_path]), ["product_similarity"])
    assert "product_similarity" in item.dimensions


@pytest.mark.parametrize("name", ["a.heic", "a.AVIF", "a.jfif", "a.png"])
def test_a_picture_of_any_kind_that_is_read_is_a_picture(tmp_path, name):
    (tmp_path / name).touch()
    assert [file.media for file in files_of([tmp_path])] == ["image"]


def test_names_of_dimensions_may_have_blanks_and_none_at_all_is_refused():
    assert chosen_dimensions(" technical, temporal_flickering ,", None, SKETCH) == ("technical", FLICKER)
    with pytest.raises(BadInput, match="names none"):
        chosen_dimensions(" ,", None, SKETCH)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dimensions": "technical"}, "give a list of names"), ({"protocol": "vbench"}, "choose from auto, custom")],
)
def test_what_python_cannot_mean_is_refused(options, message):
    with pytest.raises(public.BadInput, match=message):
        public.score("clip.mp4", **options)


def test_a_score_in_python_says_by_which_weights_and_of_which_file(tmp_path):
    file = tmp_path / "clip.mp4"
    file.write_bytes(encode_clip(np.random.default_rng(1).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8), 8))
    (found,) = public.score([file], {file: "a red bottle"}, dimensions=["temporal_flickering", "text_alignment"])
    flicker, alignment = found.scores
    assert flicker.frames == len(flicker.series) + 1 and flicker.licence is None
    assert flicker.range is not None and [*flicker.range] == [0, 1]
    assert flicker.source_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert alignment.value is not None and alignment.weights_sha256
    assert (alignment.licence, alignment.preprocessing) == ("Apache-2.0", "hf.clip")
