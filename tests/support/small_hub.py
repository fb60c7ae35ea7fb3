"""A small local server that speaks the hub's API for one repository, reached through HF_ENDPOINT."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waiting import ended

COMMIT = "c0ffee" + "0" * 34
REPOSITORY = "owner/big"


class Hub(ThreadingHTTPServer):
    """One repository at one commit; what it does wrong is set by the test."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            "config.json": b'{"model_type": "llama"}',
            "text/model.safetensors": bytes(range(256)) * 4096,
            "README.md": b"# not asked for",
        }
        self.break_after: int | None = None
        self.breaks: int | None = None
        """How often to break off; None: always."""
        self.declared: dict[str, str] = {}
        self.commit = COMMIT
        self.licence: str | None = "apache-2.0"
        self.gated: bool | str = False
        self.refused: str | None = None
        """A file that is answered with 403."""
        self.ranges: list[str] = []
        self.gets: list[str] = []

    def cut(self) -> int | None:
        """Where the answer that is about to be sent breaks off; None: nowhere."""
        if self.breaks == 0:
            return None
        if self.breaks is not None:
            self.breaks -= 1
        return self.break_after

    def description(self) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, data in self.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
            if name.endswith(".safetensors"):
                sha = self.declared.get(name, hashlib.sha256(data).hexdigest())
                entry["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        card = {} if self.licence is None else {"cardData": {"license": self.licence}}
        return {
            **card,
            "gated": self.gated,
            "_id": "1",
            "id": REPOSITORY,
            "modelId": REPOSITORY,
            "sha": self.commit,
            "siblings": siblings,
        }


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in (f"/api/models/{REPOSITORY}/revision/{name}" for name in (COMMIT, "main")):
            return self.send(200, json.dumps(self.server.description()).encode(), {"Content-Type": "application/json"})
        file = re.fullmatch(f"/{REPOSITORY}/resolve/{COMMIT}/(.*)", path)
        if file is None or file[1] not in self.server.files:
            return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        return self.send_file(file[1])

    def send_file(self, name: str) -> None:
        self.server.gets.append(name)
        if name == self.server.refused:
            return self.send(403, b"{}", {})
        data = self.server.files[name]
        asked = self.headers.get("Range")
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), int(last or len(data) - 1) + 1
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if asked:
            self.server.ranges.append(asked)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self.send(206 if asked else 200, data[start:end], headers, cut=self.server.cut())

    def send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = True


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def small_hub() -> Iterator[Hub]:
    """A running hub; it ends with the context."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    ended(thread, "the end of the small server")
    server.server_close()
