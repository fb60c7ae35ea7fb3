"""Words in the picture and questions about it: formulas on readers whose answers are known, and the real reader."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from models.scorers import rapidocr
from pipelines.runtime.questions import odds
from quality.asked import Asked, Fact, Overlay
from quality.dimensions.text import SAFE, edit_distance, is_readable, read_back, similarity
from quality.engine import measure
from quality.readers import Line
from quality.stream import Shot

FRAMES = [np.full((40, 60, 3), level, np.uint8) for level in range(48)]
SOMEWHERE = (0.2, 0.2, 0.4, 0.3)


class Known:
    """A model of the shot whose answers are written down: what a frame of this grey level says."""

    name, weights_sha256, licence, dtype, device = "known", "0" * 64, "none", "float32", "cpu"
    fidelity = "published"

    def __init__(self, answer):
        self._answer = answer

    def lines(self, frame):
        return self._answer(int(frame[0, 0, 0]))

    def first_of(self, frames, question, answers):
        assert answers == ("A", "B")
        return self._answer([int(frame[0, 0, 0]) for frame in frames])

    def yes(self, frames, question):
        return self._answer([int(frame[0, 0, 0]) for frame in frames], question)


def score(name, answer, frames=FRAMES, **fields):
    backbone = "chat" if name.startswith(("asks", "vqa", "pref")) else "ocr"
    model: Any = Known(answer)
    return measure([name], frames, Shot(backbones={backbone: model}, frame_count=len(frames), **fields))[0]


def says(*texts, box=SOMEWHERE, confidence=0.99):
    return tuple(Line(text, box, confidence) for text in texts)


# --- legibility ---


@pytest.mark.parametrize(
    ("one", "other", "distance"), [("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("same", "same", 0)]
)
def test_the_edit_distance_is_levenshteins(one, other, distance):
    assert edit_distance(one, other) == edit_distance(other, one) == distance


def test_case_spaces_and_punctuation_do_not_count_and_lines_may_be_broken():
    assert similarity("Stay cool, all day!", "STAY COOL ALLDAY") == 1
    assert read_back("Stay cool all day", says("Buy now", "STAY COOL", "ALL DAY")) == 1
    assert read_back("Stay cool", ()) == 0
    assert read_back("abcd", says("abxd")) == 0.75


def test_legibility_is_that_of_the_worst_moment_while_the_words_are_due():
    asked = Asked(overlays=(Overlay("Half price", 0.5, 1.5),))
    found = score("text_legibility", lambda level: says("Half price" if level < 20 else "Half pr1ce"), asked=asked)
    assert found.raw == pytest.approx(1 - 1 / 9)
    assert (found.frames_used, found.fidelity, found.backbone) == (2, "proxy", "known")
    assert found.series is not None and found.series.seconds == (0.5, 1.0)


def test_words_that_are_nowhere_have_no_legibility_and_words_nobody_asked_for_a_reason():
    asked = Asked(overlays=(Overlay("Half price", 0.0, 9.0),))
    assert score("text_legibility", lambda level: (), asked=asked).raw == 0
    assert "no overlay was asked for" in (score("text_legibility", lambda level: ()).reason or "")
    late = Asked(overlays=(Overlay("Half price", 5.0, 9.0),))
    assert score("text_legibility", lambda level: (), asked=late).reason == (
        "no frame that was looked at is within an overlay's time"
    )


def test_without_a_reader_the_reason_says_what_to_add():
    (found,) = measure(["gibberish"], FRAMES, Shot())
    assert found.reason == "this deployment has no 'ocr' model: name one under `scorers` in the profile"


# --- gibberish and safe area ---


@pytest.mark.parametrize("text", ["Stay cool", "BMW", "strengths", "20 % off", "Für Mädchen", "今日は", "€ 9.99"])
def test_what_somebody_could_mean_is_readable(text):
    assert is_readable(says(text)[0])


@pytest.mark.parametrize("text", ["qxzvbb wrpt", "BRNTTL", "Kxvbnmtrla"])
def test_letters_that_are_no_words_are_not(text):
    assert not is_readable(says(text)[0])
    assert is_readable(says("the brand " + "is here" * 3 + " qxzv")[0])


def test_gibberish_is_the_area_of_the_worst_frame_but_for_what_was_asked():
    def lines(level):
        return says("qxzvbb", box=(0.0, 0.0, 0.5, 0.2)) if level == 24 else says("Stay cool")

    assert score("gibberish", lines).raw == pytest.approx(0.1)
    assert score("gibberish", lines, asked=Asked(overlays=(Overlay("QXZVBB", 0, 2),))).raw == 0
    assert score("gibberish", lambda level: says("cool", confidence=0.3)).raw == pytest.approx(0.02)
    assert score("gibberish", lambda level: ()).raw == 0


def test_text_over_the_edge_of_the_safe_area_is_outside_by_its_area():
    left = SAFE[0]
    half_out = (left - 0.04, 0.4, left + 0.04, 0.5)
    assert score("ad.safe_zones", lambda level: says("Half price", box=half_out)).raw == pytest.approx(0.5)
    assert score("ad.safe_zones", lambda level: says("Half price")).raw == pytest.approx(0.0)
    assert score("ad.safe_zones", lambda level: ()).reason == "no text was found"


# --- the real reader ---


@cache
def reader() -> Any:
    pytest.importorskip("rapidocr")
    from configs.settings import load_model
    from models.registry import load
    from models.spec import ScorerModelSpec

    return load(load_model("pp-ocrv6-small", ScorerModelSpec), {}, "cpu")


def banner(blur=0.0):
    image = Image.new("RGB", (540, 240), (40, 60, 90))
    ImageDraw.Draw(image).text((80, 90), "Stay cool all day", font=ImageFont.load_default(44), fill="white")
    picture = np.asarray(image)
    return cv2.GaussianBlur(picture, None, blur) if blur else picture


def test_the_real_reader_reads_a_banner_and_blur_takes_its_legibility():
    asked = Asked(overlays=(Overlay("Stay cool all day", 0.0, 1.0),))
    sharp, blurred = (
        measure(["text_legibility"], [banner(blur)], Shot(asked=asked, backbones={"ocr": reader()}))[0]
        for blur in (0.0, 12.0)
    )
    assert sharp.raw == 1.0 and sharp.backbone == "pp-ocrv6-small" and len(sharp.weights_sha256 or "") == 64
    assert blurred.raw is not None and blurred.raw < 0.5


def test_the_real_reader_finds_the_place_of_a_line():
    (line,) = reader().lines(banner())
    left, top, right, bottom = line.box
    assert 0.1 < left < 0.18 and 0.7 < right < 0.85 and 0.3 < top < 0.45 < bottom < 0.65
    assert reader().lines(banner()) == (line,)


def test_words_of_one_row_are_read_from_the_left_even_where_the_right_one_stands_higher():
    found = rapidocr.in_reading_order(
        [
            rapidocr.Line("cool", (0.5, 0.10, 0.9, 0.30), 1),
            rapidocr.Line("Stay", (0.1, 0.12, 0.4, 0.31), 1),
            rapidocr.Line("now", (0.1, 0.5, 0.2, 0.6), 1),
        ]
    )
    assert [line.text for line in found] == ["Stay", "cool", "now"]


# --- questions ---


def test_vqascore_is_the_mean_odds_of_the_papers_question_over_eight_frames():
    asked = []

    def answer(frames, question):
        asked.append((frames, question))
        return frames[0] / 100

    found = score("vqascore.text", answer, prompt="a teal bottle")
    assert [frames for frames, _ in asked] == [[number] for number in (2, 8, 14, 20, 26, 32, 38, 44)]
    assert {question for _, question in asked} == {'Does this figure show "a teal bottle"? Please answer yes or no.'}
    assert found.raw == pytest.approx(0.23)
    assert (found.metric_id, found.fidelity) == ("vqascore.text", "like")


def test_a_clip_of_three_frames_is_asked_about_each_once():
    assert score("vqascore.text", lambda frames, question: 0.5, frames=FRAMES[:3], prompt="x").frames_used == 3


def test_a_fact_counts_when_it_beats_its_decoy_even_if_the_model_says_yes_to_both():
    facts = (
        Fact("color", "the bottle is teal", "the bottle is orange"),
        Fact("color", "the cap is black", "the cap is pink"),
        Fact("color", "the table is red", "the table is blue"),
        Fact("object", "there is a bottle", "there is a shoe"),
    )
    belief = {"teal": 0.9, "orange": 0.8, "black": 0.7, "pink": 0.95, "red": 0.6, "blue": 0.6}

    def answer(frames, question):
        assert len(frames) == 8
        return next(share for word, share in belief.items() if word in question)

    found = score("asks.color", answer, asked=Asked(facts=facts))
    assert found.raw == 0.5
    assert found.note == "not seen: the cap is black; the table is red"
    assert score("asks.count", answer, asked=Asked(facts=facts)).reason == (
        "nothing was asked for that is a fact of the kind 'count'"
    )


def test_a_model_that_answers_neither_yes_nor_no_gives_a_reason():
    reason = score("vqascore.text", lambda frames, question: None, prompt="x").reason
    assert reason == "known gives no probability to yes or no as the first word of an answer"


PAIRS: dict[str, Any] = {
    "in both orders": (lambda own, other: own > other, 1.0),
    "the other in both": (lambda own, other: own < other, 0.0),
    "always the first": (lambda own, other: True, 0.5),
    "always the second": (lambda own, other: False, 0.5),
}


@pytest.mark.parametrize("how", sorted(PAIRS))
def test_a_still_is_preferred_where_both_orders_say_so(how):
    prefers_first, raw = PAIRS[how]
    asked = []

    def answer(frames):
        asked.append(frames)
        return 0.9 if prefers_first(*frames) else 0.2

    found = score("preference", answer, FRAMES[30:31], prompt="a teal bottle", against=FRAMES[10])
    assert asked == [[30, 10], [10, 30]]
    assert (found.raw, found.metric_id, found.fidelity) == (raw, "admint.preference", "proxy")


def test_neither_still_is_preferred_by_even_odds_and_without_odds_there_is_a_reason():
    pair: dict[str, Any] = {"prompt": "a teal bottle", "against": FRAMES[10]}
    assert score("preference", lambda frames: 0.5, FRAMES[30:31], **pair).raw == 0.5
    assert score("preference", lambda frames: None, FRAMES[30:31], **pair).reason == (
        "known gives no probability to A or B as the first word of an answer"
    )
    assert "needs the prompt" in str(score("preference", lambda frames: 0.9, FRAMES[:1], against=FRAMES[1]).reason)
    assert "where candidates are ranked" in str(score("preference", lambda frames: 0.9, FRAMES[:1], prompt="a").reason)


def test_the_odds_are_those_of_one_word_against_the_other_in_any_case():
    tokens = {"Yes": np.log(0.3), " yes": np.log(0.1), "No": np.log(0.1), "Maybe": np.log(0.4)}
    assert odds(tokens, ("yes", "no")) == pytest.approx(0.8)
    assert odds({"A": np.log(0.2), " b": np.log(0.6)}, ("A", "B")) == pytest.approx(0.25)
    assert odds({"<think>": 0.0}, ("yes", "no")) is None
