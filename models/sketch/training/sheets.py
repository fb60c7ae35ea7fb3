"""Samples at the end of a run, in one picture: to see at a glance what was learnt. Judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models.sketch.training import autoencoder, diffusion, image
from models.sketch.training.networks import FACTOR, LATENTS
from models.sketch.training.shelf import as_pictures, as_tensor
from models.sketch.training.words import token_ids
from models.sketch.training.world import frame_size, plain_caption, sample_spec

if TYPE_CHECKING:
    from models.sketch.training.conductor import Conductor

STEPS, GUIDANCE = 12, 2.0
ACROSS = 10


@torch.no_grad()
def sampled(
    unet: Any, told: torch.Tensor, empty: torch.Tensor, size: tuple[int, int], extra: Any = None
) -> torch.Tensor:
    """Latents by DDIM under guidance; `extra` gives the UNet's further arguments for both halves."""
    schedule = diffusion.scheduler()
    schedule.set_timesteps(STEPS)
    generator = torch.Generator().manual_seed(0)
    shape = (len(told), LATENTS, size[0] // FACTOR, size[1] // FACTOR)
    now = torch.randn(shape, generator=generator).to(told.device)
    states = torch.cat([empty.expand_as(told), told]).float()
    for step in schedule.timesteps:
        both = unet(torch.cat([now, now]), step, encoder_hidden_states=states, **(extra or {})).sample
        plain, guided = both.chunk(2)
        now = schedule.step(plain + GUIDANCE * (guided - plain), step, now).prev_sample
    return now


def draw(run: Conductor) -> None:
    """Reconstructions, pictures of held-out scenes, pictures after references, and frames of clips."""
    rows = [_reconstructions(run)]
    rows += [_pictures(run, aspect) for aspect in run.stills]
    if run.referred is not None:
        rows.append(_references(run))
    if run.moved is not None:
        rows += _clip(run)
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows]
    Image.fromarray(np.concatenate(padded)).save(run.out / "sheet.tmp.png")
    (run.out / "sheet.tmp.png").replace(run.out / "sheet.png")


def _row(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate(list(pictures), axis=1)


@torch.no_grad()
def _decoded(run: Conductor, found: torch.Tensor) -> NDArray[np.uint8]:
    return as_pictures(run.vae.decode(found).sample)


@torch.no_grad()
def _reconstructions(run: Conductor) -> NDArray[np.uint8]:
    shelf = run.stills["1:1"]
    pixels = shelf["pixels"][max(0, shelf.count - ACROSS // 2) : shelf.count]
    back = _decoded(run, autoencoder.latents(run.vae, as_tensor(pixels)))
    return np.concatenate([_row(pixels.cpu().numpy()), _row(back)], axis=1)


def _told(run: Conductor, texts: list[str]) -> torch.Tensor:
    return image.states(run.text, token_ids(run.tokenizer, texts).to(run.device)).float()


def _pictures(run: Conductor, aspect: str) -> NDArray[np.uint8]:
    rng = np.random.default_rng(5)
    specs = [sample_spec(rng, "heldout", aspect) for _ in range(ACROSS)]
    found = sampled(run.unet, _told(run, [plain_caption(s) for s in specs]), run.empty.float(), frame_size(aspect))
    return _row(_decoded(run, found))


def _references(run: Conductor) -> NDArray[np.uint8]:
    if run.seen is None or run.blank is None:
        raise ValueError("no photographs were seen")
    count = ACROSS // 2
    products = torch.arange(count, device=run.device) * 47 % run.seen.shape[1]
    shown = run.seen[0, products].float()[:, None]
    blank = run.blank.float().expand(count, -1, -1)[:, None]
    extra = {"added_cond_kwargs": {"image_embeds": [torch.cat([blank, shown])]}}
    told = _told(run, ["a product on a wooden table"] * count)
    return _row(_decoded(run, sampled(run.referred, told, run.empty.float(), (128, 128), extra)))


@torch.no_grad()
def _clip(run: Conductor) -> list[NDArray[np.uint8]]:
    """A true clip, and the same one made from its first frame."""
    shelf = run.clips["1:1"]
    told = shelf["told_latents"][:1].float().transpose(1, 2)
    known = shelf["known"][:1].float()[:, None] / 255
    frames = told.shape[2]
    schedule = diffusion.scheduler()
    schedule.set_timesteps(10)
    now = torch.randn(told.shape, generator=torch.Generator().manual_seed(0)).to(run.device)
    states = shelf["states"][:1, 0].float().repeat_interleave(frames, dim=0)
    for step in schedule.timesteps:
        inputs = torch.cat([now, known, told * known], dim=1)
        out = run.moved(inputs, step, encoder_hidden_states=states).sample
        now = schedule.step(out, step, now).prev_sample
    chosen = slice(0, frames, max(1, frames // ACROSS))
    true = shelf["latents"][0, chosen].float()
    return [_row(_decoded(run, true)), _row(_decoded(run, now[0].transpose(0, 1)[chosen]))]
