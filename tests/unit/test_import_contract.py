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
SERVING_MAY_IMPORT = {
    "errors": set(),
    "logs": set(),
    "tracing": set(),
    "console": set(),
    "reference_files": set(),
    "profile_models": set(),
    "scores": {"profile_models", "reference_files"},
    "model_names": set(),
    "backends": {"errors", "profile_models"},
    "gateway": {"errors", "backends", "model_names", "tracing"},
    "server": {"errors", "profile_models", "scores", "backends", "gateway"},
    "lab": {"profile_models", "scores", "backends"},
    "deployments": {
        "errors", "logs", "tracing", "profile_models", "scores", "backends", "gateway", "server", "lab",
    },
    "app": {"deployments"},
    "run_folder": {"backends"},
    "local_run": {"backends", "console", "reference_files", "run_folder"},
    "ad_flags": {"reference_files", "run_folder"},
    "client": {"ad_flags", "console", "errors", "gateway", "model_names", "reference_files", "run_folder"},
    "cli": {
        "ad_flags", "app", "backends", "client", "console", "deployments", "errors", "gateway", "lab",
        "local_run", "logs", "model_names", "profile_models", "reference_files", "scores", "server", "tracing",
    },
    "__main__": {"cli"},
}  # fmt: skip
"""The folders and modules of `serving`, from the lowest layer up: each imports only from lines above its own."""
API_MAY_IMPORT = {
    "openai": set(),
    "generations": set(),
    "original": {"generations"},
    "master_mode": {"generations"},
    "interactive": {"generations"},
}
"""The folders of the gateway that hold one API each: an old one leaves with its folder and a line in `app.py`."""
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


def test_the_layers_of_serving_are_in_order():
    layers = list(SERVING_MAY_IMPORT)
    for place, (name, below) in enumerate(SERVING_MAY_IMPORT.items()):
        assert below <= set(layers[:place]), f"{name} imports a layer that is listed after it"


def test_a_layer_of_serving_imports_only_layers_below_it():
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("serving")
        for name, part in parts_of("serving", path)
        if part != layer(path, "serving") and part not in SERVING_MAY_IMPORT[layer(path, "serving")]
    }
    assert not wrong


def test_apis_of_the_gateway_do_not_import_each_other_and_nothing_below_imports_them():
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("serving/gateway")
        if path.name != "app.py"
        for name, part in parts_of("serving.gateway", path)
        if part in API_MAY_IMPORT
        and part != layer(path, "serving.gateway")
        and part not in API_MAY_IMPORT.get(layer(path, "serving.gateway"), set())
    }
    assert not wrong


def test_no_two_parts_of_the_gateway_import_each_other():
    arrows = {
        (layer(path, "serving.gateway"), part)
        for path in modules("serving/gateway")
        for _, part in parts_of("serving.gateway", path)
        if part != layer(path, "serving.gateway")
    }
    assert not {arrow for arrow in arrows if arrow[::-1] in arrows}


def layer(path: Path, package: str) -> str:
    """The folder or module of `package` that a file belongs to."""
    return path.relative_to(ROOT / package.replace(".", "/")).with_suffix("").parts[0]


def parts_of(package: str, path: Path) -> list[tuple[str, str]]:
    """What a file imports of `package`, and which of its folders or modules that belongs to."""
    names = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    inside = [name for name in names if name.startswith(f"{package}.")]
    return [(name, name.removeprefix(f"{package}.").split(".")[0]) for name in inside]


def test_a_client_imports_the_gateways_answers_and_nothing_else_of_it():
    """So it runs where no server is installed."""
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("serving/client")
        for name, part in parts_of("serving", path)
        if part == "gateway" and ".answers." not in name
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
