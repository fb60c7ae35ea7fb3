"""A client of interactive sessions: starts them, waits until they need their owner, and takes them to a stage."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.ad_server import PROMPT
from tests.support.waiting import until

BASE = "/api/v1/interactive"


class Client:
    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def start(self, **fields):
        answer = self.http.post(f"{BASE}/start", json={"prompt": PROMPT, "target_duration": 9, "seed": 0, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def get(self, session_id, path=""):
        answer = self.http.get(f"{BASE}/{session_id}{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, session_id, path, key=None, **body):
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.http.post(f"{BASE}/{session_id}{path}", json=body, headers=headers)

    def wait(self, session_id):
        """Poll until the session waits for its owner or has ended; the session then."""
        status: dict[str, Any] = {}

        def stands():
            status.update(self.get(session_id, "/status"))
            return status["awaiting_approval"] or status["status"] in ("complete", "error")

        # Seldom: a poll costs the one core that the worker needs.
        until(stands, lambda: f"a session to wait for its owner or to end: {status}", pause=0.1)
        assert status["status"] != "error", status["error"]
        return self.get(session_id)

    def reach(self, stage):
        """A new session that waits with `stage`."""
        session_id = self.start()["session_id"]
        while self.wait(session_id)["status"] != stage:
            answer = self.post(session_id, "/approve", stage=self.get(session_id)["status"])
            assert answer.status_code == 200, answer.text
        return session_id
