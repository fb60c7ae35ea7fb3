from importlib.metadata import distribution

import pytest

from configs.settings import load_model, load_profile
from models.spec import ChatModelSpec, ImageModelSpec, SpecBase
from models.weights import Library
from pipelines.errors import BadInput
from serving.profile_models import check_chat_address, commercial_note, fingerprint, model_set


def test_a_fingerprint_changes_with_any_setting_of_the_model(tmp_path):
    library, spec = Library(tmp_path), load_model("sketch-image", ImageModelSpec)
    other = spec.model_copy(update={"scheduler": {"class": "DPMSolverMultistepScheduler"}})
    assert fingerprint(spec, library) == fingerprint(spec, Library(tmp_path))
    assert fingerprint(spec, library) != fingerprint(other, library)


def test_a_licence_changes_no_fingerprint(tmp_path):
    spec = load_model("sketch-image", ImageModelSpec)
    other = spec.model_copy(update={"licence": "another", "commercial": "no"})
    assert fingerprint(spec, Library(tmp_path)) == fingerprint(other, Library(tmp_path))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_refuses_a_chat_model_at_its_own_address(host):
    chat = ChatModelSpec(
        name="far", kind="chat", family="openai", licence="x", vram_gb=0, vision=False, remote_model="far",
        base_url=f"http://{host}:8000/v1",
    )  # fmt: skip
    check_chat_address(chat, "::1", 8001)
    with pytest.raises(BadInput, match=r"'far' is at .*:8000/v1, .* where this server itself listens: .*CHAT_URL"):
        check_chat_address(chat, "::1", 8000)


def test_models_that_paid_work_may_not_use_say_so():
    def note(**changes):
        return commercial_note(SpecBase(name="m", family="f", licence="Some Licence", vram_gb=0, **changes))

    assert note(commercial="yes") is None
    assert "'m' is not for commercial use (Some Licence)" in note()
    below = note(commercial="below-revenue", commercial_condition="free under 10 million dollars a year")
    assert below.endswith("has a condition (Some Licence): free under 10 million dollars a year")
    with pytest.raises(ValueError, match="do not fit"):
        note(commercial="below-revenue")


def test_a_scorer_that_is_not_here_stops_no_generation_and_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    profile = load_profile("sketch").model_copy(update={"scorers": load_profile("gpu-80gb").scorers})
    monkeypatch.setattr("models.conversion.distribution", lambda name: distribution(f"{name}-that-nobody-has"))
    found = model_set(profile)
    (note,) = [note for note in found.notes if note.startswith("Not on this machine")]
    assert "'dinov2-base', 'dino-vitb16'" in note and "`admint score --list --profile sketch`" in note
    assert "'xfeat'" not in note
    assert {kind for kind in found.fingerprints if kind.startswith("scorer")} == {"scorer", "scorer:ocr"}


def test_a_scorer_of_a_package_that_is_not_installed_is_left_out_without_a_note(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    monkeypatch.setattr("models.conversion.distribution", lambda name: distribution(f"{name}-that-nobody-has"))
    monkeypatch.setattr("models.weights.find_spec", lambda package: None)
    found = model_set(load_profile("sketch"))
    assert {kind for kind in found.fingerprints if kind.startswith("scorer")} == {"scorer", "scorer:dinov2_base"}
    assert not [note for note in found.notes if note.startswith("Not on this machine")]
