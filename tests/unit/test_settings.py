import pytest

from configs import settings
from configs.settings import load_model, load_model_specs, load_profile, load_recipe
from models.registry import FAMILIES, SERVED_FAMILY
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.errors import BadInput
from pipelines.stages.registry import check_recipe


def names(folder):
    return sorted(path.stem for path in (settings.CONFIGS / folder).glob("*.yaml"))


@pytest.mark.parametrize("name", names("recipes"))
def test_every_recipe_is_valid_and_can_run(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    given = frozenset() if "story" in recipe.stages else frozenset({"scenes"})
    assert check_recipe(recipe, given) is None


@pytest.mark.parametrize("name", names("profiles"))
def test_every_profile_names_models_that_exist_and_even_delivery_sizes(name):
    profile = load_profile(name)
    load_model(profile.chat, ChatModelSpec)
    image, video = load_model(profile.image, ImageModelSpec), load_model(profile.video, VideoModelSpec)
    for width, height in profile.delivery.values():
        assert width % 2 == height % 2 == 0
    assert set(profile.delivery) <= set(image.sizes) & set(video.sizes)


@pytest.mark.parametrize("name", names("models"))
def test_every_model_is_valid_and_of_a_known_family(name):
    spec = load_model_specs()[name]
    assert spec.name == name
    assert spec.family in {*FAMILIES, SERVED_FAMILY}
    assert spec.licence


@pytest.mark.parametrize(("load", "word"), [(load_profile, "sketch"), (load_recipe, "express")])
def test_an_unknown_name_is_refused_with_the_known_ones(load, word):
    with pytest.raises(BadInput, match=rf"'nope'.*{word}"):
        load("nope")


def test_a_model_of_another_kind_is_refused_with_those_of_the_right_kind():
    with pytest.raises(BadInput, match=r"no image model 'sketch-video'.*sketch-image"):
        load_model("sketch-video", ImageModelSpec)


def test_a_model_name_cannot_leave_the_folder():
    with pytest.raises(BadInput, match="no image model"):
        load_model("../profiles/sketch", ImageModelSpec)


def test_an_unknown_key_in_a_recipe_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "odd.yaml").write_text("description: x\nstages: [story]\nstory: {critics: true}\n")
    monkeypatch.setattr(settings, "CONFIGS", tmp_path)
    with pytest.raises(BadInput, match=r"recipes/odd.yaml: story.critics"):
        load_recipe("odd")
