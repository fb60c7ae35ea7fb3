import json

import pytest

from configs import settings
from configs.settings import load_model, load_model_specs, load_profile, load_recipe
from models.conversion import in_a_wheel
from models.registry import FAMILIES, SERVED_FAMILY
from models.spec import ChatModelSpec, ImageModelSpec, ScorerModelSpec, VideoModelSpec
from pipelines.errors import BadInput
from pipelines.scoring import backbones_of
from pipelines.stages.registry import check_recipe
from quality.registry import DIMENSIONS


def names(folder):
    return sorted(path.stem for path in (settings.CONFIGS / folder).glob("*.yaml"))


@pytest.mark.parametrize("name", names("recipes"))
def test_every_recipe_is_valid_and_can_run(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    given = frozenset() if "story" in recipe.stages else frozenset({"scenes"})
    assert check_recipe(recipe, given) is None


def test_every_recipe_that_films_has_the_gate_that_was_calibrated():
    measured = json.loads((settings.CONFIGS.parent / "benchmarks" / "results" / "gate_minimums.json").read_text())
    minimums = {row["dimension"]: {measured["implementation"]: row["minimum"]} for row in measured["rows"]}
    films = [name for name in names("recipes") if "video" in load_recipe(name).stages]
    assert films
    for name in films:
        assert load_recipe(name).quality_gate.minimums == minimums, name


@pytest.mark.parametrize("name", names("profiles"))
def test_every_profile_names_models_that_exist_and_even_delivery_sizes(name):
    profile = load_profile(name)
    load_model(profile.chat, ChatModelSpec)
    image, video = load_model(profile.image, ImageModelSpec), load_model(profile.video, VideoModelSpec)
    for width, height in profile.delivery.values():
        assert width % 2 == height % 2 == 0
    assert set(profile.delivery) <= set(image.sizes) & set(video.sizes)
    for model in profile.backbones().values():
        load_model(model, ScorerModelSpec)
    assert set(profile.backbones()) <= set(backbones_of(DIMENSIONS)), "no dimension needs a scorer of that name"


def test_the_embedded_profile_names_every_scorer_that_a_wheel_brings():
    specs = {name: spec for name, spec in load_model_specs().items() if isinstance(spec, ScorerModelSpec)}
    brought = {spec.family for spec in specs.values() if in_a_wheel(spec)}
    assert len(brought) == 6
    assert {specs[name].family for name in load_profile("sketch").scorers.values()} >= brought


@pytest.mark.parametrize("name", [name for name in names("profiles") if load_profile(name).device == "cuda"])
def test_a_profile_for_a_card_measures_product_points_cuts_texts_and_words_without_a_change_of_it(name):
    wanted = {"dinov2_base", "efficientnet_lite0", "xfeat", "transnetv2", "minilm", "silero_vad", "ocr"}
    assert set(load_profile(name).scorers) >= wanted


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


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write one's own description below ADMINT_CONFIGS."""
    monkeypatch.setenv("ADMINT_CONFIGS", str(tmp_path))

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write


def test_ones_own_descriptions_come_before_the_shipped_ones(own):
    own("models/sd-small.yaml", "{extends: stable-diffusion-1.5, num_inference_steps: 3}")
    own("profiles/gpu-24gb.yaml", (settings.CONFIGS / "profiles" / "gpu-24gb.yaml").read_text().replace("24", "12"))
    assert load_model("sd-small", ImageModelSpec).num_inference_steps == 3
    assert load_profile("gpu-24gb").fps == 12
    assert load_profile("sketch").fps == 24


def test_a_description_that_extends_another_has_its_weights_and_all_that_it_does_not_change():
    base, placed = (load_model(f"stable-diffusion-xl{end}", ImageModelSpec) for end in ("", "-offload"))
    assert (placed.weights, placed.weights_of, placed.sizes) == (base.weights, base.name, base.sizes)
    assert (base.acceleration.offload, placed.acceleration.offload) == ("none", "model")


@pytest.mark.parametrize("base", ["nothing", "stable-diffusion-xl-offload"])
def test_a_description_can_extend_only_a_shipped_one_that_stands_alone(own, base):
    own("models/mine.yaml", f"{{extends: {base}}}")
    with pytest.raises(BadInput, match=rf"mine.yaml: it cannot extend '{base}'"):
        load_model("mine", ImageModelSpec)


def test_the_chat_model_runs_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("ADMINT_CHAT_URL", "http://10.0.0.7:8001/v1")
    served = load_model("qwen3-vl-8b-fp8", ChatModelSpec)
    assert (served.family, served.base_url) == ("openai", "http://10.0.0.7:8001/v1")
    assert (served.remote_model, served.weights) == ("Qwen/Qwen3-VL-8B-Instruct-FP8", {})
    assert load_model("qwen2.5-vl-7b", ChatModelSpec).base_url == "http://10.0.0.7:8001/v1"
    assert load_model("sketch-author", ChatModelSpec).base_url is None


def test_a_chat_address_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("ADMINT_CHAT_URL", "localhost:8001")
    with pytest.raises(BadInput, match="ADMINT_CHAT_URL 'localhost:8001' is no address"):
        load_model("qwen3-vl-8b-fp8", ChatModelSpec)
