"""From finished stages to what ships: `python -m models.sketch.train.release image ip_adapter …`.

Tensors are stored as float16 (loaders read them as float32) and each folder gets its manifest, which is what makes
weights count. Knows nothing of what the stages reached: whoever calls it has measured.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from models.sketch.train.paths import EXPORTS, WEIGHTS
from models.weights import EMBEDDED, write_manifest

VERSION = "0.1.0"


def halve(path: Path) -> None:
    """Rewrite a safetensors file with float16 in place of float32."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
        metadata = file.metadata()
    small = {k: (v.half() if v.dtype == torch.float32 else v).contiguous() for k, v in tensors.items()}
    path.unlink()
    save_file(small, path, metadata)


def release(name: str) -> int:
    """Copy one exported model into the project, replacing what was there; returns its size in bytes."""
    folder = WEIGHTS / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(EXPORTS / name, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix == ".safetensors":
            halve(path)
        path.chmod(0o644)
    write_manifest(folder, f"{EMBEDDED}{name}", VERSION)
    return sum(path.stat().st_size for path in files)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.sketch.train.release")
    parser.add_argument("names", nargs="+")
    for name in parser.parse_args().names:
        print(name, f"{release(name) / 2**20:.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
