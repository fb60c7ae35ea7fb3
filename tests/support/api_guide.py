"""The commands of docs/api.md, run against a gateway; and the answers that they got, as examples for its document.

`python -m tests.support.api_guide` prints what `serving/gateway/openapi_examples.json` holds (`make examples`). The
agents are those of the sketch models, so that the texts are ads; pictures and clips are one colour.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from configs.settings import library_root, load_model
from models.spec import ChatModelSpec, ScorerModelSpec
from models.weights import Library
from serving.gateway.openapi import operation_id
from serving.profile_models import LibraryLoader
from tests.support.ad_server import SpeakingServer, SpeakingStudios
from tests.support.gateway_server import IMAGE, VIDEO, Studio
from tests.support.gateway_users import PASSWORD
from tests.support.program import run

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "docs" / "api.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
JSON_TYPE = "application/json"
LONGEST_TEXT, LONGEST_LIST = 240, 2
SECRETS = {
    "access_token": "eyJhbGciOiJIUzI1NiJ9…",
    "refresh_token": "vJ0nN3…",
    "ticket": "k3Jd9…",
    "key": "admint_4fQ…",
}
"""By field: no token of a server is written down, not even of one that lived for a minute."""


def run_guide(server, folder):
    """Run every command of the guide in `folder`, in its order; the finished process."""
    script = ["set -euo pipefail"]
    for number, (language, code) in enumerate(BLOCK.findall(GUIDE.read_text()), start=1):
        script.append(f"echo; echo 'block {number}:' >&2")
        script.append(code if language == "bash" else f"export SESSION\npython3 - <<'END'\n{code}END")
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder),
        "ADMINT": server.url, "ADMINT_KEY": server.key, "ADMINT_USERNAME": "admin", "ADMINT_PASSWORD": PASSWORD,
    }  # fmt: skip
    return run(["bash", "-c", "\n".join(script)], cwd=folder, env=variables)


class Recorder:
    """An application around the gateway's, which keeps the fullest JSON answer by operation and status."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.answers: dict[tuple[str, str], bytes] = {}

    async def __call__(self, scope, receive, send):
        started: dict[str, Any] = {}
        body = bytearray()

        async def noted(message):
            started.update(message if message["type"] == "http.response.start" else {})
            body.extend(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, noted)
        media_type = dict(started.get("headers", ())).get(b"content-type", b"").decode()
        if "route" in scope and media_type == JSON_TYPE and started["status"] < 300:
            name = (operation_id(scope["route"]), str(started["status"]))
            self.answers[name] = max(self.answers.get(name, b""), bytes(body), key=len)


class Authors(SpeakingStudios):
    """Engines whose chat model writes ads, and whose scorer measures."""

    def __init__(self, studio):
        super().__init__(studio)
        self._loader = LibraryLoader(Library(library_root()), "cpu")

    def chat(self, spec):
        return self._loader.chat(spec)

    def scorer(self, spec):
        return self._loader.scorer(spec)


def shortened(value: Any, field: str = "") -> Any:
    """An answer as an example shows it: long texts are cut, of lists there are the first, secrets are others."""
    if field in SECRETS and isinstance(value, str):
        return SECRETS[field]
    if isinstance(value, list):
        return [shortened(each) for each in value[:LONGEST_LIST]]
    if isinstance(value, dict):
        return {name: shortened(each, name) for name, each in value.items()}
    if isinstance(value, str) and "?signature=" in value:
        return f"{value.partition('?')[0]}?signature={SECRETS['access_token']}"
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{value[:LONGEST_TEXT]}…"
    return value


def recorded(folder: Path) -> dict[str, Any]:
    """Answers by operation, status and media type. Fails when a command of the guide does."""
    recorders: list[Recorder] = []

    def around(app):
        recorders.append(Recorder(app))
        return recorders[0]

    specs = (load_model("sketch-author", ChatModelSpec), IMAGE, VIDEO)
    scorer = load_model("sketch-clip", ScorerModelSpec)
    with SpeakingServer(
        folder / "server", Authors(Studio()), specs=specs, scorers={"clip": scorer}, around=around
    ) as server:
        server.call(server.backend.warm_up())
        ran = run_guide(server, folder)
        assert ran.returncode == 0, ran.stderr[-2000:]
    found: dict[str, Any] = {}
    for (name, status), body in sorted(each for each in recorders[0].answers.items() if each[1]):
        found.setdefault(name, {})[status] = {JSON_TYPE: shortened(json.loads(body))}
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        (Path(scratch) / "server").mkdir()
        answers = recorded(Path(scratch))
        packed = (
            (name, json.dumps(answer, ensure_ascii=False, separators=(",", ":"))) for name, answer in answers.items()
        )
        lines = (f"{json.dumps(name)}: {answer}" for name, answer in packed)
        print("{\n" + ",\n".join(lines) + "\n}")
