"""What is known of the files that the hub holds for the shipped descriptions, and a comparison with our classes.

One JSON file a repository (`configs/models/published/OWNER--NAME.json`): of each component the class, the part of its
configuration that shapes it, and what was seen of its tensors: their names, their number, the number of parameters or
the bytes of all. Each fact says in which public repository it was seen. So a description can be compared with the
classes of this version before anything is downloaded, and without a hub.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.interfaces import Plain
from models.spec import SpecBase

SHOWN = 3
"""Names of missing or wrong tensors in one finding."""
LIBRARIES = ("diffusers", "transformers")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, in a sentence."""

    verdict: Literal["fits", "problem", "unknown"]
    text: str


class Component(Plain):
    """One component of a repository: what its class, built from the published configuration, must agree with."""

    kind: str
    """Class, as `diffusers.UNet2DConditionModel`."""
    config: dict[str, Any]
    """The entries of its `config.json` that shape it."""
    config_seen: str
    """`OWNER/REPOSITORY@COMMIT:PATH` of the public copy, or of the script that made the files."""
    names: tuple[str, ...] = ()
    """Names of all tensors, as patterns: `{0-18}` stands for each number, `{bias,weight}` for each word."""
    tensors: int | None = None
    """How many tensors its files hold."""
    parameters: int | None = None
    """Values of all tensors."""
    total_size: int | None = None
    """`total_size` of its index: bytes of all tensors."""
    bytes_per_value: int | None = None
    """Of the precision on the hub's disk; beside `total_size` only."""
    tensors_seen: str | None = None
    """Where `names`, `tensors`, `parameters` or `total_size` were seen."""

    @property
    def facts(self) -> str:
        """What of its tensors can be compared, in words; empty: nothing of them was seen."""
        known = {
            "name of every tensor": self.names,
            "bytes": self.total_size,
            "number of tensors": self.tensors,
            "number of parameters": self.parameters,
        }
        return ", ".join(word for word, fact in known.items() if fact)


class PublishedFiles(Plain):
    """What was seen of one repository at one commit."""

    repository: str
    revision: str
    components: dict[str, Component]
    """By folder; `.` for a repository that is one component."""
    not_found: tuple[str, ...] = ()
    """Components of which no public copy was found, or none that says where it comes from."""


def check_published(spec: SpecBase, published: Mapping[str, PublishedFiles]) -> Iterator[Finding]:
    """Each component that `published` (by part) knows, compared with its class in this version; needs no network."""
    for part, files in published.items():
        source = spec.parts()[part]
        if files.revision != source.revision:
            yield Finding(
                "problem", f"{part}: the description pins {source.revision}, what was seen is {files.revision}"
            )
        for folder, component in files.components.items():
            yield compare(part if folder == "." else f"{part}/{folder}", component)


def compare(where: str, component: Component) -> Finding:
    """The tensors of a component's class, built on the meta device, and what was published of them."""
    found = class_of(component.kind)
    if found is None:
        return Finding("problem", f"{where}: this version has no class {component.kind!r}")
    if unknown := _unknown_entries(found, component.config):
        return Finding("problem", f"{where}: {component.kind} knows no {', '.join(unknown)} in its configuration")
    shapes = shapes_of(found, component.config)
    values = sum(_product(shape) for shape in shapes.values())
    for what, built, seen in (
        ("tensors", len(shapes), component.tensors),
        ("parameters", values, component.parameters),
        ("bytes", values * (component.bytes_per_value or 0), component.total_size),
    ):
        if seen is not None and built != seen:
            return Finding("problem", f"{where}: {component.kind} has {built} {what}, and {seen} were published")
    if component.names:
        names = set(expand(component.names))
        if missing := sorted(shapes.keys() - names):
            return Finding(
                "problem", f"{where}: {len(missing)} tensors of the class were not published: {missing[:SHOWN]}"
            )
        if spare := sorted(names - shapes.keys()):
            return Finding("problem", f"{where}: {len(spare)} published tensors have no place: {spare[:SHOWN]}")
    if not component.facts:
        return Finding(
            "unknown", f"{where}: {component.kind} takes the published configuration; no tensor of it was seen"
        )
    return Finding("fits", f"{where}: {component.kind} has the published {component.facts}")


def config_differences(component: Component, config: Mapping[str, Any]) -> list[str]:
    """Entries of a repository's own `config` that are not as in the published copy, in words."""
    return [
        f"{name} is {config[name]!r}, not {value!r}"
        for name, value in component.config.items()
        if name in config and config[name] != value
    ]


def class_of(kind: str) -> Any | None:
    """The class `LIBRARY.NAME`; None where this version has none."""
    import importlib

    library, _, name = kind.partition(".")
    return getattr(importlib.import_module(library), name, None) if library in LIBRARIES else None


def shapes_of(kind: Any, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor that a class stores, by name, built without memory; tied tensors once."""
    import torch

    with torch.device("meta"):
        model = kind.from_config(dict(config)) if hasattr(kind, "from_config") else kind(kind.config_class(**config))
    state = model.state_dict()
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    once = {name for name, _ in model.named_parameters()}
    return {name: tuple(tensor.shape) for name, tensor in state.items() if name in once or name not in every}


def expand(patterns: Iterable[str]) -> Iterator[str]:
    """Each name that the patterns stand for.

    >>> list(expand(["blocks.{0-1}.{bias,weight}"]))
    ['blocks.0.bias', 'blocks.0.weight', 'blocks.1.bias', 'blocks.1.weight']
    """
    for pattern in patterns:
        pieces = re.split(r"\{([^}]*)\}", pattern)
        choices = [_choices(piece) if place % 2 else [piece] for place, piece in enumerate(pieces)]
        yield from map("".join, itertools.product(*choices))


def _choices(words: str) -> list[str]:
    if (span := re.fullmatch(r"(\d+)-(\d+)", words)) is not None:
        return [str(number) for number in range(int(span[1]), int(span[2]) + 1)]
    return words.split(",")


def _unknown_entries(kind: Any, config: Mapping[str, Any]) -> list[str]:
    """Entries that a diffusers class would drop; transformers' configurations keep every one."""
    if not hasattr(kind, "extract_init_dict"):
        return []
    _, unused, _ = kind.extract_init_dict(dict(config))
    return sorted(unused)


def _product(shape: tuple[int, ...]) -> int:
    values = 1
    for length in shape:
        values *= length
    return values
