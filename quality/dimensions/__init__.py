"""One file per dimension: the formula, its source, and a `measure(shot)` that `quality.registry` names."""
