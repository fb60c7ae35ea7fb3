"""Stock classes of transformers as scorer networks: loaded from a folder whose every tensor is accounted for.

`from_pretrained` draws what a folder lacks at random and says so in a log. A scorer's number would then be noise with a
name, so here a tensor that is missing, left over or of another shape is an error that names it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.diffusion.loading import LOCAL, loading
from models.errors import WeightsError
from models.spec import ScorerModelSpec

POSITION_TABLES = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
"""0, 1, 2 …: older files of the hub hold them, and networks of text and picture make them themselves."""


def stock(
    network: Any, spec: ScorerModelSpec, folder: Path, device: str, *, surplus: Collection[str] = (), **options: Any
) -> Any:
    """The class `network` of transformers with the weights of `folder`, on `device`, ready for inference.

    Tensors whose names begin as one of `surplus` may lie there unused. Raises WeightsError.
    """
    with loading(spec) as dtype:
        model, found = network.from_pretrained(folder, dtype=dtype, output_loading_info=True, **options, **LOCAL)
    faults = [f"{name!r} is missing" for name in sorted(found["missing_keys"])]
    faults += [f"{name!r} is not known" for name in _unknown(found["unexpected_keys"], surplus)]
    faults += [f"{_named(entry)!r} has another shape" for entry in found["mismatched_keys"]]
    if faults:
        more = f", and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise WeightsError(
            f"the weights of model {spec.name!r} in {str(folder)!r} are not those of {network.__name__}:"
            f" {'; '.join(faults[:5])}{more}"
        )
    return model.to(device).eval()


def processed(processor: Any, frames: torch.Tensor) -> torch.Tensor:
    """What the model's own `processor` makes of uint8 frames (frames, 3, height, width): float32, on the CPU.

    It resizes and cuts by Pillow; its numbers are computed here, because by its own arrays they cost 1.3 ms a frame.
    """
    images = list(frames.cpu().numpy())
    options = {"input_data_format": "channels_first", "return_tensors": "pt"}
    made = processor(images=images, do_rescale=False, do_normalize=False, **options)["pixel_values"].float()
    if processor.do_rescale:
        made *= processor.rescale_factor
    if processor.do_normalize:
        made -= torch.tensor(processor.image_mean).view(-1, 1, 1)
        made /= torch.tensor(processor.image_std).view(-1, 1, 1)
    found: torch.Tensor = made
    return found


def unit(rows: torch.Tensor) -> npt.NDArray[np.float32]:
    """The rows at length 1, in float32, on the CPU."""
    found: npt.NDArray[np.float32] = torch.nn.functional.normalize(rows.float(), dim=-1).cpu().numpy()
    return found


def _unknown(names: Collection[str], surplus: Collection[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith(tuple(surplus)))


def _named(entry: Any) -> str:
    """The tensor's name; its shapes come beside it."""
    return str(entry[0] if isinstance(entry, (tuple, list)) else entry)


def picked(folders: Mapping[str, Path], part: str) -> Path:
    """The folder of `part`, or `main` where the description keeps both in one."""
    return folders.get(part, folders["main"])
