"""A real browser: the docs page without another host, and pages of other origins that show files and follow events."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.support.ad_server import BRIEF, SpeakingServer, until
from tests.support.gateway_server import Web
from tests.support.gateway_users import PASSWORD, logged_in, new_user
from tests.support.program import free_port
from tests.support.waiting import ended

LOG_IN = """async ([server, username, password]) => {
  const answer = await fetch(`${server}/api/auth/login`, {
    method: "POST", credentials: "include", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({username, password, session: "cookie"}),
  });
  return answer.status;
}"""
SHOW_PICTURE = """async ([src, crossorigin]) => {
  const picture = new Image();
  if (crossorigin) picture.crossOrigin = crossorigin;
  picture.src = src;
  try { await picture.decode(); } catch { return 0; }
  return picture.naturalWidth;
}"""
PLAY_AND_SEEK = """async (src) => {
  const video = document.createElement("video");
  video.muted = true;
  video.src = src;
  document.body.append(video);
  const event = (name) => new Promise((done, failed) => {
    video.addEventListener(name, done, {once: true});
    video.addEventListener("error", () => failed(new Error(video.error?.message ?? "no video")), {once: true});
  });
  await event("loadeddata");
  const seeked = event("seeked");
  video.currentTime = video.duration - 0.5;
  await seeked;
  const playing = event("timeupdate");
  await video.play();
  await playing;
  return [video.duration, video.currentTime];
}"""
FOLLOW = """([address, kinds]) => {
  window.seen = [];
  window.opened = 0;
  window.stream = new EventSource(address, {withCredentials: true});
  window.stream.addEventListener("open", () => { window.opened += 1; });
  for (const kind of kinds)
    window.stream.addEventListener(kind, (event) => { window.seen.push([Number(event.lastEventId), kind]); });
}"""
KINDS = (
    "generation_started", "generation_completed", "stage_started", "stage_completed", "step_started", "step_progress",
    "step_completed", "step_reused", "notice", "approval_needed", "stage_approved",
)  # fmt: skip


class Page(BaseHTTPRequestHandler):
    """Any page of another server."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><link rel=icon href='data:,'><title>A studio</title><body></body>")

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def pages():
    """The port of a server of pages. `127.0.0.1` is one site with the gateway, `localhost` another one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    ended(thread, "the end of the server of pages")
    server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("server")


@pytest.fixture
def start(folder, pages):
    """Starts the gateway, always at one address, for pages of one other origin."""
    port = free_port()
    return lambda: SpeakingServer(folder, port=port, web=Web(origins=(f"http://127.0.0.1:{pages}",)))


@pytest.fixture
def page(chromium):
    context = chromium.new_context(bypass_csp=False)
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


def anna_of(server):
    if "anna" not in {user.username for user in server.call(server.services.auth.accounts.users())}:
        server.call(new_user(server.services.auth, "anna"))


def finished_ad(server):
    """An ad of Anna's: its detail, and a keyframe of it."""
    with logged_in(server, "anna") as anna:
        made = anna.post("/api/v1/generations", json={"recipe": "express", "brief": BRIEF}).json()
        row = until(anna, made["id"], "completed")
        takes = anna.get(f"/api/v1/generations/{row['id']}/takes").json()["items"]
        picture = next(take["artifact"] for take in takes if take["kind"] == "keyframe")
        final = anna.get(f"/api/v1/generations/{row['id']}/record").json()["final"]["artifact"]
        signed = [anna.get(f"/v1/artifacts/{each}/address").json()["url"] for each in (picture, final)]
    return row, f"/v1/artifacts/{picture}", signed


def test_the_docs_show_the_api_ask_no_other_host_and_break_no_policy(start, page):
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(urlsplit(request.url)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with start() as server:
        page.goto(f"{server.url}/docs")
        page.wait_for_selector(".opblock")
        page.locator(".opblock-summary").first.click()
        page.wait_for_selector(".opblock-body")
        host = urlsplit(server.url).netloc
    assert {address.netloc for address in asked if address.scheme != "data"} == {host}
    assert not complaints


def test_a_page_of_another_site_shows_a_signed_picture_and_seeks_in_a_signed_video(start, pages, page):
    parts = []
    page.on("response", lambda answer: parts.append(answer.status) if "/v1/artifacts/" in answer.url else None)
    with start() as server:
        anna_of(server)
        _, picture, signed = finished_ad(server)
        page.goto(f"http://localhost:{pages}/")
        assert page.evaluate(SHOW_PICTURE, [signed[0], None]) > 0
        assert page.evaluate(SHOW_PICTURE, [f"{server.url}{picture}", None]) == 0  # without a signature
        duration, time = page.evaluate(PLAY_AND_SEEK, signed[1])
        assert duration == pytest.approx(9.0, abs=0.1)
        assert time > 8.0
        page.goto(signed[1])  # the address itself, as somebody opens it who was sent it
        assert page.evaluate("() => document.querySelector('video').readyState > 0 || "
                             "new Promise((done) => document.querySelector('video')"
                             ".addEventListener('loadedmetadata', () => done(true)))")  # fmt: skip
    assert 206 in parts


def test_a_page_of_an_unnamed_origin_reads_nothing(start, pages, page):
    with start() as server:
        anna_of(server)
        page.goto(f"http://localhost:{pages}/")
        read = "(address) => fetch(address).then(() => true, () => false)"
        assert not page.evaluate(read, f"{server.url}/healthz")
        page.goto(f"http://127.0.0.1:{pages}/")
        assert page.evaluate(read, f"{server.url}/healthz")


def test_a_page_of_a_named_origin_logs_in_shows_files_and_follows_through_a_restart(start, pages, page):
    with start() as server:
        anna_of(server)
        _, picture, _ = finished_ad(server)
        page.goto(f"http://127.0.0.1:{pages}/")
        assert page.evaluate(LOG_IN, [server.url, "anna", PASSWORD]) == 200
        assert page.evaluate("() => document.cookie") == ""
        assert page.evaluate(SHOW_PICTURE, [f"{server.url}{picture}", "use-credentials"]) > 0
        with logged_in(server, "anna") as anna:
            asked = {"recipe": "express", "brief": {**BRIEF, "seed": 2}, "approvals": ["story"]}
            made = anna.post("/api/v1/generations", json=asked).json()
        page.evaluate(FOLLOW, [f"{server.url}/api/v1/generations/{made['id']}/events", KINDS])
        page.wait_for_function("() => window.seen.some(([, kind]) => kind === 'approval_needed')")
    with start() as server:
        page.wait_for_function("() => window.opened > 1")  # by itself, with the cookie and the last event's id
        with logged_in(server, "anna") as anna:
            anna.post(f"/api/v1/generations/{made['id']}/approve", json={"stage": "story"})
        page.wait_for_function("() => window.seen.some(([, kind]) => kind === 'generation_completed')")
        seen = page.evaluate("() => window.seen.map(([seq]) => seq)")
        assert seen == list(range(1, len(seen) + 1))
        page.wait_for_function("() => window.stream.readyState === EventSource.CLOSED")  # told not to come back


def test_the_report_of_a_server_opens_by_its_address_and_a_click_on_a_curve_goes_to_that_frame(start, page):
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with start() as server:
        anna_of(server)
        row, _, _ = finished_ad(server)
        page.goto(f"{server.url}/docs")
        assert page.evaluate(LOG_IN, [server.url, "anna", PASSWORD]) == 200
        page.goto(f"{server.url}/api/v1/generations/{row['id']}/report")
        page.wait_for_function("() => document.querySelector('video').readyState > 0")
        curve = page.locator("svg[data-from]").last
        begin, end = (float(curve.get_attribute(name) or "nan") for name in ("data-from", "data-to"))
        box = curve.bounding_box()
        assert box is not None
        curve.click(position={"x": box["width"] * 0.75, "y": box["height"] / 2})
        time = page.evaluate("() => document.querySelector('video').currentTime")
        assert time == pytest.approx(begin + 0.75 * (end - begin), abs=0.1) and time > 0
        moments = page.locator("button[data-at]")
        for moment in moments.all():
            moment.click()
            time = page.evaluate("() => document.querySelector('video').currentTime")
            assert time == pytest.approx(float(moment.get_attribute("data-at") or "nan"), abs=0.001)
    assert not complaints
