"""Files of the packaged weights that are stored once and made at first use, from `assembly.json` beside a manifest.

The image and the video model share autoencoder and text encoder, CLIP's vision tower is also the IP-Adapter's and the
chat model's, and the chat model's language part alone is what vLLM serves. A packaged folder stores only what no other
folder has; its manifest lists the complete model, and whatever is assembled is checked against it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from models.interfaces import Plain

ASSEMBLY = "assembly.json"


class FileCopy(Plain):
    """A file that another packaged folder stores."""

    kind: Literal["copy"] = "copy"
    source: str
    """Path below the folder of all packaged weights, such as `image/vae/config.json`."""


class TensorSelection(Plain):
    """The tensors of one safetensors file whose names begin with `prefix`, under other names."""

    source: str
    prefix: str = ""
    """Only tensors whose name begins so."""
    becomes: str = ""
    """What takes the prefix's place."""


class TensorFile(Plain):
    """A safetensors file made of tensors that other files store."""

    kind: Literal["tensors"] = "tensors"
    parts: tuple[TensorSelection, ...]


AssembledFile = Annotated[FileCopy | TensorFile, Field(discriminator="kind")]
Assembly = TypeAdapter(dict[str, AssembledFile])
"""What each file that is not stored is made of, by its path below the model's folder."""


def assemble(stored: Path, listed: tuple[str, ...], folder: Path) -> None:
    """Write the complete model of the packaged folder `stored` into `folder`, which must not hold its files yet.

    `listed` are the files of its manifest. Raises OSError when a file cannot be read or written, KeyError when one is
    neither stored nor described.
    """
    recipes = Assembly.validate_json((stored / ASSEMBLY).read_bytes())
    for name in listed:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (stored / name).exists():
            shutil.copyfile(stored / name, target)
            continue
        match recipes[name]:
            case FileCopy(source=source):
                shutil.copyfile(stored.parent / source, target)
            case TensorFile(parts=parts):
                _write_tensors(stored.parent, parts, target)


def _write_tensors(packaged: Path, parts: tuple[TensorSelection, ...], target: Path) -> None:
    from safetensors import safe_open  # with torch, only where a file has to be made
    from safetensors.torch import save_file

    tensors = {}
    for part in parts:
        with safe_open(packaged / part.source, "pt") as file:
            for name in file.keys():  # noqa: SIM118, not a dict
                if name.startswith(part.prefix):
                    tensors[part.becomes + name.removeprefix(part.prefix)] = file.get_tensor(name)
    save_file(tensors, target, {"format": "pt"})
