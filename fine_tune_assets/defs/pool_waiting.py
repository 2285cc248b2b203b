"""A run that waits for a place in a pool sleeps until it may look again.

Dagster 1.13.27 means to: its in-process executor asks how long, and takes the least of that time and 0
(`InstanceConcurrencyContext.interval_to_next_pending_claim_check`). So a run that waits for the GPU looks 100,000 times a second,
and holds a whole core beside the training that it waits for. Owns the right answer, put in its place in every process that loads
the definitions.
"""

import time

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext


def seconds_to_next_look(context: InstanceConcurrencyContext) -> float:
    """0 where nothing waits, or one that waits was not asked about yet."""
    waiting, times = context._pending_claims, context._pending_timeouts
    if not waiting or any(step not in times for step in waiting):
        return 0.0
    return max(0.0, min(times[step] for step in waiting) - time.time())


def sleep_while_waiting() -> None:
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = seconds_to_next_look  # type: ignore[method-assign, assignment]
