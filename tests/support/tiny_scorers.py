"""Scorer backbones of tiny widths with random weights, in folders as `admint models convert` leaves them."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from models.conversion import WEIGHTS_FILE, Layout
from models.registry import load
from models.scorers import dover, musiq, raft, transnetv2
from models.spec import ScorerModelSpec
from models.weights import Library, write_manifest
from tests.support.published_weights import loaded, published


def raft_layout() -> Layout:
    return raft.layout(raft._AUTHORS, width=8)


def save(family: str, name: str, root: Path) -> Any:
    """A backbone of `family` with tiny random weights below `root`, by the registry."""
    network = {
        "raft": lambda: loaded(raft.Raft(8), raft_layout(), published(raft_layout())),
        "musiq": lambda: loaded(musiq.Musiq(64, 2), musiq.layout(64, 2), published(musiq.layout(64, 2))),
        "transnetv2": lambda: loaded(
            transnetv2.TransNetV2(2, 8), transnetv2.layout(2, 8), published(transnetv2.layout(2, 8))
        ),
        "dover": lambda: dover.Dover(32, (1, 1, 1, 1), (1, 1, 1, 1)),
    }[family]()
    source: Any = {"repository": f"converted:{name}", "revision": "0" * 64}
    spec = ScorerModelSpec.model_validate(
        {
            "name": f"tiny-{name}",
            "kind": "scorer",
            "family": family,
            "licence": "none",
            "vram_gb": 0,
            "fidelity": "published",
            "weights": {"main": source},
        }
    )
    library = Library(root)
    folder = library.folder_of(spec, "main")
    folder.mkdir(parents=True)
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, folder / WEIGHTS_FILE)
    write_manifest(folder, source["repository"], source["revision"])
    return load(spec, library.folders(spec), "cpu")
