"""Imports point one way: serving → pipelines → {models, quality}; only the entry layer reads configs or imports ray."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("benchmarks", "configs", "models", "pipelines", "quality", "serving", "tests")
MAY_IMPORT = {
    "models": {"models"},
    "quality": {"quality"},
    "pipelines": {"pipelines", "models", "quality"},
    "configs": {"configs", "pipelines", "models"},
    "serving": {"serving", "pipelines", "models", "quality", "configs"},
}
TRAINING = "models.sketch.training"
"""Not shipped: it may import the agents whose questions it learns, and nothing that is shipped may import it."""
RAY_ALLOWED = (Path("serving/deployments"), Path("serving/app.py"), Path("benchmarks"))


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def training() -> list[Path]:
    return sorted((ROOT / TRAINING.replace(".", "/")).rglob("*.py"))


def shipped(package: str) -> list[Path]:
    return sorted(set(modules(package)) - set(training()))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer; write the full name"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_imports_only_what_lies_below_it(package):
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in shipped(package)
        for name in imported(path)
        if name.split(".")[0] in OURS and name.split(".")[0] not in MAY_IMPORT[package]
    }
    assert not wrong


def test_nothing_that_is_shipped_imports_training():
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for package in MAY_IMPORT
        for path in shipped(package)
        for name in imported(path)
        if name.startswith(TRAINING)
    }
    assert not wrong


def test_training_imports_models_and_the_agents_whose_questions_it_learns():
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in training()
        for name in imported(path)
        if name.split(".")[0] in OURS and name.split(".")[0] not in {"models", "pipelines"}
    }
    assert training(), "no training module was found"
    assert not wrong


def test_ray_is_imported_only_by_deployments_and_benchmarks():
    wrong = [
        path
        for package in OURS
        for path in modules(package)
        if any(name.split(".")[0] == "ray" for name in imported(path))
        and not any(path.relative_to(ROOT).is_relative_to(allowed) for allowed in RAY_ALLOWED)
    ]
    assert not [path for path in wrong if "tests" not in path.parts]


def test_settings_are_read_by_entry_points_only():
    readers = {
        package
        for package in OURS
        for path in modules(package)
        if any(name.startswith("configs") for name in imported(path))
    }
    assert readers <= {"serving", "benchmarks", "tests", "configs"}
