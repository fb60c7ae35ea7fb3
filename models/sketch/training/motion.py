"""Clips that begin at their keyframe: motion modules and PIA's input layer over the frozen image model.

Each frame is given the keyframe as the moved camera sees it and where that is known (`models.video.camera.followed`),
so the modules paint what comes into view and keep frames consistent.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import UNetMotionModel
from torch.nn import functional as F

from models.sketch.training.autoencoder import half
from models.sketch.training.diffusion import Noising
from models.sketch.training.image import drawn_states
from models.sketch.training.shelf import Shelf

DROP = 0.1
BLUR = 0.08
"""Most spread of noise on what a frame is told: a keyframe made by a model is not as exact as a rendered one."""


class Moving:
    """The steps over one motion UNet. Shelves bring `latents`, `told` latents, `known` and `states`."""

    def __init__(
        self, model: UNetMotionModel, shelves: Mapping[str, Shelf], empty: torch.Tensor, batch: int, noising: Noising
    ) -> None:
        self.model, self.shelves, self.empty, self.batch, self.noising = model, shelves, empty, batch, noising
        self.device = empty.device

    def step(self, aspect: str) -> torch.Tensor:
        shelf, batch, device = self.shelves[aspect], self.batch, self.device
        rows = shelf.draw(batch)
        clean = shelf["latents"][rows].float().transpose(1, 2)
        frames = clean.shape[2]
        known = shelf["known"][rows].float()[:, None] / 255
        told = shelf["told_latents"][rows].float().transpose(1, 2)
        told = told + BLUR * torch.rand(batch, 1, 1, 1, 1, device=device) * torch.randn_like(told)
        states = drawn_states(shelf["states"], rows, self.empty, DROP).repeat_interleave(frames, dim=0)
        timesteps = self.noising.timesteps(batch)
        noisy, target = self.noising.noised(clean, timesteps)
        inputs = torch.cat([noisy, known, told * known], dim=1)
        with half(device):
            out = self.model(inputs, timesteps, encoder_hidden_states=states).sample
        # What no other frame shows is what must be painted; what is told needs less weight.
        weight = 1 + F.relu(1 - known)
        return self.noising.loss(out, target, timesteps, weight)
