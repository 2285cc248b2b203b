"""An engine as the supervisor watches it, with the check that detects a hung engine."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fine_tune_assets.core.fingerprints import FileStates
from fine_tune_assets.engines.listen_addresses import count_connections
from fine_tune_assets.engines.processes import cpu_seconds
from fine_tune_assets.engines.running_server import RunningEngine, is_answering, is_healthy

_BUSY_CPU_SECONDS = 0.05
"""CPU time since the last check, at least half a second ago. Measured: a busy engine uses a whole core, an idle one 0.002."""


@dataclass
class WatchedEngine:
    engine: RunningEngine
    started_at: datetime
    retry_at: datetime
    files: FileStates | None = None
    """Of the release and its base model, from before they were verified and the engine opened them; None for an adopted one."""
    is_warm: bool = False
    was_alive: bool = True
    down_since: datetime | None = None
    """When the supervisor noticed that it had stopped."""
    checked_at: datetime | None = None
    """Time of the last health check."""
    failures: int = field(default=0)
    missed_health_checks: int = 0
    cpu_seconds: float = 0.0
    """At the last check with open connections."""
    unused_since: datetime | None = None


def missed_health_checks(watched: WatchedEngine, now: datetime, interval: timedelta) -> int:
    """Count consecutive checks at which the engine hangs; a successful one resets the count to 0.

    An engine that answered is checked again after `interval`, one that did not at once: a check costs it and us 5 ms of CPU.
    """
    is_due = watched.missed_health_checks or watched.checked_at is None or now - watched.checked_at >= interval
    if not is_due:
        return 0
    watched.checked_at = now
    watched.missed_health_checks = watched.missed_health_checks + 1 if _is_hung(watched) else 0
    return watched.missed_health_checks


def _is_hung(watched: WatchedEngine) -> bool:
    """The engine hangs if its health check fails, or if it has connections, uses no CPU and does not answer a test request.

    A busy engine gets no test request, since that would wait behind long answers.
    """
    if not is_healthy(watched.engine):
        return True
    if count_connections(watched.engine.url) == 0:
        return False
    before, watched.cpu_seconds = watched.cpu_seconds, cpu_seconds(watched.engine.computing_process)
    return watched.cpu_seconds - before < _BUSY_CPU_SECONDS and not is_answering(watched.engine)
