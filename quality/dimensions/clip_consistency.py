"""Consistency: how much the frames of a clip look alike. Read it beside the alignment: a frozen wrong picture is
perfectly consistent, and people's ratings follow it badly (on VideoFeedback: 7.5 by DINO and 8.9 by CLIP,
Spearman·100).

score = 1/(T-1) * sum over t >= 2 of (max(0, cos(f_t, f_t-1)) + max(0, cos(f_t, f_1))) / 2, f_t the unit vector of frame
t: the formula of VBench's subject and background consistency (arXiv 2311.17982; the whole frame in both), on all
frames. VBench's own are by DINO ViT-B/16 and CLIP ViT-B/32 in float32; on a card it runs CLIP in float16, which moves
the value by about 1e-3. By the deployment's own CLIP it is no VBench score and has another name.

A clip that changes slowly is consistent in every piece of it, which a mean over pieces (`long2s`) does not see. So
VBench-Long (VBench++, arXiv 2411.13503; `vbench2_beta_long`, only with `--dev_flag`) puts beside it how alike the first
frames of the pieces are: score = 0.5 * s + 0.5 * map(c), s the mean over the pieces by DINO ViT-B/16, c the same
formula on the pieces' first frames by DINOv2 ViT-B/14, and map a table that brings c to the scale of s.
"""

from __future__ import annotations

from statistics import fmean
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream, pieces_of

DINO = Stream("dino_vitb16", "vbench.dino224")
STARTS = Stream("dinov2_base", "i2v.dino", "pieces")
"""VBench-Long prepares them as VBench-I2V does its frames: shorter side to 256, bicubic, middle 224 x 224."""
WITHIN = 0.5
"""Weight of s, `w_inclip_sb`."""
MAPPED = (
    0, 655812, 706857, 731659, 736610, 749101, 761033, 774597, 784556, 792954, 802690, 808076, 816205, 824220, 830472,
    835420, 839077, 841978, 846792, 850626, 852853, 854691, 858132, 863729, 866102, 870585, 872332, 874961, 878698,
    881708, 885684, 887195, 890181, 894009, 896728, 899204, 901873, 902930, 904255, 906710, 909197, 911999, 914121,
    917821, 920038, 922367, 923878, 926128, 928554, 931095, 932675, 933939, 935219, 938074, 939676, 941553, 944196,
    946289, 947781, 949137, 951897, 953055, 954985, 956200, 957250, 958689, 960456, 961343, 962936, 964827, 966786,
    968174, 969814, 971409, 972530, 973668, 974642, 976009, 977156, 978419, 979501, 980594, 981991, 983434, 984335,
    985466, 986317, 987193, 987700, 988263, 988710, 989251, 989783, 990372, 991172, 992180, 992921, 993269, 994591,
    995516, 1000000,
)  # fmt: skip
"""Millionths of map(c) at c = 0, 0.01, ... 1, with lines between; VBench's `subject_mapping_table.yaml` (Apache-2.0)
has 15 digits of each."""


class Alike:
    """How much vectors of length 1, taken one by one, are like the first and the one before: a value for each but the
    first."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._first: npt.NDArray[np.float64] | None = None
        self._before: npt.NDArray[np.float64] | None = None

    def take(self, vector: npt.NDArray[np.float64]) -> None:
        """The next one, shape (width,)."""
        if self._first is None or self._before is None:
            self._first = vector
        else:
            to_before, to_first = vector @ self._before, vector @ self._first
            self.values.append(float(np.maximum(to_before, 0) + np.maximum(to_first, 0)) / 2)
        self._before = vector


class ClipConsistency:
    """0 to 1 (every frame like the first and the one before), of at most 8 frames a second. Needs 2 of them."""

    METRIC: ClassVar[Metric] = Metric("admint.clip_consistency", "clip_consistency@2", "proxy", (0, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("clip", "hf.clip", "8fps"),)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._alike = Alike()
        self._at: list[int] = []

    def feed(self, block: Block) -> None:
        features = block.features[self.NEEDS[0]]
        self._at.extend(features.frames)
        for vector in features.values.astype(np.float64):
            self._alike.take(vector)

    def score(self) -> Score:
        alike = self._alike.values
        if not alike:
            raise NoValue(f"needs at least 2 frames ({self.NEEDS[0].sampling})")
        mean, frames = float(np.mean(alike)), len(alike) + 1
        return self.METRIC.value(mean, self._shot, frames, stream=self.NEEDS[0], series=alike, at=self._at[1:])


class SubjectConsistency(ClipConsistency):
    """VBench dimension 1."""

    METRIC = Metric("vbench.subject_consistency", "subject_consistency@1", "equal", (0, 1))
    NEEDS = (DINO,)


class BackgroundConsistency(ClipConsistency):
    """VBench dimension 2."""

    METRIC = Metric("vbench.background_consistency", "background_consistency@1", "equal", (0, 1))
    NEEDS = (Stream("clip_b32", "vbench.clip224"),)


class ImagenetConsistency(ClipConsistency):
    """The same by a small network that was trained on ImageNet's classes: pretrained numbers on any machine. It tells a
    wrong shape (24 of 24 rendered pairs) and hardly a wrong colour (11 of 24)."""

    METRIC = Metric("admint.imagenet_consistency", "imagenet_consistency@2", "proxy", (0, 1))
    NEEDS = (Stream("efficientnet_lite0", "lite224"),)


class SubjectSlowFast:
    """0 to 1, of pieces of two seconds; of a single piece its own consistency. Needs 2 frames in each piece.

    `like`: VBench encodes each piece anew, and the row of first frames; transformers stretches DINOv2's positions to a
    size, its authors by a factor. Where c is 0 VBench takes it for missing and gives s; here it counts.
    """

    METRIC: ClassVar[Metric] = Metric(
        "vbench_long.subject_slow_fast", "subject_slow_fast@1", "like", (0, 1), "slow_fast"
    )
    NEEDS: ClassVar[tuple[Stream, ...]] = (DINO, STARTS)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._pieces = pieces_of(shot)
        self._within = [Alike() for _ in self._pieces]
        self._between = Alike()
        self._frames = 0

    def feed(self, block: Block) -> None:
        features, last = block.features[DINO], len(self._pieces) - 1
        for number, vector in zip(features.frames, features.values.astype(np.float64), strict=True):
            for place in {min(number // max(1, len(self._pieces[0])), last), last}:  # the last two overlap
                if number in self._pieces[place]:
                    self._within[place].take(vector)
            self._frames += 1
        for tokens in block.features[STARTS].values:  # a picture's own vector, then those of its patches
            self._between.take(tokens[0].astype(np.float64))

    def score(self) -> Score:
        short = next((number for number, alike in enumerate(self._within, start=1) if not alike.values), None)
        if short is not None:
            raise NoValue(f"needs at least 2 frames in each piece: number {short} of {len(self._pieces)} has fewer")
        within = fmean(fmean(alike.values) for alike in self._within)
        other, stream = sorted(reversed(self.NEEDS), key=self._distance)  # a stand-in, or else DINO, names the score
        if len(self._pieces) == 1:
            return self.METRIC.value(
                within, self._shot, self._frames, stream=stream, note="a single piece of 2 s, not encoded anew: its own"
            )
        between = fmean(self._between.values)
        mapped = float(np.interp(between, np.linspace(0, 1, len(MAPPED)), MAPPED)) / 1e6
        model = self._shot.backbones[other.backbone]
        return self.METRIC.value(
            WITHIN * within + (1 - WITHIN) * mapped,
            self._shot,
            self._frames,
            stream=stream,
            note=f"half {within:.4f}, mean of {len(self._pieces)} pieces of 2 s, not encoded anew; half {mapped:.4f},"
            f" by VBench's table for {between:.4f}, how alike their first frames are; also by {model.name}, weights"
            f" {(model.weights_sha256 or 'not hashed')[:12]}",
        )

    def _distance(self, stream: Stream) -> int:
        return ("published", "proxy", "toy").index(self._shot.backbones[stream.backbone].fidelity)
