"""Prompt suites: what is read, what is refused, how clips are called; and which results may stand in one table."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from configs.settings import AD_PROMPTS, load_model
from models.spec import ImageModelSpec
from pipelines.errors import BadInput
from pipelines.lab.cache import StepRecord
from pipelines.lab.prompts import SuitePrompt, read_prompt_suite
from pipelines.reading.domain import prompt_warnings
from quality.protocols import numbered
from serving.lab.bench import _busy_seconds
from serving.lab.bench_results import BenchResult, Conditions, differing, flat, tables, told_apart
from serving.scores.rows import Mean

CONDITIONS = Conditions(
    prompts_sha256="ab" * 32, prompts=6, samples=1, prompt_extension="off", start="text", steps=10, guidance=1.0,
    frames=16, fps=8, width=160, height=96, seed=0, protocol="custom",
)  # fmt: skip


def result(model, **conditions):
    mean = Mean(metric_id="vbench.x", mean=0.5, reason=None, label="equal", protocol="custom", files=6, without=0)
    return BenchResult(
        model=model, fingerprint=model, profile="sketch", prompts_file="ads.txt",
        conditions=CONDITIONS.model_copy(update=conditions), wanted=6, made=6, failures=(), speed=None,
        means=(mean,), not_in_vbench=(), warnings=(),
    )  # fmt: skip


# --- read ---


def test_text_has_a_prompt_on_each_line_and_the_hash_of_the_file(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa red mug \r\n\r\n  a teal bottle\n".encode())
    suite = read_prompt_suite(file)
    assert [prompt.text for prompt in suite.prompts] == ["a red mug", "a teal bottle"]
    assert suite.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert suite.extension_sha256 is None and suite.notes == () and suite.prompts[0].dimensions is None


def test_a_prompt_that_is_there_twice_is_made_once_and_said_so(tmp_path):
    """VBench's own file has two such prompts, and gives both the same file name."""
    file = tmp_path / "prompts.txt"
    file.write_text("a red mug\na teal bottle\na red mug\n")
    suite = read_prompt_suite(file)
    assert [prompt.text for prompt in suite.prompts] == ["a red mug", "a teal bottle"]
    assert suite.notes == ("'prompts.txt' has 'a red mug' more than once: its clips are made once",)


def test_vbench_says_by_which_dimensions_and_a_prompt_that_is_there_twice_has_those_of_both(tmp_path):
    file = tmp_path / "VBench_full_info.json"
    style = {"appearance_style": {"appearance_style": "oil painting"}}
    bund = {"prompt_en": "The bund Shanghai, oil painting"}
    file.write_text(json.dumps([
        {**bund, "dimension": ["appearance_style"], "auxiliary_info": style},
        {"prompt_en": "a person", "dimension": ["object_class"], "auxiliary_info": {"object": "person"}},
        {**bund, "dimension": ["overall_consistency", "imaging_quality"]},
    ]))  # fmt: skip
    first, second = read_prompt_suite(file).prompts
    assert first.dimensions == ("appearance_style", "overall_consistency", "imaging_quality")
    assert (first.style, second.style, second.dimensions) == ("oil painting", None, ("object_class",))


def test_extended_prompts_are_what_models_are_asked_and_change_no_noise(tmp_path):
    file, longer = tmp_path / "prompts.txt", tmp_path / "longer.txt"
    file.write_text("a red mug\na teal bottle\n")
    longer.write_text("a red mug on a table, steam rising\na teal bottle in the sun\n")
    plain, extended = read_prompt_suite(file), read_prompt_suite(file, longer)
    assert extended.extension_sha256 == hashlib.sha256(longer.read_bytes()).hexdigest()
    asked, of_plain = (suite.stories("16:9").stories for suite in (extended, plain))
    assert asked[0].scenes[0].prompt == "a red mug on a table, steam rising"
    assert of_plain[0].scenes[0].prompt == "a red mug"
    assert [story.id for story in asked] == [story.id for story in of_plain]
    longer.write_text("a red mug on a table\n")
    with pytest.raises(BadInput, match="has 1 extended prompts for the 2 of"):
        read_prompt_suite(file, longer)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"\n  \n", "has no prompt"),
        ("a.txt", b"\xff\xfe\x00a", "no text in UTF-8"),
        ("a.txt", b"x" * 6000, "line 1"),
        ("a.json", b"[]", "has no prompt"),
        ("a.json", b'{"a": 1}', "VBench_full_info.json"),
        ("a.json", b'[{"prompt_en": "a"}]', "dimension"),
        ("none.txt", None, "cannot read the prompts file"),
    ],
)
def test_a_file_that_is_no_suite_is_refused_with_what_is_wrong(name, content, words, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_prompt_suite(tmp_path / name)


def test_the_embedded_models_can_draw_the_prompts_that_come_with_the_command():
    suite = read_prompt_suite(AD_PROMPTS)
    domain = load_model("sketch-image", ImageModelSpec).domain
    assert len(suite.prompts) == 6 and suite.notes == ()
    assert [prompt_warnings(prompt.text, "sketch-image", domain) for prompt in suite.prompts] == [()] * 6


# --- named ---


def test_clips_are_called_as_vbench_calls_them():
    prompt = SuitePrompt(text="A tranquil tableau of a gate, 4.5 km away, No. 7")
    assert prompt.file_name(3, ".mp4") == "A tranquil tableau of a gate, 4.5 km away, No. 7-3.mp4"
    assert numbered(prompt.file_name(3, ".mp4")) == (prompt.text, 3)


@pytest.mark.parametrize(
    "text", ["a cat and/or a dog", "../../etc/passwd", ".hidden", "long " * 60, "ä" * 200, "a\x00b"]
)
def test_a_prompt_that_is_no_file_name_is_changed_there_and_nothing_is_lost(text, tmp_path):
    names = {SuitePrompt(text=other).file_name(12, ".mp4") for other in (text, text + "!", text + "?")}
    assert len(names) == 3
    for name in names:
        assert "/" not in name and not name.startswith(".") and len(name.encode()) <= 240
        (tmp_path / name).touch()
        assert (numbered(name) or ("", 0))[1] == 12
    file = tmp_path / "prompts.txt"
    file.write_text(text + "\n")
    assert "cannot be the name of a file" in read_prompt_suite(file).notes[0]


def test_the_noise_of_a_prompt_follows_from_its_text_and_not_from_its_place(tmp_path):
    for name, lines in (("a.txt", "one\ntwo\n"), ("b.txt", "zero\ntwo\none\n")):
        (tmp_path / name).write_text(lines)
    first, second = (read_prompt_suite(tmp_path / name).stories("1:1") for name in ("a.txt", "b.txt"))
    ids = {story.scenes[0].prompt: story.id for story in second.stories}
    assert {story.scenes[0].prompt: story.id for story in first.stories}.items() <= ids.items()
    assert SuitePrompt(text="瓶").id.isalnum(), "a prompt without a Latin letter has an id as well"


# --- one table ---


def test_results_that_differ_in_a_condition_do_not_stand_in_one_table():
    same = [result("a"), result("b")]
    others = [
        result("c", **{name: value})
        for name, value in {
            "prompts_sha256": "cd" * 32, "prompt_extension": "ef" * 32, "start": "keyframe of x", "steps": 4,
            "guidance": 5.0, "frames": 8, "fps": 16, "width": 96, "seed": 1, "seed_rule": "fixed", "samples": 5,
            "protocol": "long2s",
        }.items()
    ]  # fmt: skip
    assert [[one.model for one in each] for each in tables([*same, *others])] == [["a", "b"], *([["c"]] * 12)]
    differ = differing(CONDITIONS, others[3].conditions)
    assert differ == {"steps": (10, 4)} and told_apart(differ) == "steps: 10 and 4"


def test_every_number_has_its_conditions_beside_it():
    lines = flat(result("a"))
    assert [line["metric"] for line in lines] == ["vbench.x", "failures"]
    assert all(line.items() >= CONDITIONS.model_dump().items() for line in lines)


def test_clips_a_minute_counts_the_time_in_which_a_step_ran():
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    def step(start, seconds):
        ended = begin + timedelta(seconds=start + seconds)
        return StepRecord(step="video/scene-001", key="", cost="", value={}, seconds=seconds, created_at=ended)

    assert _busy_seconds([step(100, 2), step(0, 4), step(3, 3), step(1, 1)]) == pytest.approx(8.0)
