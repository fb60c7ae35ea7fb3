"""A gateway whose agents answer at once, so that whole ads are made over HTTP: the shipped code from socket to file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from models.interfaces import ChatResult
from tests.support import waiting
from tests.support.gateway_server import Studio, Studios, serve
from tests.support.scripted_desk import from_schema

PROMPT = "an ad for a steel water bottle"
BRIEF = {"prompt": PROMPT, "duration": 9, "num_scenes": 2, "seed": 1}
ENDED = ("completed", "failed", "cancelled")


class Speaker:
    """A language model that draws valid JSON from the schema, by the request's seed."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def complete(self, request, watcher):
        self._studio.requests.append(request)
        answer = from_schema(request.json_schema, random.Random(request.seed))  # noqa: S311
        return ChatResult(text=json.dumps(answer), prompt_tokens=1, completion_tokens=1, seconds=0.0)

    def stream(self, request, watcher, write):
        answer = self.complete(request, watcher)
        write(answer.text)
        return answer


class SpeakingStudios(Studios):
    def chat(self, spec):
        return Speaker(self._studio)


class SpeakingServer:
    """`with` it: a gateway as `serve` gives it, with a `Speaker`."""

    def __init__(self, folder: Path, loader: SpeakingStudios | None = None, **options: Any) -> None:
        self._loader = loader or SpeakingStudios(Studio())
        self._serving = serve(folder, loader=self._loader, **options)

    def __enter__(self):
        server = self._serving.__enter__()
        self._loader._studio = server.studio
        return server

    def __exit__(self, *failure):
        return self._serving.__exit__(*failure)


def until(client, generation_id, *statuses):
    """Poll until the generation is in one of `statuses`; its detail then."""
    row: dict[str, Any] = {}

    def reached():
        row.update(client.get(f"/api/v1/generations/{generation_id}").json())
        assert row["status"] in statuses or row["status"] not in ENDED, row["error_message"]
        return row["status"] in statuses

    waiting.until(reached, lambda: f"a generation to be {' or '.join(statuses)}: {row}")
    return row


def frames(response):
    """The frames of an event stream, each as a dict of its fields; comments are left out."""
    frame: dict[str, str] = {}
    for line in response.iter_lines():
        if not line:
            if frame:
                yield frame
            frame = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            frame[name] = value
