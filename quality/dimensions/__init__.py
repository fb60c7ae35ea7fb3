"""One file per dimension: the formula, its source, and an accumulator (`quality.stream.Accumulator`) that
`quality.registry` names."""
