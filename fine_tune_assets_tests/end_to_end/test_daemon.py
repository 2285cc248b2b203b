"""`make up` in daily use: the real daemon, with the real code location, follows what people drop into the folder."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.defs.local_run import create_databases
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.conftest import count_of_examples, drop_dialogues, replace_file, write_recipe
from fine_tune_assets_tests.end_to_end.daemon_waits import until, until_quiet

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]

DAEMON = ("code-server", "dagster-daemon")
DEADLINE_SECONDS = 240
QUIET_SECONDS = 20
OF_A_BATCH = ("reports", "scrubbed_reports", "phi_spans")
PARTITION = "dagster/partition"


@pytest.fixture
def running(installation_dir: Path, instance: dg.DagsterInstance) -> Iterator[Settings]:
    """The daemon of an installation whose base model's folder does not exist, so that no training ever starts."""
    write_recipe(installation_dir, base_model={"folder": str(installation_dir / "no-such-model")})
    settings = load_settings()
    create_databases(instance)
    start_services(settings, DAEMON)
    yield settings
    stop_services(settings, DAEMON)


def _examples(data: Path) -> int:
    """Examples made from reports in the newest instruction set."""
    path = data / "tables" / "instruction_sets" / "instruction_sets.parquet"
    return sum(not general for general in pq.read_table(path).column("is_general").to_pylist()) if path.is_file() else 0


def _is_running(instance: dg.DagsterInstance, batch: str) -> bool:
    runs = instance.get_runs(filters=dg.RunsFilter(tags={PARTITION: batch}, statuses=[dg.DagsterRunStatus.STARTED]))
    return bool(runs)


def _made_by_partition(instance: dg.DagsterInstance, asset: str) -> dict[str | None, int]:
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=100).records
    return Counter(record.partition_key for record in records)


def test_batches_flow_to_instruction_sets_without_a_click(
    installation_dir: Path, running: Settings, instance: dg.DagsterInstance
) -> None:
    """A dropped folder is processed, also while another one is in progress."""
    visits = drop_dialogues(installation_dir, "2026-02", 0, 24) / "visits.csv"
    until(lambda: _is_running(instance, "2026-02"), running, DEADLINE_SECONDS, "a run for the first batch")
    drop_dialogues(installation_dir, "2026-03", 30, 4)
    two = count_of_examples(0, 24) + count_of_examples(30, 4)
    until(lambda: _examples(installation_dir) == two, running, DEADLINE_SECONDS, "both batches in the instruction set")
    until_quiet(instance, running, QUIET_SECONDS, DEADLINE_SECONDS)
    for asset in OF_A_BATCH:
        assert _made_by_partition(instance, asset) == {"2026-02": 1, "2026-03": 1}, asset

    runs = {run.run_id for run in instance.get_runs()}
    replace_file(visits, visits.read_bytes())
    time.sleep(QUIET_SECONDS)
    assert {run.run_id for run in instance.get_runs()} == runs

    drop_dialogues(installation_dir, "2026-04", 40, 3)
    three = two + count_of_examples(40, 3)
    assert two < three
    until(
        lambda: _examples(installation_dir) == three,
        running,
        DEADLINE_SECONDS,
        "the third batch in the instruction set",
    )
    for asset in OF_A_BATCH:
        assert _made_by_partition(instance, asset) == {"2026-02": 1, "2026-03": 1, "2026-04": 1}, asset

    # A model that can't be had fails once, with its reason, and stops nothing of the above.
    (failed,) = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    failures = [e for e in instance.all_logs(failed.run_id) if e.dagster_event and e.dagster_event.is_step_failure]
    assert [event.step_key for event in failures] == ["base_models"]
    assert "no-such-model" in str(failures)
    assert instance.get_latest_materialization_event(dg.AssetKey("adapters")) is None
