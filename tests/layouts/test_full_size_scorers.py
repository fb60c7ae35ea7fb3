"""Scorers that the hub holds, at their full size with random numbers, by the names that their repositories use.

The names are those of the first transformers that had the class, as the scripts write them that made the files; this
version's own classes call some of them otherwise. What `admint models convert` reads is tested where it is converted.
"""

import json
from fnmatch import fnmatch
from math import prod
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from configs.settings import load_model_specs
from models.manifest import write_manifest
from models.published import expand
from models.registry import load
from models.weights import Library
from tests.support.tiny_models import clip_tokenizer

Shapes = dict[str, tuple[int, ...]]
"""By patterns of names, as the records of published files have them."""


class Hub(NamedTuple):
    """A repository: its configurations and its tensors."""

    config: dict[str, Any]
    processor: dict[str, Any]
    shapes: Shapes
    parameters: int
    width: int
    """Of a picture's vector."""
    positions: tuple[str, ...] = ()
    """Tables of whole numbers beside the weights."""


def linear(name: str, before: int, after: int) -> Shapes:
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.{{weight,bias}}": (width,)}


def tower(name: str, width: int, layers: int) -> Shapes:
    """The transformer that CLIP and SigLIP have for texts and for pictures."""
    block = f"{name}.encoder.layers.{{0-{layers - 1}}}"
    return {
        **linear(f"{block}.self_attn.{{q,k,v,out}}_proj", width, width),
        **norm(f"{block}.layer_norm{{1,2}}", width),
        **linear(f"{block}.mlp.fc1", width, 4 * width),
        **linear(f"{block}.mlp.fc2", 4 * width, width),
    }


MEAN_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CLIP_L14 = Hub(
    config={
        "model_type": "clip", "projection_dim": 768,
        "text_config": {
            "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768,
        },
        "vision_config": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
            "patch_size": 14, "projection_dim": 768,
        },
    },
    processor={"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224}, "crop_size": 224},
    shapes={
        "logit_scale": (),
        "text_model.embeddings.token_embedding.weight": (49408, 768),
        "text_model.embeddings.position_embedding.weight": (77, 768),
        **tower("text_model", 768, 12),
        **norm("text_model.final_layer_norm", 768),
        "vision_model.embeddings.class_embedding": (1024,),
        "vision_model.embeddings.patch_embedding.weight": (1024, 3, 14, 14),
        "vision_model.embeddings.position_embedding.weight": (257, 1024),
        **norm("vision_model.{pre_layrnorm,post_layernorm}", 1024),
        **tower("vision_model", 1024, 24),
        "visual_projection.weight": (768, 1024),
        "text_projection.weight": (768, 768),
    },
    parameters=427_616_513,
    width=768,
    positions=("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"),
)  # fmt: skip
SIGLIP2 = Hub(
    config={
        "model_type": "siglip",
        "text_config": {"model_type": "siglip_text_model", "vocab_size": 256000, "max_position_embeddings": 64},
        "vision_config": {"model_type": "siglip_vision_model", "image_size": 224, "patch_size": 16},
    },
    processor={"image_processor_type": "SiglipImageProcessor", "size": {"height": 224, "width": 224}, **MEAN_HALF},
    shapes={
        "logit_{scale,bias}": (1,),
        "text_model.embeddings.token_embedding.weight": (256000, 768),
        "text_model.embeddings.position_embedding.weight": (64, 768),
        **tower("text_model", 768, 12),
        **norm("text_model.final_layer_norm", 768),
        **linear("text_model.head", 768, 768),
        "vision_model.embeddings.patch_embedding.weight": (768, 3, 16, 16),
        "vision_model.embeddings.patch_embedding.bias": (768,),
        "vision_model.embeddings.position_embedding.weight": (196, 768),
        **tower("vision_model", 768, 12),
        **norm("vision_model.post_layernorm", 768),
        "vision_model.head.probe": (1, 1, 768),
        "vision_model.head.attention.in_proj_weight": (2304, 768),
        "vision_model.head.attention.in_proj_bias": (2304,),
        **linear("vision_model.head.attention.out_proj", 768, 768),
        **norm("vision_model.head.layernorm", 768),
        **linear("vision_model.head.mlp.fc1", 768, 3072),
        **linear("vision_model.head.mlp.fc2", 3072, 768),
    },
    parameters=375_187_970,
    width=768,
)
DINOV2 = Hub(
    config={"model_type": "dinov2", "image_size": 518, "patch_size": 14, "hidden_size": 768, "num_hidden_layers": 12},
    processor={"image_processor_type": "BitImageProcessor", "crop_size": {"height": 224, "width": 224}},
    shapes={
        "embeddings.cls_token": (1, 1, 768),
        "embeddings.mask_token": (1, 768),
        "embeddings.position_embeddings": (1, 1370, 768),
        "embeddings.patch_embeddings.projection.weight": (768, 3, 14, 14),
        "embeddings.patch_embeddings.projection.bias": (768,),
        **norm("encoder.layer.{0-11}.norm{1,2}", 768),
        **linear("encoder.layer.{0-11}.attention.attention.{query,key,value}", 768, 768),
        **linear("encoder.layer.{0-11}.attention.output.dense", 768, 768),
        "encoder.layer.{0-11}.layer_scale{1,2}.lambda1": (768,),
        **linear("encoder.layer.{0-11}.mlp.fc1", 768, 3072),
        **linear("encoder.layer.{0-11}.mlp.fc2", 3072, 768),
        **norm("layernorm", 768),
    },
    parameters=86_580_480,
    width=768,
)
RENAMED = {f"attention.attention.{name}": f"attention.{name[0]}_proj" for name in ("query", "key", "value")}
RENAMED["attention.output.dense"] = "attention.o_proj"
"""What this version's DINOv2 calls otherwise."""


def tensors_of(hub):
    """Name, kind and shape of every published tensor."""
    found = [(name, "F32", shape) for pattern, shape in hub.shapes.items() for name in expand((pattern,))]
    return [
        *found,
        *((name, "I64", (1, hub.shapes[name.replace("_ids", "_embedding.weight")][0])) for name in hub.positions),
    ]


def write(hub, path):
    """The safetensors file, one tensor after the other: no more than one is in memory."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, kind, shape in tensors_of(hub):
        start, end = end, end + prod(shape) * (4 if kind == "F32" else 8)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, kind, shape in tensors_of(hub):
            made = 0.02 * random.standard_normal(shape, np.float32) if kind == "F32" else np.arange(prod(shape))
            file.write(np.asarray(made, np.float32 if kind == "F32" else np.int64).tobytes())


def save_tokenizer(name, folder):
    if name == "clip-vit-l-14":
        clip_tokenizer().save_pretrained(folder)
    elif name == "siglip2-base":
        special = {"unk_token": "<unk>"}
        words = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1, "cup": 2}, **special))
        named = {"pad_token": "<pad>", **special}
        PreTrainedTokenizerFast(tokenizer_object=words, **named).save_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "hub"),
    [
        pytest.param("clip-vit-l-14", CLIP_L14, marks=pytest.mark.serial),  # 1.7 GB on disk, 1.5 the next
        pytest.param("siglip2-base", SIGLIP2, marks=pytest.mark.serial),
        pytest.param("dinov2-base", DINOV2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_scorer_of_full_size_loads_from_the_hubs_layout_and_embeds(name, hub, tmp_path):
    spec = load_model_specs()[name]
    source, library = spec.weights["main"], Library(tmp_path)
    folder = library.folder_of(spec, "main")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(hub.config))
    (folder / "preprocessor_config.json").write_text(json.dumps(hub.processor))
    save_tokenizer(name, folder)
    write(hub, folder / "model.safetensors")
    for path in folder.iterdir():
        assert any(fnmatch(path.name, pattern) for pattern in source.allow_patterns), path.name
    write_manifest(folder, source.repository, source.revision)
    encoder: Any = load(spec, library.folders(spec), "cpu")
    assert sum(parameter.numel() for parameter in encoder._model.parameters()) == hub.parameters
    loaded = encoder._model.state_dict()
    with safe_open(folder / "model.safetensors", "pt") as file:
        for published in set(file.keys()) - set(hub.positions):
            own = published
            for before, after in RENAMED.items():
                own = own.replace(before, after)
            assert loaded[own].equal(file.get_tensor(published).to(loaded[own].dtype)), published
    vector = encoder.features(torch.zeros((1, 3, 40, 60), dtype=torch.uint8)).reshape(-1, hub.width)[0]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)
    if hasattr(encoder, "text"):
        assert np.linalg.norm(encoder.text("cup")[0]) == pytest.approx(1, abs=1e-3)
    (folder / "model.safetensors").unlink()  # pytest keeps folders of three runs
