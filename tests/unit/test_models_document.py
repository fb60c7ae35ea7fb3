"""The tables of docs/models.md say what the descriptions say: a family that is added or changed cannot be left out.

A message names the row and the cell that is wrong, and what it must hold.
"""

import re
from pathlib import Path

import pytest

from configs.settings import load_model, load_model_specs
from models.spec import ImageModelSpec

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"
SPECS = {
    name: spec
    for name, spec in load_model_specs().items()
    if not any(source.repository.startswith("embedded:") for source in spec.weights.values())
}
TABLES = {"image": "Pictures", "video": "Clips", "chat": "Chat", "scorer": "Scorers"}
FRAMES = {"required": "needed", "optional": "may", "unused": "none"}
PAID = {"yes": "yes", "no": "**no**", "below-revenue": "below", "territory": "outside"}


def tables():
    """Rows by the heading of their section, then by description, as cells by column."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    heading = ""
    columns: list[str] = []
    for line in DOCUMENT.read_text().splitlines():
        if not line.startswith("|"):
            heading, columns = line[3:] if line.startswith("## ") else heading, []
        elif not set(line) <= set("|- "):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not columns:
                columns = cells
            elif columns[0] == "description":
                assert len(cells) == len(columns), f"docs/models.md: this row has not the cells {columns}: {line}"
                row = dict(zip(columns, cells, strict=True))
                found.setdefault(heading, {})[row["description"].split("`")[1]] = row
    return found


def wrong_cells(spec, row):
    """What is wrong with `row`, each with what must stand there."""
    expected = {"paid work": (PAID[spec.commercial], row["paid work"].startswith(PAID[spec.commercial]))}
    if spec.kind in ("image", "video"):
        references = str(spec.references) if spec.references else "none"
        expected["references"] = (references, row["references"].startswith(references))
        memory = f"{spec.vram_gb:g} GB"
        expected["memory at work"] = (memory, memory in row["memory at work"])
        measured = list(spec.seconds_per_step.values())
        said = [float(number) for number in re.findall(r"([\d.]+) s\b", row["a step"])]
        alike = said == pytest.approx(measured, rel=0.01) if measured else row["a step"] == "not measured"
        expected["a step"] = (f"the seconds {measured}" if measured else "not measured", alike)
    if spec.kind == "video":
        frames = FRAMES[spec.first_frame]
        frames += "" if frames == "none" else f" / {'may' if spec.last_frame else 'no'}"
        expected["first / last frame"] = (frames, row["first / last frame"] == frames)
    empty = {column: "something" for column, cell in row.items() if not cell}
    return {column: must for column, (must, right) in expected.items() if not right} | empty


@pytest.mark.parametrize("name", SPECS)
def test_a_description_has_its_row_and_the_row_says_what_the_description_says(name):
    heading = TABLES[SPECS[name].kind]
    row = tables()[heading].get(name)
    assert row is not None, f"docs/models.md: the table {heading!r} lacks a row for `{name}`"
    for column, must in wrong_cells(SPECS[name], row).items():
        pytest.fail(f"docs/models.md, {heading}, `{name}`, {column!r} is {row[column]!r}, and must hold {must!r}")


def test_no_row_describes_what_is_not_shipped():
    named = {name for heading in TABLES.values() for name in tables()[heading]}
    assert named == set(SPECS)


def test_a_wrong_cell_is_found():
    row = tables()["Clips"]["wan2.1-vace-14b"]
    assert wrong_cells(SPECS["wan2.1-vace-14b"], row) == {}
    changed = {**row, "references": "2", "memory at work": "9 GB", "a step": "1.0 s", "first / last frame": ""}
    assert set(wrong_cells(SPECS["wan2.1-vace-14b"], changed)) == {
        "references", "memory at work", "a step", "first / last frame",
    }  # fmt: skip
    measured = tables()["Pictures"]["stable-diffusion-xl"]
    assert wrong_cells(SPECS["stable-diffusion-xl"], {**measured, "a step": "0.07 s, H200"}) == {
        "a step": "the seconds [0.0587]"
    }


def test_the_document_says_that_no_large_model_was_run_with_its_real_weights():
    assert "None of the large models has been run with its real weights" in DOCUMENT.read_text()


def test_a_description_that_is_placed_otherwise_does_not_inherit_a_measured_step():
    assert load_model("stable-diffusion-xl", ImageModelSpec).seconds_per_step
    assert not load_model("stable-diffusion-xl-offload", ImageModelSpec).seconds_per_step
