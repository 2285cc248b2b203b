"""Prometheus metrics of requests, aggregated over all gateway processes. They contain no text and no caller.

Processes share them through files in a folder: prometheus_client's multiprocess mode, which `fine-tune run gateway` turns on
before any import.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import values as shared_values
from prometheus_client.multiprocess import MultiProcessCollector

from fine_tune_assets.gateway.records.request_record import RequestRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_NO_RELEASE = "none"


class Metrics:
    """The metrics of one gateway process."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._requests = Counter(
            "fine_tune_requests", "Completed requests.", ("route", "status", "release"), registry=registry
        )
        self._seconds = Histogram(
            "fine_tune_request_seconds",
            "Seconds from a request to its last byte.",
            ("route",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._first = Histogram(
            "fine_tune_first_token_seconds",
            "Seconds to the first token.",
            ("release",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            "fine_tune_tokens", "Tokens, as counted by engines.", ("direction", "release"), registry=registry
        )
        self._identifiers = Counter(
            "fine_tune_identifiers", "Identifiers found in answers.", ("release",), registry=registry
        )
        self._in_flight = Gauge(
            "fine_tune_requests_in_flight", "Requests in progress.", registry=registry, multiprocess_mode="livesum"
        )

    def begin(self) -> None:
        self._in_flight.inc()

    def end(self, record: RequestRecord) -> None:
        release = record.release_id or _NO_RELEASE
        self._in_flight.dec()
        self._requests.labels(record.route, str(record.status or 500), release).inc()
        self._seconds.labels(record.route).observe(time.monotonic() - record.started)
        if record.first_token_seconds is not None:
            self._first.labels(release).observe(record.first_token_seconds)
        for direction, count in (("in", record.tokens_in), ("out", record.tokens_out)):
            if count is not None:
                self._tokens.labels(direction, release).inc(count)
        if record.identifiers is not None:
            self._identifiers.labels(release).inc(record.identifiers)

    def render(self) -> bytes:
        if shared_values.ValueClass is shared_values.MutexValue:  # multiprocess mode is off
            return generate_latest(self._registry)
        _remove_dead_gauges(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _remove_dead_gauges(folder: Path) -> None:
    """Remove the in-flight gauges of killed processes: their requests have ended."""
    for path in folder.glob("gauge_live*_*.db"):
        if not Path(f"/proc/{path.stem.rpartition('_')[2]}").exists():
            with suppress(FileNotFoundError):
                path.unlink()
