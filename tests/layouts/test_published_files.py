"""What public copies say of the repositories of the shipped descriptions, against the classes of this version.

Each class is built on the meta device, without memory. The copies were seen in public repositories, which every record
names; what was not found is listed in docs/models.md.
"""

import json
import re
from pathlib import Path

import pytest

from configs.settings import CONFIGS, load_model_specs, load_published
from models.manifest import CONVERTED
from models.published import Component, PublishedFiles, compare, expand, shapes_of
from tests.layouts.published import publish

FOLDER = CONFIGS / "models" / "published"
RECORDS = {path.stem: PublishedFiles.model_validate_json(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))}
SPECS = load_model_specs()
REPOSITORIES = sorted(
    {
        source.repository
        for spec in SPECS.values()
        for source in spec.parts().values()
        if not source.repository.startswith(("embedded:", CONVERTED))
    }
)
DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"
SEEN = re.compile(r"[\w.-]+/[\w.-]+@([0-9a-f]{40}|v[\d.]+):\S+")
FLUX = RECORDS["black-forest-labs--FLUX.1-dev"].components["transformer"]


def row(repository):
    """The line of the table in docs/models.md for `repository`."""
    record = RECORDS.get(repository.replace("/", "--"))
    if record is None:
        return f"| `{repository}` | nothing | no copy |"
    seen = [f"{folder} ({component.facts or 'configuration'})" for folder, component in record.components.items()]
    return f"| `{repository}` | {'; '.join(seen)} | {', '.join(record.not_found)} |".replace(". (", "the model (")


@pytest.mark.parametrize("name", RECORDS)
def test_the_classes_of_this_version_agree_with_what_was_published(name):
    findings = [compare(folder, component) for folder, component in RECORDS[name].components.items()]
    assert [finding.text for finding in findings if finding.verdict == "problem"] == []
    known = [component for component in RECORDS[name].components.values() if component.facts]
    assert sum(finding.verdict == "fits" for finding in findings) == len(known)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_says_where_each_fact_was_seen_and_is_of_the_pinned_commit(name):
    record = RECORDS[name]
    assert name == record.repository.replace("/", "--")
    pins = {
        source.revision
        for spec in SPECS.values()
        for source in spec.parts().values()
        if source.repository == record.repository
    }
    assert pins == {record.revision}, f"{name}: look again whether the new commit publishes the same"
    for component in record.components.values():
        assert SEEN.fullmatch(component.config_seen)
        assert bool(component.facts) == (component.tensors_seen is not None)
        assert component.tensors_seen is None or SEEN.fullmatch(component.tensors_seen)


def test_the_table_of_the_documentation_is_that_of_the_records():
    lines = DOCUMENT.read_text().splitlines()
    missing = [row(repository) for repository in REPOSITORIES if row(repository) not in lines]
    assert not missing, "\n".join(["put these rows into the table of published files in docs/models.md:", *missing])
    table = [line for line in lines if re.match(r"\| `[\w.-]+/[\w.-]+` \|", line)]
    stale = sorted(set(table) - {row(repository) for repository in REPOSITORIES})
    assert not stale, "\n".join(["take these rows out of docs/models.md:", *stale])


@pytest.mark.parametrize(
    "name", [name for name, spec in SPECS.items() if spec.kind != "scorer" and "main" in load_published(spec)]
)
def test_the_tiny_layouts_have_the_classes_that_were_published(name, tmp_path):
    spec = SPECS[name]
    index = json.loads((publish(spec, tmp_path).folder_of(spec, "main") / "model_index.json").read_text())
    for folder, component in load_published(spec)["main"].components.items():
        assert ".".join(index[folder]) == component.kind


def test_what_does_not_agree_is_found():
    def verdict(**changes):
        finding = compare("x", FLUX.model_copy(update=changes))
        return finding.verdict, finding.text

    assert verdict()[0] == "fits"
    larger = "x: diffusers.FluxTransformer2DModel has 23802816640 bytes, and 23802816642 were published"
    assert verdict(total_size=23802816642) == ("problem", larger)
    assert verdict(names=FLUX.names[:-1])[1].startswith("x: 76 tensors of the class were not published")
    assert (
        verdict(names=(*FLUX.names, "another.weight"))[1] == "x: 1 published tensors have no place: ['another.weight']"
    )
    unknown = "x: diffusers.FluxTransformer2DModel knows no num_heads in its configuration"
    assert verdict(config=FLUX.config | {"num_heads": 2})[1] == unknown
    assert verdict(kind="diffusers.FluxTransformer9DModel")[1].startswith("x: this version has no class")


def test_tied_tensors_are_counted_once_as_they_are_stored():
    import transformers

    config = {
        "vocab_size": 8,
        "hidden_size": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 4,
    }
    tied = shapes_of(transformers.Qwen3ForCausalLM, {**config, "tie_word_embeddings": True})
    alone = shapes_of(transformers.Qwen3ForCausalLM, {**config, "tie_word_embeddings": False})
    assert alone.keys() - tied.keys() == {"lm_head.weight"}


def test_patterns_stand_for_every_name():
    assert list(expand(["a.{0-1}.{x,y}", "b"])) == ["a.0.x", "a.0.y", "a.1.x", "a.1.y", "b"]
    assert len(set(expand(FLUX.names))) == 1160


def test_of_a_component_of_which_no_tensor_was_seen_nothing_more_is_said():
    component = Component(kind="diffusers.AutoencoderKL", config={}, config_seen="me/copy@1:vae/config.json")
    assert compare("vae", component).verdict == "unknown"
