"""The untrained stand-ins are stock folders, equal on every build, and fit each other."""

import sys

import pytest
import torch
from diffusers import MotionAdapter, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import AutoProcessor, CLIPModel, LlavaForConditionalGeneration

from models.sketch.build import BUILDERS, build
from models.video.animatediff import motion_unet
from tests.support.program import run

OFFLINE = {"local_files_only": True}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sketch")
    for name in BUILDERS:
        build(name, root / name)
    return root


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_build_in_another_process_gives_the_same_bytes(folders, tmp_path):
    script = (
        "import sys; from pathlib import Path; from models.sketch.build import BUILDERS, build\n"
        "for name in BUILDERS: build(name, Path(sys.argv[1]) / name)"
    )
    built = run([sys.executable, "-c", script, tmp_path])
    assert built.returncode == 0, built.stderr
    here, there = contents(folders), contents(tmp_path)
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def test_a_build_leaves_the_global_random_state_untouched(tmp_path):
    before = torch.random.get_rng_state()
    build("motion", tmp_path / "motion")
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_stock_pipeline_draws_with_a_reference_through_the_ip_adapter(folders):
    pipeline = StableDiffusionPipeline.from_pretrained(folders / "image", use_safetensors=True, **OFFLINE)
    pipeline.load_ip_adapter(
        str(folders / "ip_adapter"),
        subfolder="",
        weight_name="ip-adapter.safetensors",
        image_encoder_folder="image_encoder",
        **OFFLINE,
    )
    pipeline.set_progress_bar_config(disable=True)

    def draw(colour):
        pipeline.set_ip_adapter_scale(1.0)
        return pipeline(
            "a red bottle on the beach",
            ip_adapter_image=Image.new("RGB", (80, 40), colour),
            num_inference_steps=2,
            height=96,
            width=160,
            generator=torch.Generator().manual_seed(1),
            output_type="pt",
        ).images

    red, blue = draw("red"), draw("blue")
    assert red.shape == (1, 3, 96, 160)
    assert not torch.equal(red, blue)


def test_the_motion_adapter_fits_the_unet_and_takes_the_keyframe_channels(folders):
    unet = UNet2DConditionModel.from_pretrained(folders / "image" / "unet", **OFFLINE)
    motion = motion_unet(unet, MotionAdapter.from_pretrained(folders / "motion", **OFFLINE))
    assert motion.conv_in.in_channels == 33
    with torch.inference_mode():
        out = motion(torch.zeros(1, 33, 3, 16, 16), 1, encoder_hidden_states=torch.zeros(3, 48, 128)).sample
    assert out.shape == (1, 16, 3, 16, 16)


def test_the_clip_and_the_chat_model_load_from_their_folders(folders):
    assert CLIPModel.from_pretrained(folders / "clip", **OFFLINE).config.projection_dim == 64
    model = LlavaForConditionalGeneration.from_pretrained(folders / "llm", use_safetensors=True, **OFFLINE)
    processor = AutoProcessor.from_pretrained(folders / "llm", **OFFLINE)
    assert model.config.text_config.head_dim == 64
    assert model.get_input_embeddings().num_embeddings == len(processor.tokenizer)


@pytest.mark.parametrize("text", ["A steel bottle — crème brûlée, 漢字 & 🙂", "tab\tand\nnewline", ""])
def test_the_chat_tokenizer_gives_every_text_back(folders, text):
    tokenizer = AutoProcessor.from_pretrained(folders / "llm", **OFFLINE).tokenizer
    assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text
