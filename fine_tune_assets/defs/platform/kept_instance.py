"""Dagster's instance for the ticks of the sensors, kept open by the code server.

Dagster opens an instance for each tick that reads `context.instance` or takes a resource: 80 ms of CPU, mostly because Alembic
loads all of Dagster's revisions. With 34 ticks a minute, that was 4 % of a core. Sensors therefore take no resource.
"""

import threading
from typing import Any

import dagster as dg

_LOCK = threading.Lock()
_kept: tuple[Any, dg.DagsterInstance] | None = None
"""The reference that the daemon passed, and the instance that was opened by it."""


def kept_instance(context: dg.SensorEvaluationContext) -> dg.DagsterInstance:
    """The instance of this tick. Another reference, after a change of the installation, opens another one."""
    global _kept
    ref = context.instance_ref
    if ref is None:  # a tick outside of a code server
        return context.instance
    with _LOCK:
        if _kept is None or _kept[0] != ref:
            _kept = (ref, dg.DagsterInstance.from_ref(ref))
        return _kept[1]
