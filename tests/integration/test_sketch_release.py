"""What a training run leaves becomes folders that the engines load; what they share is stored once."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, Dinov2Model

from models import weights
from models.registry import load
from models.sketch.training import adapter, networks
from models.sketch.training.networks import TINY
from models.sketch.training.release import PICTURES, release
from models.sketch.training.words import load_tokenizer
from models.spec import ImageModelSpec, VideoModelSpec
from tests.support import tiny_models
from tests.support.engine_calls import clip, picture, reference

CONFIGS = Path(__file__).parents[2] / "configs/models"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The files of a run of untrained networks."""
    folder, tokenizer = tmp_path_factory.mktemp("run"), load_tokenizer()
    torch.manual_seed(0)
    text, unet = networks.text_encoder(tokenizer, TINY), networks.image_unet(TINY)
    both = networks.clip(tokenizer, TINY)
    both.text_model.load_state_dict({k.removeprefix("text_model."): v for k, v in text.state_dict().items()})
    motion = networks.motion_state(networks.motion_unet(unet, TINY))
    adapter.attach(unet, adapter.initial(unet, text))
    states = {
        "vae": networks.autoencoder(TINY).state_dict(),
        "unet": networks.image_unet(TINY).state_dict(),
        "text_clip": {
            **{f"text.{key}": tensor for key, tensor in text.state_dict().items()},
            **{f"clip.{key}": tensor for key, tensor in both.state_dict().items()},
        },
        "motion": motion,
        "ip_adapter": adapter.adapter_state(unet),
        "observer": networks.observer_tower(TINY).state_dict(),
    }
    for name, state in states.items():
        save_file(
            {k: v.half() if v.is_floating_point() else v for k, v in state.items()}, folder / f"{name}.safetensors"
        )
    return folder


@pytest.fixture
def packaged(run, tmp_path, monkeypatch):
    folder = tmp_path / "packaged"
    for name in PICTURES:
        assert release(name, run, folder, TINY) > 0
    monkeypatch.setattr(weights, "PACKAGED", folder)
    return folder


def spec(kind, name):
    return kind.model_validate(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))


def test_what_folders_share_is_stored_once_and_put_together_at_first_use(packaged, tmp_path):
    assert not (packaged / "clip" / "model.safetensors").exists()
    assert not (packaged / "ip_adapter/image_encoder/model.safetensors").exists()
    complete = weights.packaged_model("clip", tmp_path / "library")
    encoder = weights.packaged_model("ip_adapter", tmp_path / "library") / "image_encoder"
    whole, seeing = load_file(complete / "model.safetensors"), load_file(encoder / "model.safetensors")
    assert all(torch.equal(whole[key], tensor) for key, tensor in seeing.items())
    told = load_file(packaged / "image/text_encoder/model.safetensors")
    assert all(torch.equal(whole[f"text_model.{key}"], tensor) for key, tensor in told.items())
    assert CLIPModel.from_pretrained(complete, local_files_only=True).config.vision_config.image_size == networks.SIDE


def test_the_engines_load_what_was_released(packaged, tmp_path):
    library = weights.Library(tmp_path / "library")
    image, video = spec(ImageModelSpec, "sketch-image"), spec(VideoModelSpec, "sketch-video")
    assert library.untrained_parts(image) == library.untrained_parts(video) == ()
    drawn = picture(
        load(image, library.folders(image), "cpu"),
        width=160,
        height=96,
        num_inference_steps=2,
        references=(reference(3),),
    )
    assert drawn.shape == (96, 160, 3)
    frames = clip(
        load(video, library.folders(video), "cpu"), width=96, height=160, num_inference_steps=1,
        first_frame=tiny_models.png(2, 96, 160), camera="pan_left", references=(reference(3),),
    )  # fmt: skip
    assert frames.shape == (5, 160, 96, 3)


def test_a_part_that_is_not_what_another_folder_stores_is_refused(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    whole = load_file(other / "text_clip.safetensors")
    key = next(name for name in whole if name.startswith("clip.text_model.") and whole[name].is_floating_point())
    save_file({**whole, key: whole[key] + 1}, other / "text_clip.safetensors")
    release("image", other, tmp_path / "packaged", TINY)
    with pytest.raises(ValueError, match=r"clip/model.safetensors is not what"):
        release("clip", other, tmp_path / "packaged", TINY)


def test_the_observer_sees_pictures_prepared_as_for_the_published_dinov2_as_it_learnt_them(packaged, run):
    learnt = networks.observer_tower(TINY).eval()
    learnt.load_state_dict({key: tensor.float() for key, tensor in load_file(run / "observer.safetensors").items()})
    released = Dinov2Model.from_pretrained(packaged / "observer", dtype=torch.float32, local_files_only=True).eval()
    pixels = torch.rand((2, 3, networks.SIDE, networks.SIDE), generator=torch.Generator().manual_seed(1))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    prepared = (pixels - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.no_grad():
        before, now = learnt(pixel_values=2 * pixels - 1), released(pixel_values=prepared)
    assert torch.allclose(before.pooler_output, now.pooler_output, atol=0.02)  # weights of half precision
