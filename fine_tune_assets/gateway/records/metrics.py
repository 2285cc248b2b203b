"""What Prometheus is told: counts and times of requests, of all gateway processes together. No text, no caller.

Owns the metrics. Several processes share them through files in a folder (prometheus_client's multiprocess mode, which
`fine-tune gateway` turns on before anything is imported).
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import values as shared_values
from prometheus_client.multiprocess import MultiProcessCollector

from fine_tune_assets.gateway.records.records import Record

CONTENT_TYPE = CONTENT_TYPE_LATEST
_STEPS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_NONE = "none"


class Metrics:
    """Of one gateway process."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self._own = own
        self._requests = Counter(
            "fine_tune_requests", "Requests that ended.", ("route", "status", "release"), registry=own
        )
        self._seconds = Histogram(
            "fine_tune_request_seconds", "From a request to its last byte.", ("route",), buckets=_STEPS, registry=own
        )
        self._first = Histogram(
            "fine_tune_first_token_seconds", "To an answer's first token.", ("release",), buckets=_STEPS, registry=own
        )
        self._tokens = Counter("fine_tune_tokens", "As engines counted.", ("direction", "release"), registry=own)
        self._identifiers = Counter("fine_tune_identifiers", "Found in answers.", ("release",), registry=own)
        self._under_way = Gauge(
            "fine_tune_requests_under_way", "Not ended yet.", registry=own, multiprocess_mode="livesum"
        )

    def begin(self) -> None:
        self._under_way.inc()

    def end(self, record: Record) -> None:
        release = record.release_id or _NONE
        self._under_way.dec()
        self._requests.labels(record.route, str(record.status or 500), release).inc()
        self._seconds.labels(record.route).observe(time.monotonic() - record.started)
        if record.first_token_seconds is not None:
            self._first.labels(release).observe(record.first_token_seconds)
        for direction, count in (("in", record.tokens_in), ("out", record.tokens_out)):
            if count is not None:
                self._tokens.labels(direction, release).inc(count)
        if record.identifiers is not None:
            self._identifiers.labels(release).inc(record.identifiers)

    def text(self) -> bytes:
        if shared_values.ValueClass is shared_values.MutexValue:  # this process alone
            return generate_latest(self._own)
        _forget_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_dead(folder: Path) -> None:
    """What was under way in a process that was killed is not under way any more."""
    for path in folder.glob("gauge_live*_*.db"):
        if not Path(f"/proc/{path.stem.rpartition('_')[2]}").exists():
            with suppress(FileNotFoundError):
                path.unlink()
