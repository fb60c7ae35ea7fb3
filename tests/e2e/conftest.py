"""One finished ad, made once by the real command and looked at by many tests."""

import pytest

from tests.support.command import PROMPT, REPOSITORY, admint, result

REFERENCES = REPOSITORY / "examples" / "water-bottle" / "references"


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Folder and JSON result of a 9 s master ad with three references."""
    folder = tmp_path_factory.mktemp("ad") / "out"
    flags = ("--prompt", PROMPT, "--duration", "9", "--seed", "3", "--full-pipeline", "--json")
    made = admint("pipeline", *flags, "--reference-images", REFERENCES, "--output", folder)
    return folder, result(made)
