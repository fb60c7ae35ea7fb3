from configs.settings import load_model
from models.spec import ImageModelSpec
from models.weights import Library
from serving.profile_models import fingerprint


def test_a_fingerprint_changes_with_any_setting_of_the_model(tmp_path):
    library, spec = Library(tmp_path), load_model("sketch-image", ImageModelSpec)
    other = spec.model_copy(update={"scheduler": {"class": "DPMSolverMultistepScheduler"}})
    assert fingerprint(spec, library) == fingerprint(spec, Library(tmp_path))
    assert fingerprint(spec, library) != fingerprint(other, library)
