"""docs/operations.md: the files that it shows are what systemd and Docker read, and say what the page says."""

import configparser
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()


def block(language, first):
    """The text of the fenced block of a language whose first line is `first`."""
    (found,) = [
        text for text in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) if first in text
    ]
    return found


def test_systemd_ends_the_main_process_alone_and_gives_it_a_minute():
    unit = configparser.ConfigParser(strict=False, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(block("ini", "# /etc/systemd/system/admint.service"))
    service = unit["Service"]
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) >= 60
    assert service["UMask"] == "0077"


def test_compose_gives_it_a_minute_and_no_rights_that_it_does_not_use():
    (service,) = yaml.safe_load(block("yaml", "# compose.yaml"))["services"].values()
    assert service["stop_grace_period"] == "60s"
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_every_option_and_variable_that_the_page_names_exists():
    from configs.settings import Settings

    known = {f"ADMINT_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bADMINT_[A-Z_]+\b", PAGE)) <= known
