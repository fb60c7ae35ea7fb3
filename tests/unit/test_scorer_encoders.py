"""Encoders behind the scorers: published layouts, tiny and random, against the published formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    Dinov2Config,
    Dinov2Model,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

from models.errors import WeightsError
from models.manifest import write_manifest
from models.scorers import clip, dino, efficientnet, viclip, xfeat
from models.scorers.clip import ClipEncoder
from models.scorers.dino import Dino, Dinov2, positions
from models.scorers.laion import LaionHead
from models.scorers.laion import layouts as laion_layouts
from models.scorers.siglip import SiglipEncoder
from models.scorers.stock import processed
from models.scorers.viclip import Sizes, ViClip, ViClipEncoder
from models.spec import ScorerModelSpec
from tests.support.published_weights import loaded, published
from tests.support.tiny_models import clip_tokenizer

TEXT = CLIPTextConfig(
    vocab_size=514, hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=16, projection_dim=24, bos_token_id=512, eos_token_id=513, pad_token_id=513,
    hidden_act="quick_gelu",
)  # fmt: skip
VISION = {
    "hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
    "patch_size": 8, "projection_dim": 24, "hidden_act": "quick_gelu",
}  # fmt: skip
PARAMETERS = {"dino": 85_798_656, "clip_b32": 151_277_313, "clip_l14": 427_616_513, "viclip": 427_590_145}


def spec(name="tiny"):
    return ScorerModelSpec(kind="scorer", name=name, family="tiny", licence="none", vram_gb=0)


def folder_of(layout, state, folder):
    """What the converter would leave of `state`, with a tokenizer."""
    folder.mkdir()
    taken = {
        name: (state[piece.key] if piece.take is None else piece.take(state[piece.key])).contiguous().clone()
        for name, piece in layout.pieces.items()
    }
    save_file(taken, folder / "model.safetensors")
    for name, text in layout.files.items():
        (folder / name).write_text(text)
    clip_tokenizer().save_pretrained(folder)
    write_manifest(folder, "tiny", "0")
    return folder


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


# --- the transformer of CLIP's authors, written out from the names of its file ---


def layer_norm(state, x, name):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def attention(state, x, name, heads, causal):
    query, key, value = F.linear(x, state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"]).chunk(3, dim=-1)
    length, width = x.shape[-2], x.shape[-1] // heads
    out = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        weights = query[..., part] @ key[..., part].transpose(-1, -2) / width**0.5
        if causal:
            weights = weights.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))
        out.append(weights.softmax(dim=-1) @ value[..., part])
    return F.linear(torch.cat(out, dim=-1), state[f"{name}.out_proj.weight"], state[f"{name}.out_proj.bias"])


def transformer(state, x, name, heads, causal):
    for number in range(2):
        block = f"{name}.resblocks.{number}"
        x = x + attention(state, layer_norm(state, x, f"{block}.ln_1"), f"{block}.attn", heads, causal)
        wide = F.linear(
            layer_norm(state, x, f"{block}.ln_2"), state[f"{block}.mlp.c_fc.weight"], state[f"{block}.mlp.c_fc.bias"]
        )
        wide = wide * torch.sigmoid(1.702 * wide)
        x = x + F.linear(wide, state[f"{block}.mlp.c_proj.weight"], state[f"{block}.mlp.c_proj.bias"])
    return x


def picture_vectors(state, pictures):
    """OpenAI's picture encoder."""
    patches = F.conv2d(pictures, state["visual.conv1.weight"], stride=8).flatten(2).transpose(1, 2)
    first = state["visual.class_embedding"].expand(len(pictures), 1, -1)
    x = torch.cat([first, patches], dim=1) + state["visual.positional_embedding"]
    x = transformer(state, layer_norm(state, x, "visual.ln_pre"), "visual.transformer", 4, False)
    return F.normalize(layer_norm(state, x[:, 0], "visual.ln_post") @ state["visual.proj"], dim=-1)


def text_vector(state, tokens):
    """OpenAI's text encoder."""
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"][: len(tokens)]
    x = layer_norm(state, transformer(state, x[None], "transformer", 4, True), "ln_final")
    return F.normalize(x[0, tokens.argmax()] @ state["text_projection"], dim=-1)


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    config = CLIPConfig(text_config=TEXT.to_dict(), vision_config=VISION, projection_dim=24)
    layout = clip.layout(config)
    state = published(layout)
    folder = folder_of(layout, state, tmp_path_factory.mktemp("clip") / "main")
    return state, ClipEncoder(spec(), {"main": folder}, "cpu"), folder


def test_openais_file_gives_openais_vectors(tiny_clip):
    state, encoder, _ = tiny_clip
    pictures = noise(3, 3, 32, 32)
    assert np.abs(encoder.features(pictures) - picture_vectors(state, pictures).numpy()).max() < 1e-5
    tokens = torch.tensor(clip_tokenizer()("a red cup")["input_ids"])
    vector, cut = encoder.text("a red cup")
    assert not cut
    assert np.abs(vector - text_vector(state, tokens).numpy()).max() < 1e-5


def test_entries_of_openais_file_that_describe_the_network_are_no_weights(tiny_clip):
    layout = clip.layout(clip.config_b32())
    assert all(layout.ignored(name) for name in ("input_resolution", "context_length", "vocab_size"))
    assert not layout.ignored("visual.proj")


def test_a_text_beyond_the_model_is_cut_and_told(tiny_clip):
    _, encoder, _ = tiny_clip
    vector, cut = encoder.text("a red cup " * 20)
    assert cut and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("change", "fault"), [("missing", "is missing"), ("surplus", "'extra' is not known")])
def test_a_hub_folder_with_a_tensor_too_few_or_too_many_is_refused_by_name(tiny_clip, change, fault, tmp_path):
    from safetensors.torch import load_file

    _, _, folder = tiny_clip
    tensors = load_file(folder / "model.safetensors")
    if change == "missing":
        del tensors["visual_projection.weight"]
        fault = "'visual_projection.weight' is missing"
    else:
        tensors["extra"] = torch.zeros(1)
    other = tmp_path / "main"
    other.mkdir()
    for path in folder.iterdir():
        if path.suffix == ".json" and path.name != "manifest.json":
            (other / path.name).write_bytes(path.read_bytes())
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    write_manifest(other, "tiny", "0")
    with pytest.raises(WeightsError, match=fault):
        ClipEncoder(spec(), {"main": other}, "cpu")


# --- ViCLIP ---


TINY_VICLIP = Sizes(width=48, blocks=2, heads=4, patch=8, side=32, frames=8, vector=24, text=TEXT)


class TinyViClip(ViClipEncoder):
    sizes = TINY_VICLIP


def test_viclip_attends_over_the_patches_of_all_frames_with_a_position_in_time(tmp_path):
    layout = viclip.layout(TINY_VICLIP)
    state = published(layout, 3)
    encoder = TinyViClip(spec(), {"main": folder_of(layout, state, tmp_path / "main")}, "cpu")
    clips = noise(2, 8, 3, 32, 32, seed=1)
    own = {name.removeprefix("vision_encoder."): tensor for name, tensor in state.items()}
    expected = []
    for frames in clips:
        kernel = own["conv1.weight"][:, :, 0]
        patches = F.conv2d(frames, kernel, stride=8).flatten(2).transpose(1, 2)  # (8, 16, width)
        placed = patches + own["positional_embedding"][1:] + own["temporal_positional_embedding"][0][:, None]
        first = own["class_embedding"] + own["positional_embedding"][0]
        x = torch.cat([first[None], placed.flatten(0, 1)])[None]
        x = transformer(own, layer_norm(own, x, "ln_pre"), "transformer", 4, False)
        expected.append(F.normalize(layer_norm(own, x[0, 0], "ln_post") @ own["proj"], dim=-1))
    assert np.abs(encoder.features(clips) - torch.stack(expected).numpy()).max() < 1e-5
    assert encoder.window == 8
    words = {name.removeprefix("text_encoder."): tensor for name, tensor in state.items()}
    tokens = torch.tensor(clip_tokenizer()("a red cup")["input_ids"])
    assert np.abs(encoder.text("a red cup")[0] - text_vector(words, tokens).numpy()).max() < 1e-5


# --- DINO ---


VIT = ViTConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, image_size=64, patch_size=16,
    layer_norm_eps=1e-6,
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny_dino(tmp_path_factory):
    layout = dino.layout(VIT)
    state = published(layout, 5)
    folder = folder_of(layout, state, tmp_path_factory.mktemp("dino") / "main")
    return state, Dino(spec(), {"main": folder}, "cpu"), folder


def dino_vectors(state, pictures):
    """DINO's encoder, written out from the names of its file."""
    patches = F.conv2d(pictures, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    table = stretched_by_hand(state["pos_embed"], tuple(patches.shape[-2:]))
    first = state["cls_token"].expand(len(pictures), 1, -1)
    x = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1) + table

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    for number in range(2):
        block = f"blocks.{number}"
        parts = {
            "a.in_proj_weight": state[f"{block}.attn.qkv.weight"],
            "a.in_proj_bias": state[f"{block}.attn.qkv.bias"],
            "a.out_proj.weight": state[f"{block}.attn.proj.weight"],
            "a.out_proj.bias": state[f"{block}.attn.proj.bias"],
        }
        x = x + attention(parts, norm(x, f"{block}.norm1"), "a", 4, False)
        wide = F.linear(norm(x, f"{block}.norm2"), state[f"{block}.mlp.fc1.weight"], state[f"{block}.mlp.fc1.bias"])
        x = x + F.linear(F.gelu(wide), state[f"{block}.mlp.fc2.weight"], state[f"{block}.mlp.fc2.bias"])
    return F.normalize(norm(x, "norm")[:, 0], dim=-1)


def stretched_by_hand(table, grid):
    """Cubic convolution (a = -0.75) at (i + 0.5) / factor - 0.5, factor = (patches + 0.1) / side; edges repeated."""
    side = round((table.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return table

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.25 * x**3 - 2.25 * x**2 + 1
        return -0.75 * x**3 + 3.75 * x**2 - 6 * x + 3 if x < 2 else 0.0

    def rows(patches):
        found = np.zeros((patches, side))
        for row in range(patches):
            at = (row + 0.5) * side / (patches + 0.1) - 0.5
            for place in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                found[row, min(max(place, 0), side - 1)] += kernel(place - at)
        return torch.tensor(found, dtype=torch.float32)

    square = table[0, 1:].reshape(side, side, -1)
    stretched = torch.einsum("ai,bj,ijc->abc", rows(grid[0]), rows(grid[1]), square)
    return torch.cat([table[:, :1], stretched.reshape(1, -1, table.shape[-1])], dim=1)


@pytest.mark.parametrize("size", [(64, 64), (64, 112), (118, 64), (32, 48)])
def test_dinos_file_gives_dinos_vectors_at_any_shape(tiny_dino, size):
    state, encoder, _ = tiny_dino
    pictures = noise(2, 3, *size)
    assert np.abs(encoder.features(pictures) - dino_vectors(state, pictures).numpy()).max() < 2e-6


def test_positions_are_those_of_dino_and_not_of_the_stock_class(tiny_dino):
    state, _, folder = tiny_dino
    table = state["pos_embed"]
    found = positions(table, torch.Size((4, 7)))
    assert (found - stretched_by_hand(table, (4, 7))).abs().max() < 1e-5
    stock = ViTModel.from_pretrained(folder, add_pooling_layer=False)
    with torch.inference_mode():
        other = stock.embeddings.interpolate_pos_encoding(torch.zeros(1, 29, 32), 64, 112)
    assert (found - other).abs().max() > 1e-3


def test_dinov2_gives_the_picture_and_its_patches_at_length_one(tmp_path):
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14)
    model = Dinov2Model(config)
    model.save_pretrained(tmp_path)
    write_manifest(tmp_path, "tiny", "0")
    pictures = noise(2, 3, 56, 70)
    found = Dinov2(spec(), {"main": tmp_path}, "cpu").features(pictures)
    assert found.shape == (2, 1 + 4 * 5, 32)
    with torch.inference_mode():
        expected = F.normalize(model.eval()(pixel_values=pictures).pooler_output, dim=-1)
    assert np.abs(found[:, 0] - expected.numpy()).max() < 1e-5


# --- SigLIP ---


def test_siglip_compares_pictures_with_texts_padded_to_its_whole_length(tmp_path):
    text = {
        "vocab_size": 514, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 16,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
        "patch_size": 8,
    }  # fmt: skip
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).eval()
    model.save_pretrained(tmp_path)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    special = {"unk_token": "<unk>"}
    named = {"pad_token": "<pad>", **special}
    backend = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1, "a": 2, "red": 3, "cup": 4}, **special))
    backend.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **named)
    tokenizer.save_pretrained(tmp_path)
    write_manifest(tmp_path, "tiny", "0")
    encoder = SiglipEncoder(spec(), {"main": tmp_path}, "cpu")
    shown = torch.randint(0, 256, (2, 3, 40, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    small = [Image.fromarray(one.permute(1, 2, 0).numpy()).resize((32, 32), Image.Resampling.BICUBIC) for one in shown]
    pixels = torch.tensor(np.stack([np.asarray(one) for one in small])).permute(0, 3, 1, 2).float() / 127.5 - 1
    tokens = torch.tensor([[2, 3, 4] + [0] * 13])
    with torch.inference_mode():
        pictures = F.normalize(model.get_image_features(pixels).pooler_output, dim=-1)
        words = F.normalize(model.get_text_features(tokens).pooler_output, dim=-1)[0]
    assert np.abs(encoder.features(shown) - pictures.numpy()).max() < 1e-5
    vector, cut = encoder.text("A red CUP")
    assert np.abs(vector - words.numpy()).max() < 1e-5 and not cut
    assert encoder.text("a red cup " * 9)[1]


# --- the rest ---


@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        SiglipImageProcessorPil(size={"height": 32, "width": 32}, do_rescale=False, do_normalize=False),
    ],
)
def test_pictures_by_a_models_own_processor_have_its_numbers(processor):
    frames = torch.randint(0, 256, (2, 3, 48, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    own = processor(list(frames.numpy()), input_data_format="channels_first", return_tensors="pt")["pixel_values"]
    assert (processed(processor, frames) - own).abs().max() < 1e-6


def test_the_aesthetic_head_is_one_linear_layer_and_takes_vectors_of_one_width(tmp_path):
    (layout,) = laion_layouts().values()
    state = published(layout)
    head = LaionHead(spec(), {"main": folder_of(layout, state, tmp_path / "main")}, "cpu")
    vectors = F.normalize(noise(4, 768), dim=-1)
    expected = vectors @ state["weight"][0] + state["bias"]
    assert np.abs(head.features(vectors.numpy()) - expected.numpy()).max() < 1e-6
    with pytest.raises(ValueError, match="vectors of 768 numbers"):
        head.features(np.zeros((4, 512), np.float32))


def test_full_size_networks_have_the_published_number_of_parameters():
    with torch.device("meta"):
        found = {
            "dino": count(ViTModel(dino.CONFIG, add_pooling_layer=False)),
            "clip_b32": count(CLIPModel(clip.config_b32())),
            "clip_l14": count(CLIPModel(clip.config_l14())),
            "viclip": count(ViClip(Sizes())),
        }
        assert count(Dinov2Model(Dinov2Config(image_size=518, patch_size=14))) == 86_580_480
        assert count(efficientnet.EfficientNetLite0()) == 4_652_008
        assert count(xfeat.XFeat()) == 657_910
    assert found == PARAMETERS


@pytest.fixture(scope="module")
def points():
    layout = xfeat.layout()
    return loaded(xfeat.XFeat(), layout, published(layout, 2))


def test_xfeats_maps_are_shares_of_a_cell_and_descriptions_of_length_one(points):
    with torch.inference_mode():
        where, reliable, described = points(255 * torch.rand(1, 3, 64, 96))
    assert (where.shape, reliable.shape, described.shape) == ((1, 1, 64, 96), (1, 1, 8, 12), (1, 64, 8, 12))
    cells = F.avg_pool2d(where, 8) * 64
    assert (cells < 1).all() and (cells > 0).all()
    assert described.norm(dim=1).sub(1).abs().max() < 1e-5


def test_a_point_is_a_local_maximum_ranked_by_both_maps():
    where = torch.zeros(1, 1, 64, 64)
    where[0, 0, 20, 30], where[0, 0, 22, 31], where[0, 0, 50, 10], where[0, 0, 5, 5] = 0.9, 0.8, 0.5, 0.04
    reliable = torch.ones(1, 1, 8, 8)
    reliable[0, 0, 2:4, 2:5] = 0.2
    found = xfeat.points_of(where, reliable, F.normalize(noise(1, 64, 8, 8), dim=1))
    assert found[:, :2].tolist() == [[10, 50], [30, 20]]
    assert found[0, 2] > found[1, 2]
    assert found[:, 3:].norm(dim=1).sub(1).abs().max() < 1e-5


def test_efficientnet_pads_as_tensorflow_does():
    convolution = efficientnet._Conv(1, 1, 3, 2)
    convolution.weight.data.fill_(1)
    found = convolution(torch.ones(1, 1, 4, 5))
    # Of 4 rows the one row that lacks comes last; of 5 columns one comes on either side.
    assert found.tolist() == [[[[6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]]]


def test_efficientnet_gives_vectors_of_1280_from_the_published_names():
    layout = efficientnet.layout()
    network = loaded(efficientnet.EfficientNetLite0(), layout, published(layout, 4))
    with torch.inference_mode():
        assert network(noise(1, 3, 64, 64)).shape == (1, 1280)
