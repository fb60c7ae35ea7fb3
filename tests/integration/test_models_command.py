"""`admint models list|pull|verify` on a library of its own."""

import pytest
from typer.testing import CliRunner

from configs.settings import load_model_specs
from models.adoption import SHA256
from models.conversion import KINDS
from models.errors import WeightsError
from models.hub import COMMIT
from models.weights import UNPINNED
from pipelines.errors import BadInput
from serving.cli.models import app


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments):
        result = CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A model of one's own, of a repository whose commits nobody pinned."""
    (tmp_path / "own" / "models").mkdir(parents=True)
    weights = "{main: {repository: me/mine, revision: unpinned}}"
    description = f"{{kind: chat, family: llava, licence: mine, vram_gb: 1, vision: false, weights: {weights}}}"
    (tmp_path / "own" / "models" / "mine.yaml").write_text(description)
    monkeypatch.setenv("ADMINT_CONFIGS", str(tmp_path / "own"))


def test_every_shipped_description_pins_full_commits_and_says_whether_paid_work_may_use_it():
    for spec in load_model_specs().values():
        assert "commercial" in spec.model_fields_set, spec.name
        for source in spec.parts().values():
            if source.repository.startswith("converted:"):  # authors who publish a bare file state no hash of it
                assert source.repository.removeprefix("converted:") in KINDS, spec.name
                assert source.revision == UNPINNED or SHA256.fullmatch(source.revision), spec.name
                continue
            embedded = source.repository.startswith("embedded:sketch/")
            assert embedded or COMMIT.fullmatch(source.revision), spec.name


def test_list_names_every_model_with_its_licence_and_whether_it_is_here(run):
    lines = run("list").stdout.splitlines()
    rows = {name: next(line for line in lines if f" {name} " in line) for name in load_model_specs()}
    assert "not here" in rows["stable-diffusion-xl"]
    assert "RAIL++-M" in rows["stable-diffusion-xl"]
    assert " yes " in rows["stable-diffusion-xl"]
    assert " no " in rows["flux.1-dev-ip-adapter"]
    assert "remote" in rows["qwen2.5-vl-7b"]


def test_verify_of_a_missing_model_exits_with_the_weights_code_and_one_line(run):
    result = run("verify", "stable-diffusion-xl")
    assert result.exit_code == 5
    (line,) = result.stderr.splitlines()
    assert "admint models pull stable-diffusion-xl" in line


def test_verify_finds_an_altered_file(run, tmp_path):
    assert run("verify", "sketch-chat").exit_code == 0
    altered = next((tmp_path / "models").rglob("llm/config.json"), None)
    if altered is None:
        pytest.skip("the trained weights are packaged; tests/unit/test_weights.py alters a packaged folder")
    altered.write_text(altered.read_text().replace("llava", "avall"))
    result = run("verify", "sketch-chat")
    assert result.exit_code == 5
    assert "'config.json'" in result.stderr
    assert "altered" in result.stderr


@pytest.mark.parametrize("arguments", [("verify",), ("verify", "sketch-chat", "--all")])
def test_verify_wants_one_name_or_all(run, arguments):
    with pytest.raises(BadInput, match=r"name one model, or give --all"):
        run(*arguments)


def test_an_unknown_model_is_answered_with_those_there_are(run):
    with pytest.raises(BadInput, match=r"no model 'nope': choose one of .*sketch-image"):
        run("pull", "nope")


def test_pull_of_an_unpinned_model_says_how_to_pin_it(run, own):
    with pytest.raises(WeightsError, match=r"--revision main=COMMIT"):
        run("pull", "mine")


def test_a_pin_for_a_part_that_is_pinned_already_is_refused(run):
    with pytest.raises(BadInput, match=r"does not name an unpinned part of 'animatediff-pia': none, all are pinned"):
        run("pull", "animatediff-pia", "--revision", f"main={'a' * 40}")


def test_a_bare_commit_pins_the_only_unpinned_part(run, own):
    with pytest.raises(WeightsError, match=r"revision 'main' of 'me/mine' is no full commit hash"):
        run("pull", "mine", "--revision", "main")


def test_pull_of_an_embedded_model_downloads_nothing(run):
    assert run("pull", "sketch-video").stdout.splitlines()[-1] in ("sketch-video: UNTRAINED", "sketch-video: here")
