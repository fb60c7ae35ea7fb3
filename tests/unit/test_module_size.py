"""A module is as large as one concept, and a folder as large as one listing that can be read."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("benchmarks", "configs", "models", "pipelines", "quality", "serving")
LONGEST = 600
SHORTEST = 60
WIDEST = 20
REGISTRIES = ("quality/dimensions", "pipelines/stages", "pipelines/agents", "models/sketch/training")
"""Folders with one file per entry: there a small file is an entry, not a fragment. So is a module of routes."""


def modules(*packages: str) -> dict[Path, int]:
    """Lines of every module, by its path in the repository."""
    found = {path.relative_to(ROOT): path for name in packages for path in (ROOT / name).rglob("*.py")}
    found |= {path.relative_to(ROOT): path for path in ROOT.glob("*.py")}
    assert found, "no module was found"
    return {path: len(full.read_text().splitlines()) for path, full in found.items()}


def importers() -> Counter[str]:
    """How many modules outside of tests import each module; a program that is run counts as one more."""
    count: Counter[str] = Counter()
    for path in modules(*PACKAGES):
        text = (ROOT / path).read_text()
        named: set[str] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                named |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                named.add(node.value.split(":")[0])
        count.update(named)
        if "__main__" in text:
            count[str(path.with_suffix("")).replace("/", ".")] += 2
    return count


def test_no_module_is_longer_than_one_concept():
    too_long = {str(path): lines for path, lines in modules(*PACKAGES, "tests").items() if lines > LONGEST}
    assert not too_long


def test_a_short_module_has_two_importers_or_is_an_entry_of_a_registry():
    count = importers()
    lonely = {
        str(path): lines
        for path, lines in modules(*PACKAGES).items()
        if lines < SHORTEST
        and not path.name.startswith("__")
        and not str(path).startswith((*REGISTRIES, "pipelines/store/migrations"))
        and "= APIRouter(" not in (ROOT / path).read_text()
        and count[str(path.with_suffix("")).replace("/", ".")] < 2
    }
    assert not lonely


def test_no_folder_is_wider_than_a_listing():
    shown = (path for path in modules(*PACKAGES) if path.name != "__init__.py" and "migrations" not in path.parts)
    wide = {str(folder): count for folder, count in Counter(path.parent for path in shown).items() if count > WIDEST}
    assert not wide
