"""The graph of the assets and its automation conditions, without a run."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.automation import DATA_VERSION


@dataclass
class Graph:
    """A few assets on a separate instance, evaluated tick by tick as the daemon does."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    cursor: Any = None
    is_broken: set[str | None] = field(default_factory=set)
    """Partitions (None: no partition) whose computation fails."""
    during: Callable[[], None] | None = None
    """What happens while an asset runs, once."""
    output: str | None = None
    """What the assets compute, for early cut-off; None: a version of their inputs' own."""

    def tick(self) -> set[str] | set[tuple[str, str]]:
        """The requested runs: names of assets, and (name, partition) of batches."""
        evaluated = dg.evaluate_automation_conditions(defs=self.defs, instance=self.instance, cursor=self.cursor)
        self.cursor = evaluated.cursor
        asked: set[Any] = set()
        for result in evaluated.results:
            if not result.true_subset.is_empty:
                name = result.key.to_user_string()
                partitions = (
                    result.true_subset.is_partitioned and result.true_subset.expensively_compute_partition_keys()
                )
                asked |= {(name, p) for p in partitions} if partitions else {name}
        return asked

    def report(self, name: str, version: str, partition: str | None = None) -> None:
        """What a sensor does on noticing a source's content."""
        event = dg.AssetMaterialization(name, partition=partition, tags={DATA_VERSION: version})
        self.instance.report_runless_asset_event(event)

    def run(self, *names: str, partition: str | None = None) -> bool:
        """Run what was requested and return whether it succeeded."""
        return (
            self.defs.resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=self.instance,
                asset_selection=[dg.AssetKey(name) for name in names],
                partition_key=partition,
                raise_on_error=False,
            )
            .success
        )

    def stop_during_run(self, name: str) -> None:
        """A run that is terminated during the step of this asset."""

        def interrupt() -> None:
            self.instance.report_run_canceling(*self.instance.get_runs(limit=1))
            raise dg.DagsterExecutionInterruptedError

        self.during = interrupt
        with suppress(dg.DagsterExecutionInterruptedError):
            self.run(name)
        (run,) = self.instance.get_runs(limit=1)
        assert run.status is dg.DagsterRunStatus.CANCELED

    def compute(self, partition: str | None = None) -> dg.DataVersion:
        """The body of every asset here."""
        if self.during is not None:
            happen, self.during = self.during, None
            happen()
        if partition in self.is_broken:
            raise RuntimeError("out of memory")
        return dg.DataVersion(self.output or hashlib.sha256(str(time.time_ns()).encode()).hexdigest())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened
