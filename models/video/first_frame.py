"""The image condition of a clip, coarse in its first steps: clips that start from a picture move more so.

Models that continue a picture hold on to its fine detail and move less than their text-to-video kin. ALG (arXiv
2506.08456) low-passes the condition in the early steps, in which motion and layout are decided, and gives it whole to
the later ones, in which detail is. As there, the latents of the condition are made smaller by `COARSE`, and as large as
before again; its masks and the embeddings of its picture stay as they are.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

COARSE = 0.4
"""Each side of the latents is so much smaller in between: what the paper takes for Wan."""


def coarse(condition: torch.Tensor, channels: int) -> torch.Tensor:
    """`condition` (n, c, frames, h, w) whose last `channels`, of latents, lost their fine detail, frame by frame."""
    count, _, frames, height, width = condition.shape
    kept, latents = condition[:, :-channels], condition[:, -channels:]
    pictures = latents.transpose(1, 2).reshape(count * frames, channels, height, width)
    size = [max(1, round(side * COARSE)) for side in (height, width)]
    small = F.interpolate(pictures, size, mode="bilinear", antialias=True)
    large = F.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    whole = large.reshape(count, frames, channels, height, width).transpose(1, 2)
    return torch.cat([kept, whole], dim=1)


class CoarseFirst:
    """One condition tensor of a pipeline, whose values change once during a call.

    Pipelines prepare their condition before the first step and look at it in each; so its values are replaced in place.
    Not for concurrent calls: `begin`, then `before_step`, then `release`.
    """

    def __init__(self) -> None:
        self._seen: torch.Tensor | None = None
        self._whole: torch.Tensor | None = None
        self._until = 0.0

    def begin(self, whole: torch.Tensor, channels: int, until: float) -> torch.Tensor:
        """What the pipeline has to look at: `coarse` in the first share `until` (0 to 1) of its steps, then `whole`.

        With `until` 0 it is `whole` itself.
        """
        if not until:
            return whole
        self._whole, self._until = whole, until
        self._seen = coarse(whole, channels)
        return self._seen

    def before_step(self, done: int, total: int) -> None:
        """Give the whole condition from the first step `done` of `total` that does not lie before `until`."""
        if self._seen is not None and self._whole is not None and done / total >= self._until:
            self._seen.copy_(self._whole)
            self._whole = None

    def release(self) -> None:
        """Forget the call."""
        self._seen = self._whole = None
