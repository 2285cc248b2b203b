"""Random orders of changes, runs, failures, cancellations and restarts over the whole graph. Prints the problems found.

`python -m fine_tune_assets_tests.defs.platform.automation_fuzz SEED ORDERS EVENTS`; `make fuzz-automation` runs many. Set
PYTHONHASHSEED, since Dagster's order of events depends on it.
"""

import logging
import os
import sys
import time
import warnings

import dagster as dg

from fine_tune_assets_tests.defs.platform.automation_world import SINGLE_SOURCES, World

ORDERS_PER_INSTANCE = 10
"""Then a new instance begins, since a long history makes every tick slower."""


def run_orders(seed: int, orders: int, events: int) -> list[str]:
    """Problems after `orders` random orders of `events` events; each order ends once no run is queued."""
    problems: list[str] = []
    for start in range(0, orders, ORDERS_PER_INSTANCE):
        with dg.DagsterInstance.ephemeral() as instance:
            world = World(seed * 1000 + start, instance)
            for source in SINGLE_SOURCES:
                world.report(source)
            world.report_batch("b0")
            world.settle()
            for number in range(start, min(orders, start + ORDERS_PER_INSTANCE)):
                for _ in range(events):
                    world.happen()
                world.settle()
                problems += [f"seed {seed}, order {number}: {found}" for found in (*world.problems, *world.find_lost())]
                world.problems.clear()
        print(f"orders {start} to {number}: {dict(world.counts)}", flush=True)
    return problems


def main() -> int:
    seed, orders, events = map(int, sys.argv[1:4])
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    started = time.monotonic()
    problems = run_orders(seed, orders, events)
    for problem in problems:
        print(problem)
    hash_seed = os.environ.get("PYTHONHASHSEED", "random")
    print(
        f"seed {seed}, PYTHONHASHSEED {hash_seed}: {orders} orders of {events} events in {time.monotonic() - started:.0f} s, "
        f"{len(problems)} problems"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
