"""Spans of what runs, by OpenTelemetry's interface: nothing happens unless a process has an exporter.

`serving.tracing` gives it one. Between processes a trace is carried as W3C's `traceparent`: in the manifest of a
generation's row, and beside every call of a replica. Spans name models, stages and steps, never what somebody wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipelines.steps import Json

TRACER = trace.get_tracer("admint")
_CARRIER = TraceContextTextMapPropagator()


def traceparent() -> str | None:
    """The span that this code runs in, for another process to continue; None outside of a recorded one."""
    if not trace.get_current_span().is_recording():
        return None
    carrier: dict[str, str] = {}
    _CARRIER.inject(carrier)
    return carrier.get("traceparent")


def traced(manifest: Json) -> Json:
    """The manifest of a new generation with the request that asked for it: its worker continues that trace."""
    parent = traceparent()
    return manifest if parent is None else {**manifest, "traceparent": parent}


def parent_context(parent: str | None) -> Context | None:
    """What a span of another process is continued in; None for none, and for a text that is no `traceparent`."""
    return None if parent is None else _CARRIER.extract({"traceparent": parent})


@contextmanager
def span(name: str, parent: str | None = None, **attributes: str | int) -> Iterator[Span]:
    """A span of the running one, or of one in another process."""
    with TRACER.start_as_current_span(name, context=parent_context(parent), attributes=attributes) as opened:
        yield opened
