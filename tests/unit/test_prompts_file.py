import json

import pytest

from pipelines.errors import BadInput
from pipelines.storyboard_file import read_prompts


def read(content):
    return read_prompts(json.dumps(content).encode(), "prompts.json")


def test_a_list_of_strings_is_a_list_of_prompts():
    assert [item.prompt for item in read(["a red mug", " a blue can "])] == ["a red mug", "a blue can"]


def test_objects_may_say_seconds_and_camera():
    (item,) = read({"prompts": [{"prompt": "a red mug", "seconds": 2, "camera": "orbit"}]})
    assert (item.seconds, item.camera) == (2.0, "orbit")


def test_the_scenes_of_a_storyboard_are_prompts_too():
    scene = {"scene_number": 1, "video_prompt": "a mug turns", "image_prompt": "a mug", "camera": "orbit", "seconds": 3}
    (item,) = read({"scenes": [scene]})
    assert (item.prompt, item.image_prompt) == ("a mug turns", "a mug")


@pytest.mark.parametrize("content", [[], {}, "a red mug", {"prompts": []}])
def test_a_file_without_prompts_is_refused_with_what_it_must_hold(content):
    with pytest.raises(BadInput, match=r"prompts.json.*must hold 1 to 40 prompts"):
        read(content)


def test_a_bad_prompt_is_named_by_its_number_and_field():
    with pytest.raises(BadInput, match=r"prompt 2: camera"):
        read(["a red mug", {"prompt": "a can", "camera": "spin"}])
