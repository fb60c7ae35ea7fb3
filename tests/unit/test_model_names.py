"""Names of models that run elsewhere: what they make, and who stands in."""

import pytest

from configs.settings import load_model_specs
from serving.model_names import kind_elsewhere, nearest_name, stand_in, unknown_model


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("image", ["flux-pro", "flux-1.1-pro", "black-forest-labs/flux-schnell", "dall-e-2", "dall-e-3", "DALL-E-3",
                   "gpt-image-1", "gpt-image-1-mini", "openai/gpt-image-1", "imagen-4.0-generate", "midjourney",
                   "stability-ai/sdxl:39ed52f2", "ideogram-v3", "recraft-v3", "gemini-2.5-flash-image"]),
        ("video", ["kling-v1.5", "kling_v1_6", "kwaivgi/kling-v1.6-pro", "sora-2", "sora-2-pro", "openai/sora-2",
                   "veo-3.1", "runwayml/gen4_turbo", "luma/ray-2", "minimax/video-01", "hailuo-02", "wan2.5-t2v"]),
        ("chat", ["gpt-4o", "gpt-4o-mini", "gpt-5", "chatgpt-4o-latest", "o1", "o3-mini", "o4-mini",
                  "claude-3-5-sonnet-latest", "gemini-2.5-pro", "meta-llama/llama-3.1-8b-instruct", "mistral-large",
                  "anthropic/claude-sonnet-4", "deepseek-chat", "gpt-3.5-turbo"]),
        (None, ["", "nothing", "wand", "sketch-imag", "whisper-1", "text-embedding-3-small", "tts-1", "soral", "fluxus",
                "/", "a/b/c", "o5x", "gptx"]),
    ],
)  # fmt: skip
def test_a_name_tells_what_its_model_makes(kind, names):
    assert {name: kind_elsewhere(name) for name in names} == dict.fromkeys(names, kind)


def test_the_model_of_the_same_family_stands_in_else_the_first():
    models = ["sketch-image", "flux.1-schnell"]
    assert stand_in("flux-pro", "image", models) == "flux.1-schnell"
    assert stand_in("dall-e-3", "image", models) == "sketch-image"
    assert stand_in("kling-v1.5", "image", models) is None
    assert stand_in("dall-e-3", "image", []) is None


def test_a_model_that_is_here_is_itself_and_strict_takes_nobody_elses():
    for name, spec in load_model_specs().items():
        if spec.kind != "scorer":
            assert nearest_name(name, spec.kind, [name, "another"], strict=False) == (name, ())
    assert nearest_name("flux-pro", "image", ["painter"], strict=True) == ("flux-pro", ())
    assert nearest_name("flux-pro", "image", ["painter"], strict=False)[0] == "painter"


def test_the_error_of_an_unknown_name_suggests_the_nearest_spelling_and_is_short():
    assert "the nearest is 'sketch-image'" in unknown_model("Sketch_imag", "image", ["flux.1", "sketch-image"])
    assert len(unknown_model("x" * 9000, "image", ["sketch-image"])) < 300
    assert "are none" in unknown_model("x", "image", [])
