"""Scorer backbones with random weights, tiny or of the published sizes, from folders as the converter leaves them.

They load through the same classes, checks and files as real ones; what they measure means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPTextConfig, Dinov2Config, Dinov2Model, ViTConfig

from models.conversion import WEIGHTS_FILE, Layout
from models.manifest import write_manifest
from models.scorers import clip, dino, dover, efficientnet, laion, musiq, raft, silero, transnetv2, viclip, xfeat
from models.spec import ScorerModelSpec
from tests.support.published_weights import published
from tests.support.tiny_models import clip_tokenizer

TEXT = CLIPTextConfig(
    vocab_size=514, hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=16, projection_dim=24, bos_token_id=512, eos_token_id=513, pad_token_id=513,
    hidden_act="quick_gelu",
)  # fmt: skip
VIT = ViTConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=224, patch_size=16,
    layer_norm_eps=1e-6,
)  # fmt: skip
VICLIP = viclip.Sizes(width=48, blocks=2, heads=4, patch=32, side=224, frames=8, vector=24, text=TEXT)


class TinyViClip(viclip.ViClipEncoder):
    """ViCLIP of a tiny width."""

    sizes = VICLIP


class Network(NamedTuple):
    """One backbone in both sizes."""

    encoder: Callable[..., Any]
    tiny: Callable[[], Layout]
    whole: Callable[[], Layout]
    tiny_encoder: Callable[..., Any] | None = None


def _tiny_clip(vector: int) -> Layout:
    vision = {
        "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "image_size": 224, "patch_size": 32, "projection_dim": vector, "hidden_act": "quick_gelu",
    }  # fmt: skip
    text = {**TEXT.to_dict(), "projection_dim": vector}
    return clip.layout(CLIPConfig(text_config=text, vision_config=vision, projection_dim=vector))


def _only(layouts: Callable[[], dict[str, Layout]]) -> Callable[[], Layout]:
    return lambda: next(iter(layouts().values()))


NETWORKS: dict[str, Network] = {
    "clip": Network(clip.ClipEncoder, lambda: _tiny_clip(24), _only(clip.layouts_b32)),
    "clip_b32": Network(clip.ClipEncoder, lambda: _tiny_clip(24), _only(clip.layouts_b32)),
    "clip_l14": Network(clip.ClipEncoder, lambda: _tiny_clip(laion.WIDTH), _only(clip.layouts_l14)),
    "dino_vitb16": Network(dino.Dino, lambda: dino.layout(VIT), _only(dino.layouts)),
    "efficientnet_lite0": Network(efficientnet.EfficientNetEncoder, efficientnet.layout, efficientnet.layout),
    "laion_v1": Network(laion.LaionHead, _only(laion.layouts), _only(laion.layouts)),
    "musiq_koniq": Network(musiq.MusiqRating, lambda: musiq.layout(64, 2), musiq.layout),
    "musiq_spaq": Network(musiq.MusiqRating, lambda: musiq.layout(64, 2), musiq.layout),
    "raft": Network(raft.RaftFlow, lambda: raft.layout(raft._AUTHORS, width=8), _only(raft.layouts)),
    "silero_vad": Network(silero.SileroSpeech, silero.layout, silero.layout),
    "transnetv2": Network(transnetv2.TransNetCuts, lambda: transnetv2.layout(2, 8), transnetv2.layout),
    "viclip_l14": Network(
        viclip.ViClipEncoder, lambda: viclip.layout(VICLIP), lambda: viclip.layout(viclip.Sizes()), TinyViClip
    ),
    "xfeat": Network(xfeat.XFeatPoints, xfeat.layout, xfeat.layout),
}
"""By name, as a profile's `scorers` give it."""


def scorer(name: str, root: Path, whole: bool = False, device: str = "cpu") -> Any:
    """The backbone `name` with random weights below `root`: tiny, or `whole` as published."""
    folder = root / name
    folder.mkdir(parents=True)
    encoder = _dinov2(folder, whole) if name == "dinov2_base" else _dover(folder, whole) if name == "dover" else None
    if encoder is None:
        network = NETWORKS[name]
        encoder = network.encoder if whole else network.tiny_encoder or network.encoder
        _save(folder, network.whole() if whole else network.tiny())
    write_manifest(folder, "random", "0")
    spec = ScorerModelSpec(
        kind="scorer", name=f"random-{name}", family="random", licence="none", vram_gb=0, fidelity="published"
    )
    return encoder(spec, {"main": folder}, device)


def scorers(names: Iterable[str], root: Path, whole: bool = False, device: str = "cpu") -> dict[str, Any]:
    """The same of several, by name."""
    return {name: scorer(name, root, whole, device) for name in names}


def _save(folder: Path, layout: Layout) -> None:
    """What the converter would leave of random published weights, with a tokenizer for those that read texts."""
    state = published(layout)
    taken = {
        name: (state[piece.key] if piece.take is None else piece.take(state[piece.key])).contiguous().clone()
        for name, piece in layout.pieces.items()
    }
    save_file(taken, folder / WEIGHTS_FILE)
    for name, text in layout.files.items():
        (folder / name).write_text(text)
    clip_tokenizer().save_pretrained(folder)


def _dinov2(folder: Path, whole: bool) -> Callable[..., Any]:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(image_size=518, patch_size=14, **({} if whole else small))).save_pretrained(folder)
    return dino.Dinov2


def _dover(folder: Path, whole: bool) -> Callable[..., Any]:
    torch.manual_seed(0)
    network = dover.Dover() if whole else dover.Dover(32, (1, 1, 1, 1), (1, 1, 1, 1))
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, folder / WEIGHTS_FILE)
    return dover.DoverRating
