"""The whole training in one command: `python -m models.sketch.training.gpu_run --out FOLDER --minutes 6 [--tiny]`.

Workers begin to render before anything heavy is imported. It ends by the clock, and its files are whole at any time.
`--start FOLDER` takes what an earlier run left there. With `--refine autoencoder` its text encoder and towers stay as
they are, with `--refine image` its encoder too; `--refine observer` trains the observer and nothing else.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

BEGAN = time.monotonic()
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--device", default="")
    parser.add_argument("--start", type=Path)
    parser.add_argument("--refine", choices=("autoencoder", "image", "observer"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-graphs", action="store_true", help="plain steps on CUDA")
    parser.add_argument("--views", type=Path, help="a file that keeps the products' views, for a second run here")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal: few rows, small networks")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from models.sketch.training import farm as farms

    amounts = replace(farms.TINY if args.tiny else farms.Amounts(), seed=args.seed)
    farm = farms.Farm(amounts, args.workers, farms.TOKENIZER, args.views)
    try:
        _train(args, farm)
    finally:
        farm.stop()


def _train(args: argparse.Namespace, farm: object) -> None:
    import torch

    from models.sketch.training import conductor, networks

    cuda = torch.cuda.is_available() and args.device != "cpu"
    device = torch.device("cuda" if cuda else "cpu")
    if cuda:
        # No cudnn.benchmark: it would try out hundreds of shapes, seconds for each stage.
        torch.set_float32_matmul_precision("high")
    else:
        torch.set_num_threads(1)
    run = conductor.Conductor(
        farm,  # type: ignore[arg-type]
        args.out,
        device,
        networks.TINY if args.tiny else networks.FULL,
        conductor.TINY_PLAN if args.tiny else conductor.Plan(),
        BEGAN,
        BEGAN + 60 * args.minutes,
        args.start,
        args.refine,
        not args.no_graphs,
    )
    run.perform()


if __name__ == "__main__":
    main()
