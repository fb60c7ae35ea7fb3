"""One finished ad, made once by the real command and looked at by many tests."""

import os
import shutil

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


@pytest.fixture(scope="module")
def chromium():
    path = shutil.which("chromium")
    if path is None:
        assert not os.environ.get("CI"), "chromium is missing: make packages"
        pytest.skip("chromium is missing: make packages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
