import json

import pytest

from pipelines.brief import Brief
from pipelines.errors import BadInput
from pipelines.storyboard_file import read_storyboard, storyboard_scenes, write_storyboard
from tests.support.storyboards import storyboard as board


def read(content):
    return read_storyboard(json.dumps(content).encode(), "board.json")


def test_scenes_add_up_to_the_duration_in_frames():
    result = storyboard_scenes(read(board()), 24)
    assert [scene.frames for scene in result.scenes] == [72, 72, 72]
    assert result.cohesion is not None
    assert [pair.transition_score for pair in result.cohesion.pair_wise_analysis] == [90, 90]


def test_a_written_storyboard_reads_back_as_the_same_scenes():
    content = board()
    content["scenes"][1]["seconds"] = 2.9167  # 70 of 24 frames a second
    content["scenes"][2]["seconds"] = 3.0833
    scenes = storyboard_scenes(read(content), 24)
    brief = Brief(prompt=content["prompt"], duration=9, seed=0)
    again = read_storyboard(write_storyboard(brief, "AIDA", scenes, 24), "again.json")
    assert storyboard_scenes(again, 24).scenes == scenes.scenes


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("camera", "spin", ["scene 2", "camera", "spin"]),
        ("seconds", "long", ["scene 2", "seconds", "long"]),
        ("image_prompt", "", ["scene 2", "image_prompt"]),
        ("colour", "red", ["scene 2", "colour"]),
    ],
)
def test_a_malformed_field_is_named_with_its_scene(place, value, words):
    content = board()
    content["scenes"][1][place] = value
    with pytest.raises(BadInput) as caught:
        read(content)
    assert all(word in str(caught.value) for word in ["board.json", *words])


def test_a_missing_field_is_named_with_its_scene():
    content = board()
    del content["scenes"][2]["video_prompt"]
    with pytest.raises(BadInput, match=r"scene 3: video_prompt: Field required"):
        read(content)


def test_text_that_is_no_json_is_refused_with_the_place():
    with pytest.raises(BadInput, match=r"board.json.*not valid JSON.*line 1"):
        read_storyboard(b"{", "board.json")


def test_another_format_is_refused():
    with pytest.raises(BadInput, match="admint-storyboard/9"):
        storyboard_scenes(read(board(format="admint-storyboard/9")), 24)


def test_scenes_that_do_not_count_from_1_are_refused():
    content = board()
    content["scenes"][1]["scene_number"] = 7
    with pytest.raises(BadInput, match="scene 2: scene_number is 7, must be 2"):
        storyboard_scenes(read(content), 24)


def test_seconds_that_do_not_add_up_are_refused_with_both_numbers():
    with pytest.raises(BadInput, match=r"9\.00 s together, but duration is 12 s"):
        storyboard_scenes(read(board(duration=12)), 24)
