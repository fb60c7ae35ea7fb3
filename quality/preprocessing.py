"""What is done to frames before a backbone sees them: named, pure torch functions.

Each takes uint8 frames, shape (frames, 3, height, width), on the backbone's device, and treats every frame by itself.
Colours may lie next to one another in memory, as decoders give them: on a CPU the resamplings of 8-bit frames are then
three times as fast as on planes.
The name is part of a score: the same weights after another preprocessing give another number. Between
`vbench.clip224` and `vbench.clip224.pil` a pixel of a 480p frame differs by up to 0.6 standard deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil, exp
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and standard deviation of RGB, 0..1, as OpenAI's CLIP takes them."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LITE = ((127 / 255,) * 3, (128 / 255,) * 3)
"""As the EfficientNets for small devices take them: (RGB - 127) / 128."""
AT_ONCE = 4
"""Frames that are float at once: 100 MB in Full HD, whatever the batch."""
PRECISION = 22
"""Bits of a weight in Pillow's resampling of 8-bit pictures."""
PYRAMID = (224, 384)
"""Longer sides of the pictures that MUSIQ sees beside the frame itself."""


def preprocess(name: str, frames: torch.Tensor) -> Any:
    """`frames`, uint8 of shape (frames, 3, height, width), as a backbone takes them. Raises ValueError for a name."""
    if name not in PREPROCESSINGS:
        raise ValueError(f"preprocessing {name!r} is unknown: choose from {', '.join(sorted(PREPROCESSINGS))}")
    return PREPROCESSINGS[name](frames)


def embedded(backbone: Any, name: str, pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """Features by `backbone` of pictures of any sizes (height, width, 3) after the preprocessing `name`, one row
    each."""
    rows = []
    for picture in pictures:
        pixels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None])).to(backbone.device)
        rows.append(backbone.features(preprocess(name, pixels)))
    found: npt.NDArray[np.float32] = np.concatenate(rows)
    return found


def _as_they_are(frames: torch.Tensor) -> torch.Tensor:
    """uint8, for an encoder with a processor of its own, and for vectors that need none."""
    return frames


def _pieces(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """`function` on float frames, a few at a time."""

    def by_pieces(frames: torch.Tensor) -> torch.Tensor:
        pieces = frames.split(AT_ONCE)  # type: ignore[no-untyped-call]
        return torch.cat([function(_floating(piece)) for piece in pieces])

    return by_pieces


def _floating(frames: torch.Tensor) -> torch.Tensor:
    """uint8 as float32, plane by plane; float frames keep their precision, in which tests compute."""
    kind = frames.dtype if frames.is_floating_point() else torch.float32
    return frames.to(kind, memory_format=torch.contiguous_format)  # in one step: two would hold them twice


# --- VBench's, which are torchvision's operations on tensors ---------------------------------------------------------


def _clip224(frames: torch.Tensor) -> torch.Tensor:
    """Shorter side to 224, bicubic without antialias, middle 224 x 224. Values beyond 0..255 stay."""
    return _normalised(_middle(_resized(frames, 224, "bicubic"), 224), CLIP)


def _clip224_uint8(frames: torch.Tensor) -> torch.Tensor:
    """As `_clip224` for a clip that is still 8-bit when it is resized: clamped and rounded after that."""
    small = _resized(frames, 224, "bicubic").clamp(0, 255).round()
    return _normalised(_middle(small, 224), CLIP)


def _dino224(frames: torch.Tensor) -> torch.Tensor:
    """Shorter side to 224, bilinear without antialias, nothing cut: 16:9 becomes 224 x 398."""
    return _normalised(_resized(frames, 224, "bilinear"), IMAGENET)


def _i2v_dino(frames: torch.Tensor) -> torch.Tensor:
    """Shorter side to 256, bicubic, middle 224 x 224. VBench-I2V leaves antialias to torchvision, where it is on from
    0.17 (2024): so it is on here."""
    return _normalised(_middle(_resized(frames, 256, "bicubic", antialias=True), 224), IMAGENET)


def _resized(frames: torch.Tensor, shorter: int, mode: str, antialias: bool = False) -> torch.Tensor:
    size = _size(frames, shorter)
    return F.interpolate(frames, size, mode=mode, align_corners=False, antialias=antialias)


def _size(frames: torch.Tensor, shorter: int) -> tuple[int, int]:
    """Height and width when the shorter side is brought to `shorter`; the longer one is rounded down."""
    height, width = frames.shape[-2:]
    if height <= width:
        return shorter, int(shorter * width / height)
    return int(shorter * height / width), shorter


def _middle(frames: torch.Tensor, side: int) -> torch.Tensor:
    """The square of `side` in the middle; half a pixel is rounded to the even one."""
    height, width = frames.shape[-2:]
    top, left = round((height - side) / 2), round((width - side) / 2)
    return frames[..., top : top + side, left : left + side]


def _normalised(frames: torch.Tensor, by: tuple[tuple[float, ...], tuple[float, ...]]) -> torch.Tensor:
    """RGB 0..255 as 0..1, minus mean, over standard deviation."""
    mean, deviation = _constants(by, frames.device, frames.dtype)
    return (frames / 255 - mean) / deviation


@lru_cache(maxsize=16)
def _constants(
    by: tuple[tuple[float, ...], tuple[float, ...]], device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Kept: to make them anew on a card waits for all that it has to do."""
    mean, deviation = (torch.tensor(each, device=device, dtype=dtype).view(3, 1, 1) for each in by)
    return mean, deviation


def _pad8(frames: torch.Tensor) -> torch.Tensor:
    """uint8 RGB with sides of multiples of 8: what lacks is repeated from the edges, the smaller half first.

    RAFT makes floats of one pair at a time: of a block in Full HD they would be 400 MB.
    """
    for axis in (-2, -1):
        length = frames.shape[axis]
        lack = -length % 8
        places = torch.arange(-(lack // 2), length + lack - lack // 2, device=frames.device).clamp(0, length - 1)
        frames = frames.index_select(axis, places) if lack else frames
    return frames.contiguous()


# --- Pillow's resampling of 8-bit pictures ----------------------------------------------------------------------------


def _clip224_pil(frames: torch.Tensor) -> torch.Tensor:
    """As `_clip224` with Pillow's bicubic resampling, which smooths what it makes smaller: CLIP's own preprocessing."""
    return _normalised(_floating(_middle(pillow_resized(frames, _size(frames, 224)), 224)), CLIP)


def _i2v_dino_pil(frames: torch.Tensor) -> torch.Tensor:
    """As `_i2v_dino` with Pillow's resampling, for the picture that a clip starts from."""
    return _normalised(_floating(_middle(pillow_resized(frames, _size(frames, 256)), 224)), IMAGENET)


def _lite224(frames: torch.Tensor) -> torch.Tensor:
    """224 x 224 from the whole frame, bicubic with antialias, -1..1."""
    return _normalised(_floating(smoothed(frames, (224, 224))), LITE)


def _transnetv2(frames: torch.Tensor) -> torch.Tensor:
    """48 x 27 pixels from the whole frame, uint8: bicubic with antialias, near to what ffmpeg's scaler gives."""
    return smoothed(frames, (27, 48)).contiguous()


def smoothed(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """uint8 frames brought to `size`, bicubic with antialias.

    By torch's integers on a CPU: one in 200 values is a level away from Pillow's (two at most), and a frame of
    832 x 480 costs 0.5 ms instead of 3.5. A card has no such kernel and computes what Pillow does.
    """
    if frames.device.type != "cpu":
        return pillow_resized(frames, size)
    return F.interpolate(frames, size, mode="bicubic", align_corners=False, antialias=True)


def pillow_resized(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """What `PIL.Image.resize` by `BICUBIC` makes of uint8 frames, value by value: by Pillow itself on a CPU."""
    if frames.device.type != "cpu":
        pieces = frames.split(AT_ONCE)  # type: ignore[no-untyped-call]
        return torch.cat([matrix_resized(piece, size) for piece in pieces])
    rows = [
        np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))
        for frame in frames.permute(0, 2, 3, 1).numpy()
    ]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)


def matrix_resized(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The same on any device, as two products with matrices.

    Pillow computes with integers, the width first; in float64 they are exact.
    """
    down, across = (
        _pillow_matrix(before, after).to(frames.device) for before, after in zip(frames.shape[-2:], size, strict=True)
    )
    wide = _shifted(frames.double() @ across.T)
    return _shifted(down @ wide).to(frames.dtype)


def _shifted(sums: torch.Tensor) -> torch.Tensor:
    return torch.floor((sums + 2 ** (PRECISION - 1)) / 2**PRECISION).clamp(0, 255)


@lru_cache(maxsize=16)
def _pillow_matrix(before: int, after: int) -> torch.Tensor:
    """Row by row the weights, times 2**22 and rounded, of the pixels that each new pixel is made of."""
    scale = before / after
    stretch = max(scale, 1.0)
    matrix = torch.zeros(after, before, dtype=torch.float64)
    for row in range(after):
        centre = (row + 0.5) * scale
        first = max(0, int(centre - 2 * stretch + 0.5))
        last = min(before, int(centre + 2 * stretch + 0.5))
        weights = [_cubic((place - centre + 0.5) / stretch) for place in range(first, last)]
        total = sum(weights)
        for place, value in zip(range(first, last), weights, strict=True):
            share = value / total * 2**PRECISION
            matrix[row, place] = int(share + 0.5) if share >= 0 else int(share - 0.5)
    return matrix


def _cubic(x: float) -> float:
    """The cubic convolution kernel with a = -0.5."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


# --- MUSIQ's pyramids -------------------------------------------------------------------------------------------------


def _musiq_vbench(frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The frame with its longer side at most 512 (bilinear), and that at 224 and 384 (bicubic): -1..1, small first."""
    height, width = frames.shape[-2:]
    scale = 512 / max(height, width)
    size = (int(scale * height), int(scale * width)) if scale < 1 else (height, width)
    whole = _pieces(lambda piece: F.interpolate(piece, size, mode="bilinear", align_corners=False))(frames)
    whole = (whole / 255 - 0.5) * 2
    smaller = [F.interpolate(whole, _longer(whole, side), mode="bicubic", align_corners=False) for side in PYRAMID]
    return *smaller, whole


def _musiq_google(frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The frame as it is, and at longer sides of 224 and 384 by TensorFlow's Gaussian resampling: -1..1, small to
    large."""
    whole = _floating(frames) / 255 * 2 - 1
    return *(gaussian_resized(whole, _longer(whole, side)) for side in PYRAMID), whole


def _longer(frames: torch.Tensor, side: int) -> tuple[int, int]:
    """Height and width when the longer side is brought to `side`; a panorama keeps at least one row."""
    height, width = frames.shape[-2:]
    ratio = side / max(height, width)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def gaussian_resized(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """What `tf.image.resize(method="gaussian")` makes of float frames: no antialias, deviation 0.5, reach 1.5."""
    down, across = (
        _gaussian_matrix(before, after).to(frames) for before, after in zip(frames.shape[-2:], size, strict=True)
    )
    return down @ (frames @ across.T)


@lru_cache(maxsize=16)
def _gaussian_matrix(before: int, after: int) -> torch.Tensor:
    matrix = torch.zeros(after, before, dtype=torch.float64)
    for row in range(after):
        centre = (row + 0.5) * before / after
        first = max(0, ceil(centre - 2.0))
        last = min(before - 1, int(centre + 1.0))
        weights = {place: exp(-2 * (place + 0.5 - centre) ** 2) for place in range(first, last + 1)}
        near = {place: value for place, value in weights.items() if abs(place + 0.5 - centre) < 1.5}
        for place, value in near.items():
            matrix[row, place] = value / sum(near.values())
    return matrix


PREPROCESSINGS: dict[str, Callable[[torch.Tensor], Any]] = {
    "as_is": _as_they_are,
    "dinov2": _as_they_are,
    "hf.clip": _as_they_are,
    "i2v.dino": _pieces(_i2v_dino),
    "i2v.dino.pil": _i2v_dino_pil,
    "lite224": _lite224,
    "musiq.google": _musiq_google,
    "musiq.vbench": _musiq_vbench,
    "pad8": _pad8,
    "transnetv2": _transnetv2,
    "vbench.clip224": _pieces(_clip224),
    "vbench.clip224.pil": _clip224_pil,
    "vbench.clip224.uint8": _pieces(_clip224_uint8),
    "vbench.dino224": _pieces(_dino224),
}
"""By name, as `quality.stream.Stream` gives it. `hf.clip` is what the encoder's own `preprocessor_config.json` says
(128 x 128 for the toy world's CLIP); with OpenAI's it is `vbench.clip224.pil`, but for half a pixel of the crop.
`dinov2` is the whole picture at that size, nothing cut."""
