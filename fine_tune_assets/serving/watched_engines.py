"""An engine as the supervisor watches it, and whether it hangs."""

from dataclasses import dataclass, field
from datetime import datetime

from fine_tune_assets.engines.addresses import open_connections
from fine_tune_assets.engines.processes import processor_seconds
from fine_tune_assets.engines.running_server import RunningEngine, answers_now, is_healthy

_COMPUTES_SECONDS = 0.05
"""Processor time since the last look, half a second ago or more. A busy engine uses a whole core, one that only waits
0.002 of one (measured)."""


@dataclass
class Watched:
    engine: RunningEngine
    started_at: datetime
    retry_at: datetime
    is_warm: bool = False
    was_alive: bool = True
    failures: int = field(default=0)
    silent_looks: int = 0
    processor_seconds: float = 0.0
    """At the last look with somebody waiting for it."""
    unwanted_since: datetime | None = None


def silent_looks_at(watched: Watched) -> int:
    """Count a look at which it hangs; any other starts again at 0."""
    watched.silent_looks = watched.silent_looks + 1 if _is_silent(watched) else 0
    return watched.silent_looks


def _is_silent(watched: Watched) -> bool:
    """It must report that it is healthy. And while a client waits for it and it computes nothing, it must answer a request: a
    busy engine is not asked, since the request would wait behind long answers."""
    if not is_healthy(watched.engine):
        return True
    if open_connections(watched.engine.url) == 0:
        return False
    before, watched.processor_seconds = watched.processor_seconds, processor_seconds(watched.engine.identity)
    return watched.processor_seconds - before < _COMPUTES_SECONDS and not answers_now(watched.engine)
