"""State dicts in the layouts in which scorers are published, with random numbers of the right shapes."""

import torch

from models.conversion import KINDS, Layout, Piece
from models.conversion import layouts_of as known_layouts


def published(layout: Layout, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor that `layout` asks for, its repetitions and the counters that real files hold beside them."""
    generator = torch.Generator().manual_seed(seed)
    state = {piece.key: _random(piece, generator) for piece in layout.pieces.values()}
    state |= {alias: state[key] for alias, key in layout.aliases.items()}
    norms = [key.removesuffix("running_var") for key in state if key.endswith("running_var")]
    return state | {f"{norm}num_batches_tracked": torch.tensor(7) for norm in norms}


def _random(piece: Piece, generator: torch.Generator) -> torch.Tensor:
    if piece.key.endswith("running_var"):
        return torch.rand(piece.shape, generator=generator) + 0.5
    fan = max(1, torch.Size(piece.shape[1:]).numel()) if len(piece.shape) > 1 else 4
    made: torch.Tensor = torch.randn(piece.shape, generator=generator) / fan**0.5
    return made


def layouts_of(kind: str) -> dict[str, Layout]:
    """The layouts of a kind by name."""
    assert kind in KINDS
    return dict(known_layouts(kind))


def loaded(module: torch.nn.Module, layout: Layout, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """`module` with what `layout` finds in `state`."""
    taken = {
        name: state[piece.key] if piece.take is None else piece.take(state[piece.key])
        for name, piece in layout.pieces.items()
    }
    missing = module.load_state_dict(taken, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return module.eval()
