"""No module grows beyond what can be read in one sitting."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 400


def test_no_module_is_longer_than_400_lines():
    packages = ("benchmarks", "configs", "models", "pipelines", "quality", "serving", "tests")
    lengths = {path: len(path.read_text().splitlines()) for name in packages for path in (ROOT / name).rglob("*.py")}
    assert lengths, "no module was found"
    too_long = {str(path.relative_to(ROOT)): count for path, count in lengths.items() if count > LIMIT}
    assert not too_long
