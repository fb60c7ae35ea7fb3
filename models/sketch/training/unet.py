"""Stage 3: the image model (stock `UNet2DConditionModel` over 16 x 16 latents) with its text encoder.

`python -m models.sketch.training.unet`. Thin at full latent size, wide at 8 x 8 and 4 x 4, where attention is cheap.
The text encoder is the one of `text`, frozen.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from models.sketch.training import data, diffusion, loop
from models.sketch.training.clip import WIDTH, processor
from models.sketch.training.loop import EXPORTS, as_tensor
from models.sketch.training.release import plain_caption
from models.sketch.training.thumbnail import encode
from models.sketch.training.tokenizer import load_tokenizer, token_ids
from models.sketch.training.world import caption, frame_size

BATCH = 32
DROP = 0.1
PRODUCT = 5.0
"""Extra weight of the product's place: without it, after 1,250 steps settings were right and products shapeless."""
SETTLED = 450
"""Below this timestep the noise shows where the product is, and each picture's own place is weighed; above it, where
products usually are. A weight that knows more than the model favours "product" wherever that is still open: after
1,500 steps with each picture's own mask throughout, products were bloated and most shapes were seen as boxes."""
CHANNELS = (48, 96, 160)


def network() -> UNet2DConditionModel:
    """Residual branches and the output start at zero, as in DDPM: noticeably faster over the first thousand steps."""
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    for name, parameter in unet.named_parameters():
        if name.endswith(("conv2.weight", "proj_out.weight", "conv_out.weight")):
            nn.init.zeros_(parameter)
    return unet


def quick(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Set up for training steps, weights untouched: 60 samples a second on one core with bfloat16 autocast, before 32.

    Channels last gave 1.3x, autocast on a core with AVX-512 bfloat16 another 1.2x, and plain attention 1.2x: of the
    fused one the backward pass took a quarter of the step at these sizes. `torch.compile` gave 1.1x after 3 minutes.
    """
    unet.set_attn_processor(AttnProcessor())
    return unet.to(memory_format=torch.channels_last)


def pipeline(unet: UNet2DConditionModel, text: CLIPTextModel, tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(EXPORTS / "image/vae"),
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=diffusion.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def contact_sheet(pipe: StableDiffusionPipeline, path: Path, count: int = 12, steps: int = 12) -> list[str]:
    """Held-out prompts, four of each aspect, in rows."""
    prompts, rows = [], []
    for aspect in data.SHARES:
        height, width = frame_size(aspect)
        texts = [plain_caption(s) for s in data.specs("heldout", aspect)[: count // 3]]
        prompts += texts
        seeds = [torch.Generator().manual_seed(k) for k in range(len(texts))]
        out = pipe(
            texts, height=height, width=width, num_inference_steps=steps, guidance_scale=3.0, generator=seeds
        ).images
        row = Image.new("RGB", (84 * len(out), 84))
        for k, image in enumerate(out):
            row.paste(image, (84 * k, 2))
        rows.append(row)
    sheet = Image.new("RGB", (rows[0].width, 84 * len(rows)))
    for k, row in enumerate(rows):
        sheet.paste(row, (0, 84 * k))
    sheet.resize((sheet.width * 3, sheet.height * 3), Image.Resampling.NEAREST).save(path)
    return prompts


class Batches:
    """Latents of one aspect with fresh captions, some of them empty."""

    def __init__(self, seed: int, tokenizer: CLIPTokenizer, size: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tokenizer, self.size = tokenizer, size
        self.pictures = {a: data.pictures("train", a) for a in data.SHARES}
        self.masks = {a: data.masks("train", a) for a in data.SHARES}
        self.usual = {a: usual_places(masks) for a, masks in self.masks.items()}
        self.specs = {a: data.specs("train", a) for a in data.SHARES}

    def next(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents, token ids, where each product is (rim included), and where products usually are."""
        aspect = data.bucket(self.rng)
        chosen = np.sort(self.rng.integers(len(self.pictures[aspect]), size=self.size))
        texts = [caption(self.specs[aspect][i], self.rng) for i in chosen]
        texts = ["" if self.rng.random() < DROP else t for t in texts]
        ids = token_ids(self.tokenizer, texts, full=True)
        latents = encode(as_tensor(self.pictures[aspect][chosen]))
        return latents, ids, rimmed(self.masks[aspect][chosen]), self.usual[aspect]


def rimmed(masks: data.Pixels) -> torch.Tensor:
    """Product coverage of each latent cell, 0 to 1, its rim included: n x 1 x height x width."""
    return F.max_pool2d(torch.from_numpy(np.array(masks)).float()[:, None] / 255, 3, stride=1, padding=1)


def usual_places(masks: data.Pixels) -> torch.Tensor:
    """Where products usually are: height x width, 0 to 1."""
    return torch.from_numpy(masks[:4000].mean(0)).float() / 255


def emphasis(timesteps: torch.Tensor, own: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """Loss weight of each place: the picture's own product where the noise shows it, else the usual place."""
    return 1 + PRODUCT * torch.where((timesteps < SETTLED)[:, None, None, None], own, usual)


def load_text() -> CLIPTextModel:
    """The frozen text encoder."""
    text = CLIPTextModel.from_pretrained(EXPORTS / "image/text_encoder", dtype=torch.float32)
    return text.requires_grad_(False).eval()


def export(unet: UNet2DConditionModel, tokenizer: CLIPTokenizer) -> None:
    """Completes the `StableDiffusionPipeline` folder; autoencoder and text encoder are in place already."""
    folder = EXPORTS / "image"
    pipe = pipeline(unet, load_text(), tokenizer)
    pipe.unet.half().to(memory_format=torch.contiguous_format).save_pretrained(folder / "unet", safe_serialization=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    pipe.scheduler.save_pretrained(folder / "scheduler")
    processor().save_pretrained(folder / "feature_extractor")
    pipe.save_config(folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def main() -> None:
    args = loop.arguments("unet", steps=20000, minutes=50)
    tokenizer = load_tokenizer(args.out.parent / "tokenizer")
    text = load_text().to(args.device)
    unet = quick(network().to(args.device))
    run = loop.Run(unet, args, lr=1.2e-3, decay=0.998)
    schedule: DDIMScheduler = diffusion.scheduler()
    generator = torch.Generator().manual_seed(args.seed + run.step)
    batches = Batches(args.seed + run.step, tokenizer, args.batch or BATCH)

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        clean, ids, own, usual = batches.next()
        noisy, timesteps, target = diffusion.noised(schedule, clean, generator)
        with torch.autocast(args.device.split(":")[0], dtype=torch.bfloat16):
            with torch.no_grad():
                states = diffusion.hidden_states(text, ids.to(args.device))
            out = unet(noisy.to(args.device), timesteps.to(args.device), encoder_hidden_states=states).sample
        return diffusion.loss(schedule, out.float().cpu(), target, timesteps, emphasis(timesteps, own, usual)), {}

    def check() -> dict[str, float]:
        pipe = pipeline(run.averaged(), text, tokenizer)
        contact_sheet(pipe, args.out / f"samples-{run.step:06d}.png")
        return {}

    if not args.export:
        run.train(step, check=check)
    export(run.averaged(), tokenizer)


if __name__ == "__main__":
    main()
