"""`make attack`: what strangers tried on a server, tried again on a real one over loopback, as a table.

Each case is bounded in count and time and cleans up what it opened. `test_attack.py` runs those that need no models
against the gateway of the tests. What cannot be seen from outside is named with the test that holds it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from websockets.sync.client import connect

from models.errors import ModelError
from serving.server.first_start import FIRST_FILE
from tests.support.gateway_users import bearer
from tests.support.program import Program
from tests.support.serve_command import start_server

PROMPT = "An ad for a teal steel water bottle"
HEALTH_SECONDS = 2.0
"""`/healthz` during a case, on a machine with other work. The bar of 0.2 s is measured by `test_request_bounds.py`."""


@dataclass(frozen=True)
class Target:
    """The server that is attacked, and what its operator knows of it."""

    url: str
    key: str
    home: Path
    """Everything that it stores."""
    program: Program
    password: str = ""
    """Of the user `admin`."""
    models: bool = True
    """Whether it has models: the tests' gateway has none that score or chat."""

    def client(self, key: str | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=bearer(key or self.key), timeout=60)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    what: str
    run: Callable[[Target], str] | None = None
    """Raises AssertionError when the server does not hold; returns what was seen."""
    needs_models: bool = False
    instead: str = ""
    """The test that holds what cannot be seen from outside."""


CASES: list[Case] = []


def case(name: str, what: str, needs_models: bool = False) -> Callable[[Callable[[Target], str]], None]:
    def add(run: Callable[[Target], str]) -> None:
        CASES.append(Case(name, what, run, needs_models))

    return add


def elsewhere(name: str, what: str, test: str) -> None:
    CASES.append(Case(name, what, instead=test))


@dataclass
class Health:
    """The longest time that `/healthz` took while a block ran."""

    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


@contextmanager
def watched(target: Target) -> Iterator[Health]:
    """Ask `/healthz` all the time; AssertionError when others had to wait."""
    health, stop = Health(), threading.Event()

    def run() -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                httpx.get(f"{target.url}/healthz", timeout=30).raise_for_status()
            except httpx.HTTPError as error:
                health.failures.append(repr(error))
            health.seconds = max(health.seconds, time.monotonic() - began)
            stop.wait(0.02)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield health
    finally:
        stop.set()
        thread.join(60)
    assert not health.failures, health.failures[:3]
    assert health.seconds <= HEALTH_SECONDS, f"/healthz took {health.seconds:.2f} s"


@case("S1", "bodies of many wrong values")
def _(target: Target) -> str:
    ints = ",".join(["1"] * 500_000)
    scene = '{"brief":{"prompt":"' + PROMPT + '"},"storyboard":{"scenes":[{"entities":[%s]}]}}'
    keys = "{" + ",".join(f'"k{number}":0' for number in range(3_000_000)) + "}"
    bodies = {
        "/api/v1/generations": scene % ints,
        "/v1/chat/completions": '{"model":"x","messages":[' + ",".join(["{}"] * 500_000) + "]}",
        "/v1/images/generations": keys,
    }
    longest = 0.0
    with target.client() as http, watched(target) as health:
        for path, body in bodies.items():
            began = time.monotonic()
            answer = http.post(path, content=body, headers={"Content-Type": "application/json"})
            longest = max(longest, time.monotonic() - began)
            assert answer.status_code in (413, 422), answer.text[:200]
            assert len(answer.text) < 6_000
    return f"refused in {longest:.2f} s at most, /healthz {health.seconds:.2f} s"


@case("S4", "a video that says one second and has thirty thousand frames", needs_models=True)
def _(target: Target) -> str:
    data = _hostile_video()
    with target.client() as http:
        began = time.monotonic()
        answer = http.post("/v1/scores", files={"file": ("a.mp4", data)}, data={"dimensions": "temporal_flickering"})
        seconds = time.monotonic() - began
    assert answer.status_code == 422, answer.text[:200]
    assert seconds < 30
    return f"{answer.json()['error']['message'][:70]} ({seconds:.1f} s)"


def _hostile_video() -> bytes:
    import io

    import av
    import numpy as np

    buffer = io.BytesIO()
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(buffer, "w", format="mp4", options=flags) as container:
        stream = container.add_stream("h264", rate=30_000)
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 48, 3), np.uint8), format="rgb24")
        for number in range(30_000):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@case("S5", "a JSON schema that takes minutes to compile", needs_models=True)
def _(target: Target) -> str:
    many = {"type": "object", "properties": {f"field{n}": {"type": "string"} for n in range(1500)}}
    lengths = {
        "type": "object",
        "properties": {f"field{n}": {"type": "string", "maxLength": 1000 + n} for n in range(40)},
    }
    deep: dict[str, object] = {"type": "integer"}
    for _ in range(50):
        deep = {"type": "array", "items": deep}
    with target.client() as http:
        model = next(each["id"] for each in http.get("/v1/models").json()["data"] if each.get("kind", "chat") == "chat")
        longest = 0.0
        for schema in (many, lengths, deep):
            wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
            body = {"model": model, "messages": [{"role": "user", "content": "x"}], "response_format": wanted}
            began = time.monotonic()
            answer = http.post("/v1/chat/completions", json=body)
            longest = max(longest, time.monotonic() - began)
            # a model that fills forms by rule compiles nothing: what it answers at once is no fault
            assert answer.status_code in (200, 422), answer.text[:200]
    assert longest < 20
    return f"answered in {longest:.2f} s at most"


@case("S7", "wrong logins of many names from one address", needs_models=True)
def _(target: Target) -> str:
    for number in range(25):
        _login(target, f"nobody-{number}", "wrong password")
    answer = _login(target, "admin", target.password)
    assert answer.status_code == 200, answer.text[:200]
    return "25 wrong names; admin's right password is taken"


@case("S8", "X-Forwarded-For from nobody's proxy", needs_models=True)
def _(target: Target) -> str:
    for number in range(30):
        _login(target, "admin", "wrong password", {"X-Forwarded-For": f"10.1.{number}.7"})
    with socket.create_connection(("127.0.0.1", target.port), 30, ("127.0.0.9", 0)) as line:
        body = ('{"username":"admin","password":"' + target.password + '"}').encode()
        head = f"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        line.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        said = line.recv(4096)
    assert b" 200 " in said.partition(b"\r\n")[0], said[:200]
    return "30 forged addresses; the right password from another address is taken"


def _login(target: Target, name: str, password: str, headers: dict[str, str] | None = None) -> httpx.Response:
    body = {"username": name, "password": password}
    return httpx.post(f"{target.url}/api/auth/login", json=body, headers=headers, timeout=60)


@case("S9", "1,500 half request heads")
def _(target: Target) -> str:
    lines: list[socket.socket] = []
    try:
        for number in range(1500):
            line = socket.create_connection(("127.0.0.1", target.port), 30, (f"127.0.0.{2 + number % 2}", 0))
            lines.append(line)
            line.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        with watched(target) as health:
            for _ in range(5):
                httpx.get(f"{target.url}/healthz", timeout=10).raise_for_status()
    finally:
        for line in lines:
            line.close()
    return f"others are answered in {health.seconds:.2f} s"


@case("S10", "orders with megabytes of text")
def _(target: Target) -> str:
    body = {"brief": {"prompt": PROMPT}, "storyboard": {"scenes": [{"entities": ["x" * 60_000] * 40}]}}
    with target.client() as http:
        answer = http.post("/api/v1/generations", json=body)
    assert answer.status_code in (413, 422), answer.text[:200]
    return f"{answer.status_code}"


@case("S11", "a single picture is deleted")
def _(target: Target) -> str:
    with target.client() as http:
        made = _picture(http, 11)
        deleted = http.delete(f"/v1/artifacts/{made}")
        assert deleted.status_code < 300, deleted.text[:200]
        assert http.get(f"/v1/artifacts/{made}").status_code == 404
    return "gone"


@case("S12", "a truncated file")
def _(target: Target) -> str:
    with target.client() as http:
        made = _picture(http, 12)
        file = next(target.home.rglob(f"*{made[4:]}*"), None) or next(target.home.rglob(f"*{made}*"))
        file.chmod(0o600)
        file.write_bytes(file.read_bytes()[:50])
        damaged = http.get(f"/v1/artifacts/{made}")
        assert damaged.status_code >= 400, "a damaged file was served"
        assert damaged.headers.get("x-should-retry") == "false"
        assert _picture(http, 12) == made
        assert http.get(f"/v1/artifacts/{made}").status_code == 200
    return f"{damaged.json()['error']['code']}, and healed by making it again"


def _picture(http: httpx.Client, seed: int) -> str:
    body = {"prompt": "a teal steel water bottle", "seed": seed, "num_inference_steps": 2, "response_format": "url"}
    answer = http.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text[:200]
    return str(answer.json()["data"][0]["artifact"])


@case("S14", "what listens beyond loopback", needs_models=True)
def _(target: Target) -> str:
    ours = _process_tree(target.program.pid)
    inodes = {inode for pid in ours for inode in _sockets(pid)}
    foreign = []
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == "0A" and fields[9] in inodes and address not in _LOOPBACK:
                foreign.append(f"{address}:{int(port, 16)}")
    assert not foreign, foreign
    return f"{len(inodes)} sockets of {len(ours)} processes, none listens elsewhere"


_LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def _process_tree(root: int) -> set[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    tree = {root}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return tree


def _sockets(pid: int) -> Iterator[str]:
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
            if found:
                yield found[1]
    except OSError:
        return


@case("S15", "forged log lines")
def _(target: Target) -> str:
    forged = "2026-01-01 ERROR serving admin logged in"
    httpx.get(f"{target.url}/x%0A{forged.replace(' ', '%20')}%1B[31m", timeout=30)
    httpx.get(f"{target.url}/healthz", timeout=30)
    said = target.program.said
    assert not any(line.startswith(forged) for line in said.splitlines())
    assert "\x1b[31m" not in said
    return "no line of its own"


@case("S16", "modes of what is stored")
def _(target: Target) -> str:
    open_to_others = [path for path in target.home.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert not target.models or not open_to_others, open_to_others[:5]
    return f"{len(open_to_others)} files or folders are open to others" if open_to_others else "all are their owner's"


@case("S17", "numbers of 5,000 digits in headers")
def _(target: Target) -> str:
    with target.client() as http:
        made, digits = _picture(http, 17), "9" * 5000
        session = http.post("/api/v1/interactive/start", json={"prompt": PROMPT}).json()["session_id"]
        sent = [
            http.get(f"/v1/artifacts/{made}", headers={"Range": f"bytes={digits}-"}),
            http.get(f"/v1/artifacts/{made}", headers={"Range": f"bytes=0-{digits}"}),
            http.get(f"/api/v1/generations/{session}/events", headers={"Last-Event-ID": digits}),
            http.get(f"/api/v1/generations/{session}/events?after={digits}"),
            http.get(f"/api/v1/generations?limit={digits}"),
            http.get("/api/v1/generations", headers={"Content-Length": "0", "X-Request-ID": digits}),
            http.post("/v1/videos", content=b'{"prompt": "x", "seed": ' + digits.encode() + b"}",
                      headers={"Content-Type": "application/json"}),
        ]  # fmt: skip
        http.delete(f"/api/v1/generations/{session}")
    codes = [answer.status_code for answer in sent]
    assert max(codes) < 500, codes
    return f"{codes}"


@case("S19", "redirects by the Host header, pages of foreign hosts, caching")
def _(target: Target) -> str:
    with target.client() as http:
        moved = http.get("/v1/models/", headers={"Host": "evil.example"})
        assert "evil.example" not in moved.headers.get("location", "")
        assert "no-store" in http.get("/api/v1/generations").headers.get("cache-control", "")
    page = httpx.get(f"{target.url}/docs", timeout=30).text
    assert not re.search(r"(?:src|href)=[\"']https?://", page)
    return "none"


@case("S20", "a flood of wrong logins beside somebody's writes", needs_models=True)
def _(target: Target) -> str:
    stop, times = threading.Event(), []
    flood = threading.Thread(target=lambda: _flood(target, stop), daemon=True)
    flood.start()
    with target.client() as http:
        for _ in range(10):
            began = time.monotonic()
            made = http.post("/api/v1/interactive/start", json={"prompt": PROMPT})
            times.append(time.monotonic() - began)
            if made.status_code == 201:
                http.delete(f"/api/v1/generations/{made.json()['session_id']}")
    stop.set()
    flood.join(60)
    assert statistics.median(times) < 2.0, times
    return f"a write takes {statistics.median(times):.2f} s in the middle"


def _flood(target: Target, stop: threading.Event) -> None:
    with ThreadPoolExecutor(4) as pool:
        while not stop.is_set():
            list(pool.map(lambda number: _login(target, f"flood-{number}", "wrong password"), range(4)))


@case("S21", "a retry after a delete")
def _(target: Target) -> str:
    key = {"Idempotency-Key": f"attack-{time.time_ns()}"}
    body = {"brief": {"prompt": PROMPT}}
    with target.client() as http:
        made = http.post("/api/v1/generations", json=body, headers=key).json()["id"]
        http.delete(f"/api/v1/generations/{made}").raise_for_status()
        again = http.post("/api/v1/generations", json=body, headers=key)
    assert again.status_code == 410, again.text[:200]
    return "410"


@case("S22", "secrets on standard output", needs_models=True)
def _(target: Target) -> str:
    said = target.program.said
    assert target.key not in said
    assert target.password not in said
    return "none"


@case("S25", "a WebSocket that talks without end")
def _(target: Target) -> str:
    with target.client() as http:
        session = http.post("/api/v1/interactive/start", json={"prompt": PROMPT}).json()["session_id"]
        refused = 0
        address = f"ws{target.url.removeprefix('http')}/ws/{session}"
        with connect(address, additional_headers=bearer(target.key), max_size=None) as line, watched(target) as health:
            for number in range(120):
                line.send(f"what is scene {number}? " + "x" * 1900)
            until = time.monotonic() + 30
            while refused < 20 and time.monotonic() < until:
                refused += '"queue_full"' in str(line.recv(timeout=30))
        stored = len(http.get(f"/api/v1/interactive/{session}").json()["conversation_history"])
        http.delete(f"/api/v1/generations/{session}")
    assert refused >= 20
    assert stored <= 2 * 60 + 5
    return f"{stored} lines are stored, /healthz {health.seconds:.2f} s"


@case("S6", "SIGTERM", needs_models=True)
def _(target: Target) -> str:
    began = time.monotonic()
    os.kill(target.program.pid, signal.SIGTERM)
    code = target.program.end()
    assert code == 0, code
    return f"ends in order after {time.monotonic() - began:.1f} s"


elsewhere("S2", "manifests without authentication", "tests/integration/test_deploy_command.py")
elsewhere("S3", "strangers' videos are decoded in the limited process", "tests/security/test_uploaded_videos.py")
elsewhere("S13", "clock steps", "tests/contract/test_generation_queue.py")
elsewhere("S18", "readiness of a dead replica", "tests/chaos/test_replicas.py")
elsewhere("S23", "hardening of images and manifests", "tests/integration/test_deploy_command.py")
elsewhere("S24", "one owner's queue", "tests/contract/test_generation_queue.py")
elsewhere("L1", "a start on a busy machine", "tests/e2e/test_server.py")


def attack(target: Target, names: frozenset[str] | None = None) -> dict[str, str | None]:
    """Run the cases that `target` can show, print the table; the reasons of those that it did not hold, else None."""
    results: dict[str, str | None] = {}
    for each in CASES:
        if each.run is None or (each.needs_models and not target.models) or (names and each.name not in names):
            continue
        try:
            seen, results[each.name] = each.run(target), None
        except (AssertionError, httpx.HTTPError, OSError, KeyError, ModelError) as error:
            seen = results[each.name] = f"{type(error).__name__}: {error}"[:300]
        verdict = "held" if results[each.name] is None else "FAULT"
        print(f"| {each.name:4}| {each.what:58} | {verdict:5} | {seen}", flush=True)
    return results


def main() -> int:
    """Start the embedded profile's server in a folder of its own, and attack it."""
    with tempfile.TemporaryDirectory(prefix="admint-attack-") as folder:
        home = Path(folder)
        server = start_server(home)
        told = re.search(r"password\s+(\S+)", (home / "server" / FIRST_FILE).read_text())
        print(f"| {'':4}| {'attack':58} | {'':5} | seen")
        target = Target(server.url, server.api_key, home, server.program, told[1] if told else "")
        try:
            results = attack(target, frozenset(sys.argv[1:]) or None)
        finally:
            server.program.kill()
        for each in CASES:
            if each.run is None:
                print(f"| {each.name:4}| {each.what:58} | test  | {each.instead}")
    return 1 if any(results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
