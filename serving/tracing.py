"""Traces for who runs an OpenTelemetry collector: off unless `ADMINT_TRACES` names one.

One trace leads from the request through the row of the generation to the worker's stages and steps, and to the replicas
that ran its models (`pipelines.runtime.traces`).
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.runtime.traces import TRACER, parent_context


def start_tracing(process: str, collector: str | None) -> None:
    """Send this process's spans to a collector (OTLP over HTTP, such as http://127.0.0.1:4318), in the background.

    Call it once, before the first span. A collector that is away costs spans and nothing else.
    """
    if collector is None:
        return
    # Here, because most servers have no collector: the exporter takes 0.2 s to import.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"admint-{process.lower()}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{collector.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)


class Traced:
    """Middleware: every HTTP request is a span, which continues the caller's trace when it sent a `traceparent`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = parent_context(Headers(scope=scope).get("traceparent"))
        with TRACER.start_as_current_span(scope["method"], context=context, kind=SpanKind.SERVER) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, noted)
            finally:  # the pattern that matched, never the raw address
                route = getattr(scope.get("route"), "path", "unmatched")
                span.update_name(f"{scope['method']} {route}")
                span.set_attributes({"http.request.method": scope["method"], "http.route": route})
