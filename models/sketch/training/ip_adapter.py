"""Stage 4: image conditioning in the state-dict format that `load_ip_adapter` reads, over the frozen image model.

`python -m models.sketch.training.ip_adapter`. The reference is always another view of the same product, in a setting of
its own, so that the adapter carries the product and nothing else; captions mostly leave colour and shape unsaid. The
loss weighs the product's place as the image model's does.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from models.sketch.training import data, diffusion, loop
from models.sketch.training.loop import EXPORTS, as_tensor, squash
from models.sketch.training.thumbnail import encode
from models.sketch.training.tokenizer import load_tokenizer, token_ids
from models.sketch.training.unet import emphasis, rimmed, usual_places
from models.sketch.training.world import COLOURS, MATERIALS, SHAPES, caption, sample_spec
from models.sketch.training.world.render import render_array

BATCH = 16
TOKENS = 4
VIEWS = 40
"""Reference views per product; 240 products."""
NAMED = 0.15
DROP_IMAGE = 0.1
DROP_TEXT = 0.15

Product = tuple[str, str, str]
PRODUCTS: list[Product] = [(s, c, m) for s in SHAPES for c in COLOURS for m in MATERIALS]


@torch.no_grad()
def text_states(text: CLIPTextModel, tokenizer: CLIPTokenizer) -> torch.Tensor:
    """What the image model reads of "a red matte mug", for each product: the states of its last four tokens."""
    ids = token_ids(tokenizer, [f"a {colour} {material} {shape}" for shape, colour, material in PRODUCTS])
    if ids.shape[1] != TOKENS + 2:
        raise ValueError("a product word is more than one token")
    return diffusion.hidden_states(text, ids)[:, 2:]


def projection(text: CLIPTextModel, tokenizer: CLIPTokenizer, references: torch.Tensor) -> dict[str, torch.Tensor]:
    """The image projection that best turns a reference's embedding into those states, by ridge regression."""
    norm = text.final_layer_norm
    target = ((text_states(text, tokenizer) - norm.bias) / norm.weight).flatten(1).detach()
    inputs = torch.cat([references.flatten(0, 1), torch.ones(references.shape[0] * VIEWS, 1)], dim=1).double()
    targets = target.repeat_interleave(VIEWS, dim=0).double()
    gram = inputs.T @ inputs + 1.0 * torch.eye(inputs.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(gram, inputs.T @ targets).float().T
    return {
        "proj.weight": solved[:, :-1].contiguous(),
        "proj.bias": solved[:, -1].contiguous(),
        "norm.weight": norm.weight.detach().clone(),
        "norm.bias": norm.bias.detach().clone(),
    }


def initial_state(unet: UNet2DConditionModel, projected: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Image tokens that begin as the words they stand for, read by copies of the text's own keys and values."""
    layers = {}
    names = [n for n in unet.attn_processors if n.endswith("attn2.processor")]
    for index, name in enumerate(names):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        layers[f"{2 * index + 1}.to_k_ip.weight"] = attention.to_k.weight.detach().clone()
        layers[f"{2 * index + 1}.to_v_ip.weight"] = attention.to_v.weight.detach().clone()
    return {"image_proj": projected, "ip_adapter": layers}


def attach(unet: UNet2DConditionModel, projected: dict[str, torch.Tensor]) -> None:
    """Put a fresh adapter on the UNet through diffusers' own loader, and leave only it trainable."""
    unet._load_ip_adapter_weights([initial_state(unet, projected)], low_cpu_mem_usage=False)
    unet.requires_grad_(False)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_("_ip." in name or name.startswith("encoder_hid_proj"))


def adapter_state(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """The adapter's weights under the file format's names."""
    layer = unet.encoder_hid_proj.image_projection_layers[0]
    state = {
        "image_proj.proj.weight": layer.image_embeds.weight,
        "image_proj.proj.bias": layer.image_embeds.bias,
        "image_proj.norm.weight": layer.norm.weight,
        "image_proj.norm.bias": layer.norm.bias,
    }
    processors = [p for n, p in unet.attn_processors.items() if n.endswith("attn2.processor")]
    for index, processor in enumerate(processors):
        state[f"ip_adapter.{2 * index + 1}.to_k_ip.weight"] = processor.to_k_ip[0].weight
        state[f"ip_adapter.{2 * index + 1}.to_v_ip.weight"] = processor.to_v_ip[0].weight
    return {key: value.detach().contiguous().clone() for key, value in state.items()}


def _render_views(product: Product) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(10_000 + PRODUCTS.index(product))
    shape, colour, material = product
    out = []
    for _ in range(VIEWS):
        spec = replace(sample_spec(rng, aspect="1:1"), shape=shape, colour=colour, material=material)
        out.append(render_array(spec))
    return np.stack(out)


@torch.no_grad()
def reference_embeddings(path: Path) -> torch.Tensor:
    """Image embeddings of every product's views: 240 x VIEWS x EMBEDDING, computed once."""
    if not path.exists():
        folder = EXPORTS / "ip_adapter/image_encoder"
        encoder = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32).eval()
        with multiprocessing.Pool(2) as pool:
            views = pool.map(_render_views, PRODUCTS)
        torch.save(torch.stack([encoder(squash(as_tensor(v))).image_embeds for v in views]), path)
    embeddings: torch.Tensor = torch.load(path, weights_only=True)
    return embeddings


class Batches:
    """Latents, token ids, one or two reference embeddings of the same products, and where the products are."""

    def __init__(self, seed: int, tokenizer: CLIPTokenizer, size: int, references: torch.Tensor) -> None:
        self.rng = np.random.default_rng(seed)
        self.tokenizer, self.size, self.references = tokenizer, size, references
        self.pictures = {a: data.pictures("train", a) for a in data.SHARES}
        self.specs = {a: data.specs("train", a) for a in data.SHARES}
        self.masks = {a: data.masks("train", a) for a in data.SHARES}
        self.usual = {a: usual_places(masks) for a, masks in self.masks.items()}

    def next(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The last two: where each product is, and where products usually are."""
        rng = self.rng
        aspect = data.bucket(rng)
        chosen = np.sort(rng.integers(len(self.pictures[aspect]), size=self.size))
        specs = [self.specs[aspect][i] for i in chosen]
        texts = [caption(s, rng, named=NAMED) for s in specs]
        texts = ["" if rng.random() < DROP_TEXT else t for t in texts]
        products = [PRODUCTS.index((s.shape, s.colour, s.material)) for s in specs]
        views = rng.integers(VIEWS, size=(self.size, 2 if rng.random() < 0.25 else 1))
        embeds = torch.stack([self.references[p][torch.from_numpy(v)] for p, v in zip(products, views, strict=True)])
        embeds = embeds * torch.from_numpy(rng.random((self.size, 1, 1)) >= DROP_IMAGE).float()
        latents = encode(as_tensor(self.pictures[aspect][chosen]))
        ids = token_ids(self.tokenizer, texts, full=True)
        return latents, ids, embeds, rimmed(self.masks[aspect][chosen]), self.usual[aspect]


def export(unet: nn.Module) -> None:
    save_file(adapter_state(unet), EXPORTS / "ip_adapter/ip-adapter.safetensors")


def main() -> None:
    args = loop.arguments("ip_adapter", steps=20000, minutes=12)
    tokenizer = load_tokenizer(args.out.parent / "tokenizer")
    text = CLIPTextModel.from_pretrained(EXPORTS / "image/text_encoder", dtype=torch.float32).eval()
    unet = UNet2DConditionModel.from_pretrained(EXPORTS / "image/unet", dtype=torch.float32)
    references = reference_embeddings(args.out / "references.pt")
    attach(unet, projection(text, tokenizer, references))
    unet.to(memory_format=torch.channels_last)
    run = loop.Run(unet, args, lr=5e-4, decay=0.99)
    schedule = diffusion.scheduler()
    generator = torch.Generator().manual_seed(args.seed + run.step)
    batches = Batches(args.seed + run.step, tokenizer, args.batch or BATCH, references)

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        clean, ids, embeds, own, usual = batches.next()
        noisy, timesteps, target = diffusion.noised(schedule, clean, generator)
        with torch.no_grad():
            states = diffusion.hidden_states(text, ids)
        told = {"image_embeds": [embeds]}
        with torch.autocast(args.device.split(":")[0], dtype=torch.bfloat16):
            out = unet(noisy, timesteps, encoder_hidden_states=states, added_cond_kwargs=told).sample
        return diffusion.loss(schedule, out.float(), target, timesteps, emphasis(timesteps, own, usual)), {}

    if not args.export:
        run.train(step)
    export(run.averaged())


if __name__ == "__main__":
    main()
