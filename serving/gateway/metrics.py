"""Prometheus metrics: this process's HTTP requests, and what the models and the queue say at the moment of a scrape.

Every application has a registry of its own. Counters that live in replicas arrive as plain snapshots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.backends.interface import ModelCounters

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
GAUGES = {
    "running": "Calls that hold the model's lane.",
    "waiting": "Calls that wait for the model: before its deployment, or for its lane.",
    "peak_memory_bytes": "Greatest device memory of the model's process.",
}
COUNTERS = {
    "calls": "Model calls that ended, however.",
    "failures": "Model calls that failed.",
    "cancellations": "Model calls that were cancelled.",
    "out_of_memory": "Model calls that found no room on the device, twice.",
    "denoising_steps": "Denoising steps done.",
    "step_seconds": "Seconds spent in denoising steps.",
    "device_seconds": "Seconds in which the model held its lane.",
    "cache_hits": "Embeddings of prompts and references that were not computed again.",
    "cache_misses": "Embeddings of prompts and references that were computed.",
}


class HttpMetrics:
    """Counts requests of one application; also the registry that is scraped."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route")
        self.requests = Counter("admint_http_requests", "HTTP requests.", (*labels, "status"), registry=self._registry)
        self.seconds = Histogram(
            "admint_http_request_seconds", "Time to the end.", labels, buckets=SECONDS, registry=self._registry
        )
        self.running = Gauge("admint_http_requests_running", "HTTP requests in progress.", registry=self._registry)

    def text(self, models: Mapping[str, ModelCounters], waiting_generations: int) -> bytes:
        """The scrape, in Prometheus' text format."""
        snapshot = _Snapshot(models, waiting_generations)
        self._registry.register(snapshot)
        try:
            return generate_latest(self._registry)
        finally:
            self._registry.unregister(snapshot)


class _Snapshot(Collector):
    def __init__(self, models: Mapping[str, ModelCounters], waiting_generations: int) -> None:
        self._models = models
        self._waiting = waiting_generations

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("admint_generations_waiting", "Generations without a worker.", value=self._waiting)
        for name, text in GAUGES.items():
            gauge = GaugeMetricFamily(f"admint_model_{name}", text, labels=("model",))
            for model, counters in self._models.items():
                gauge.add_metric((model,), getattr(counters, name))
            yield gauge
        for name, text in COUNTERS.items():
            counter = CounterMetricFamily(f"admint_model_{name}", text, labels=("model",))
            for model, counters in self._models.items():
                counter.add_metric((model,), getattr(counters, name))
            yield counter
