"""One trace from the request to the clip: through the gateway, the row, the worker and the call of a replica."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipelines.runtime.traces import span
from serving.deployments.calls import Call, call_stream
from serving.tracing import start_tracing
from tests.support.ad_server import BRIEF, SpeakingServer, until
from tests.support.gateway_server import IMAGE, VIDEO
from tests.support.program import Program

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = 0x0AF7651916CD43DD8448EB211C80319C


@pytest.fixture(scope="module")
def exporter():
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()  # spans of later tests go nowhere


@pytest.fixture(scope="module")
def server(exporter, tmp_path_factory):
    with SpeakingServer(tmp_path_factory.mktemp("traced")) as server:
        yield server


def tree(spans):
    """Each span with the names of those that it is part of, innermost first."""
    by_id = {each.context.span_id: each for each in spans}

    def above(each):
        parent = by_id.get(each.parent.span_id) if each.parent else None
        return () if parent is None else (parent.name, *above(parent))

    return {(each.name, *above(each)) for each in spans}


def of_trace(exporter, number=TRACE):
    return [each for each in exporter.get_finished_spans() if each.context.trace_id == number]


@pytest.mark.parametrize("path", ["/api/v1/generations", "/v1/videos"])
def test_one_trace_leads_from_the_request_to_the_clip(server, exporter, path):
    exporter.clear()
    clip = {"model": VIDEO.name, "prompt": "a bottle", "size": "64x64"}
    body = clip if path == "/v1/videos" else {"recipe": "express", "brief": BRIEF}
    made = server.http.post(path, json=body, headers={"traceparent": CALLER}).json()["id"]
    until(server.http, made, "completed")
    found = tree(of_trace(exporter))
    recipe = "clip" if path == "/v1/videos" else "express"
    way = (f"generation {recipe}", f"POST {path}")
    assert way in found
    assert ("video", "step video/scene-001", "stage video", *way) in found
    if recipe == "express":
        assert ("chat", "step story/director-1", "stage story", *way) in found
        assert any(names[0] == "image" and names[2:] == ("stage storyboard", *way) for names in found)
    (request,) = [each for each in of_trace(exporter) if each.name == f"POST {path}"]
    assert request.parent.span_id == 0xB7AD6B7169203331
    assert request.attributes["http.response.status_code"] < 300
    said = " ".join(f"{each.name} {dict(each.attributes)}" for each in of_trace(exporter))
    assert "bottle" not in said


def test_requests_without_a_parent_and_with_a_broken_one_begin_traces_of_their_own(server, exporter):
    exporter.clear()
    for parent in (None, "", "00-abc", "x" * 500, CALLER.replace("0af7", "zzzz")):
        headers = {} if parent is None else {"traceparent": parent}
        assert server.http.get("/v1/models", headers=headers).status_code == 200
    spans = [each for each in exporter.get_finished_spans() if each.name == "GET /v1/models"]
    assert len({each.context.trace_id for each in spans}) == 5
    assert not any(each.parent for each in spans)


def test_a_failed_request_and_an_unknown_address_say_so_and_no_raw_address(server, exporter):
    exporter.clear()
    server.http.get("/v1/videos/secret-id-of-mine")
    server.http.get("/nothing/here")
    names = {(each.name, each.attributes["http.response.status_code"]) for each in exporter.get_finished_spans()}
    assert names == {("GET /v1/videos/{video_id}", 404), ("GET unmatched", 404)}


async def test_a_replica_continues_the_trace_of_its_caller(exporter):
    exporter.clear()

    async def work(watcher):
        return "made"

    _ = [item async for item in call_stream(work, Call(watched=False, traceparent=CALLER))]
    (replica,) = of_trace(exporter)
    assert (replica.name, replica.parent.span_id) == ("replica", 0xB7AD6B7169203331)


def test_without_a_collector_nothing_is_traced(server, exporter):
    start_tracing("Gateway", None)
    with span("step"):
        assert IMAGE.name
    assert trace.get_tracer_provider().__class__ is TracerProvider


BODIES: list[bytes] = []


class Collector(BaseHTTPRequestHandler):
    """Keeps what is exported to it."""

    def do_POST(self):
        BODIES.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        return


EXPORTING = """
import sys
from opentelemetry import trace
from pipelines.runtime.traces import span
from serving.tracing import start_tracing

start_tracing("Worker", sys.argv[1])
with span("step video/scene-001", model="filmer"):
    pass
trace.get_tracer_provider().shutdown()
"""


def test_a_collector_gets_the_spans_of_a_process():
    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever, daemon=True)
        thread.start()
        program = Program([sys.executable, "-c", EXPORTING, f"http://127.0.0.1:{collector.server_port}/"])
        assert program.end() == 0, program.said
        collector.shutdown()
    (body,) = BODIES
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert "admint-worker" in [each.value.string_value for each in resource.resource.attributes]
    assert [each.name for each in resource.scope_spans[0].spans] == ["step video/scene-001"]
