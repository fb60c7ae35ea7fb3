"""docs/architecture.md shows the tree as it is: every path that it names exists, and its map leaves no folder out."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("benchmarks", "configs", "docs", "models", "pipelines", "quality", "serving", "tests")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
MAP = next(block for block in FENCE.findall(PAGE) if re.search(r"^configs/", block, re.MULTILINE))


def paths() -> list[str]:
    """The texts in backticks that are paths from the root of the repository: files, folders and dotted modules."""
    prose = FENCE.sub("", PAGE)
    words = {word for word in re.findall(r"`([^`]+)`", prose) if re.fullmatch(r"[\w.][\w./-]*", word)}
    files = {
        word
        for word in words
        if word.endswith((".py", ".md", "/")) or word.startswith(tuple(f"{p}/" for p in PACKAGES))
    }
    modules = {word for word in words if word not in files and word.startswith(tuple(f"{p}." for p in PACKAGES))}
    return sorted(files | {f"{module.replace('.', '/')}.py" for module in modules})


def mapped() -> dict[str, list[str]]:
    """By top folder of the map: the folders (`name/`) and modules (`name`) that are listed below it."""
    tree: dict[str, list[str]] = {}
    for line in MAP.splitlines()[1:-1]:
        names = re.split(r" {3,}", line.strip())[0].split()
        if line.startswith(" "):
            tree[list(tree)[-1]] += names
        else:
            tree[names[0]] = []
    return tree


@pytest.mark.parametrize("path", paths())
def test_a_path_that_is_named_exists(path):
    assert (ROOT / path).exists()


def test_the_page_names_paths():
    assert len(paths()) > 15


def test_what_the_map_shows_exists():
    shown = [(top, name) for top, names in mapped().items() for name in names]
    wrong = [
        top + name for top, name in shown if not (ROOT / top / (name if name[-1] == "/" else f"{name}.py")).exists()
    ]
    assert not wrong
    assert {"models/", "pipelines/", "serving/"} <= set(mapped())


@pytest.mark.parametrize("top", [top for top, names in mapped().items() if names])
def test_the_map_leaves_no_folder_out(top):
    folders = {f"{path.parent.name}/" for path in (ROOT / top).glob("*/*.py")}
    assert folders <= set(mapped()[top])
