"""`import admint`, as a program or a notebook uses it: one ad made through it, and everything around it."""

import asyncio
import subprocess
import sys
import textwrap
from typing import Any

import av
import pytest

import admint
from tests.support.command import PROMPT, REPOSITORY, environment

QUICK: dict[str, Any] = {"profile": "sketch", "recipe": "express", "duration": 9, "scenes": 2, "seed": 5}
REFERENCE = REPOSITORY / "examples" / "water-bottle" / "references" / "product-1.png"
HEAVY = ("torch", "diffusers", "transformers", "ray", "fastapi", "pydantic", "sqlalchemy", "numpy")
OURS = ("configs", "models", "pipelines", "quality", "serving")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An ad of two scenes with one reference, started inside a running event loop as in a notebook, and its events."""

    async def cell():
        generation = admint.generate(
            PROMPT, [f"product={REFERENCE}"], output=tmp_path_factory.mktemp("api") / "ad", **QUICK
        )
        return list(generation), generation.result  # blocks this loop, as a notebook's cell does

    return asyncio.run(cell())


@pytest.fixture
def foreign(tmp_path):
    """A folder with a package of someone else's that has the name of one of ours."""
    package = tmp_path / "project" / "models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    return package


def python(code, cwd, path=()):
    """Run `code` in a process of its own, where `path` is first on the Python path."""
    variables = environment() | {"PYTHONPATH": ":".join(map(str, (*path, REPOSITORY)))}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)


def test_an_ad_is_made_inside_a_running_event_loop_and_its_files_are_there(made):
    _, ad = made
    for path in (ad.video, ad.thumbnail, ad.report, ad.run):
        assert path.parent == ad.folder and path.stat().st_size > 0
    assert (ad.seed, ad.seconds) == (5, 9.0)
    assert any("sketch models" in note for note in ad.notes)
    assert ad.approval_status in ("approved", "needs_revision")
    assert any(warning.startswith("sketch models: ") for warning in ad.warnings)
    assert all(text in ad.notes or text.startswith("sketch models: ") for text in ad.warnings)
    with av.open(str(ad.video)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 9 * 24


def test_events_come_once_in_order_from_the_start_to_the_end(made):
    events, _ = made
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = [event.kind for event in events]
    assert (kinds[0], kinds[-1]) == ("generation_started", "generation_completed")
    stages = [event.step for event in events if event.kind == "stage_started"]
    assert stages == ["story", "scenes", "storyboard", "video", "stitch", "quality"]
    assert {event.scene_number for event in events if event.kind == "step_completed"} >= {1, 2}


def test_the_ads_own_scores_have_a_value_or_a_reason(made):
    _, ad = made
    assert {score.scene_number for score in ad.scores} == {None, 1, 2}
    assert all((score.value is None) != (score.reason is None) for score in ad.scores)


def test_a_video_is_scored_with_values_or_reasons(made):
    _, ad = made
    asked = ("temporal_flickering", "text_alignment", "subject_consistency")
    scores = admint.score(ad.video, PROMPT, profile="sketch", dimensions=asked)
    assert all((score.value is None) != (score.reason is None) for score in scores)
    values = {score.metric: score.value for score in scores if score.value is not None}
    assert 0.5 < values["vbench.temporal_flickering"] <= 1.0
    assert values.keys() == {"vbench.temporal_flickering", "toy.text_alignment"}
    (without,) = admint.score(ad.video, dimensions=["text_alignment"])
    assert "prompt" in (without.reason or "")


def test_what_cannot_be_scored_is_refused_with_the_reason(made, tmp_path):
    _, ad = made
    with pytest.raises(admint.BadInput, match=r"'beauty' is unknown: choose from .*temporal_flickering"):
        admint.score(ad.video, dimensions=["beauty"])
    with pytest.raises(admint.BadInput, match="cannot read video"):
        admint.score(tmp_path / "none.mp4")
    with pytest.raises(admint.BadInput, match="not an MP4 file"):
        admint.score(ad.report)


def test_a_folder_that_holds_an_ad_takes_no_second_one(made):
    _, ad = made
    with pytest.raises(admint.BadInput, match="belongs to another run"):
        admint.generate(PROMPT, output=ad.folder, **QUICK)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"recipe": "none"}, "no recipe 'none': choose one of .*express"),
        ({"profile": "none"}, "no profile 'none': choose one of .*sketch"),
        ({"duration": 3}, "9 to 60"),
        ({"seed": -1}, "seed"),
        ({"coherence": {"blend": 2}}, "blend"),
        ({"references": "none.png"}, "'none.png' does not exist"),
        ({"recipe": "clip"}, "recipe"),
    ],
)
def test_a_wrong_argument_is_refused_at_once_and_nothing_is_made(tmp_path, wrong, said):
    with pytest.raises(admint.BadInput, match=said):
        admint.generate(PROMPT, output=tmp_path / "ad", **{**QUICK, **wrong})
    assert not (tmp_path / "ad").exists()


def test_a_cancelled_ad_stops_and_says_how_to_go_on(tmp_path):
    generation = admint.generate(PROMPT, output=tmp_path / "ad", **QUICK)
    told = []
    for event in generation:
        told.append((event.kind, event.step))
        if told[-1] == ("stage_started", "storyboard"):
            generation.cancel()
            generation.cancel()
    assert told[-1] == ("generation_interrupted", None), told
    assert generation.done
    with pytest.raises(admint.Cancelled, match=r"admint pipeline --resume .*ad"):
        _ = generation.result
    assert not (tmp_path / "ad" / "final.mp4").exists()


def test_an_ad_is_cancelled_when_its_block_is_left_or_before_it_has_begun(tmp_path):
    with pytest.raises(ZeroDivisionError), admint.generate(PROMPT, output=tmp_path / "one", **QUICK) as left:
        raise ZeroDivisionError
    assert left.done
    with pytest.raises(admint.Cancelled):
        _ = left.result


def test_a_failure_reaches_whoever_iterates_and_whoever_waits(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path / "empty"))
    generation = admint.generate(PROMPT, output=tmp_path / "ad", **{**QUICK, "profile": "gpu-24gb"})
    with pytest.raises(admint.Failed, match="admint models pull"):
        list(generation)
    assert list(generation) == []
    with pytest.raises(admint.Failed, match="admint models pull"):
        _ = generation.result


def test_profiles_and_models_are_listed():
    profiles = {profile.name: profile for profile in admint.profiles()}
    assert profiles["sketch"].image == "sketch-image" and profiles["sketch"].device == "cpu"
    models = {model.name: model for model in admint.models()}
    assert models["sketch-image"].weights == "here"
    assert {model.kind for model in models.values()} == {"chat", "image", "video", "scorer"}
    for profile in profiles.values():
        assert {profile.chat, profile.image, profile.video} <= models.keys()


def test_everything_public_is_named_and_described():
    for name in admint.__all__:
        assert hasattr(admint, name)
        assert name == "__version__" or getattr(admint, name).__doc__


def test_importing_it_imports_nothing_heavy_and_nothing_else_of_ours(tmp_path):
    code = f"""
        import sys, admint
        print([name for name in {(*HEAVY, *OURS)} if name in sys.modules])
    """
    ran = python(code, tmp_path)
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")


def test_a_foreign_package_found_first_is_named_with_the_remedy(foreign, tmp_path):
    code = """
        import admint
        try:
            admint.profiles()
        except admint.ShadowedPackage as error:
            print(error)
    """
    ran = python(code, tmp_path, path=[foreign.parent])
    assert f"'{foreign}' is found before AdMint's own package 'models': rename it" in ran.stdout, ran.stderr
    in_its_folder = python(code, foreign.parent)
    assert f"'{foreign}' is found before" in in_its_folder.stdout, in_its_folder.stderr


def test_a_foreign_module_that_was_imported_before_is_named_too(foreign, tmp_path):
    (foreign.parent / "quality.py").write_text("")
    code = f"""
        import sys
        sys.path.insert(0, {str(foreign.parent)!r})
        import quality
        sys.path.pop(0)
        import admint
        admint.score("none.mp4")
    """
    ran = python(code, tmp_path)
    assert ran.returncode == 1
    assert f"ShadowedPackage: '{foreign.parent / 'quality.py'}' is found before" in ran.stderr


def test_a_foreign_folder_without_code_shadows_nothing(tmp_path):
    (tmp_path / "configs").mkdir()
    ran = python("import admint; print(len(admint.profiles()) > 1)", tmp_path, path=[tmp_path])
    assert ran.stdout.strip() == "True", ran.stderr
