"""Dagster's own storage in PostgreSQL: the home in deploy/postgres against a real server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster_postgres import PostgresEventLogStorage

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale
from fine_tune_assets_tests.postgres import PostgresServer

HOME = PROJECT_DIR / "deploy" / "postgres"
STORED_ELSEWHERE = {"storage", "local_artifact_storage", "compute_logs"}


@pytest.fixture
def postgres_instance(
    installation_dir: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    shutil.rmtree(installation_dir / "ledger")
    environment = {
        "DAGSTER_HOME": HOME,
        "DAGSTER_PG_HOST": postgres_server.host,
        "DAGSTER_PG_PORT": postgres_server.port,
        "DAGSTER_PG_USER": postgres_server.user,
        "DAGSTER_PG_PASSWORD": postgres_server.password,
        "DAGSTER_PG_DB": postgres_server.create_database(),
        "DAGSTER_ARTIFACTS": installation_dir / "artifacts",
        "DAGSTER_COMPUTE_LOGS": installation_dir / "compute_logs",
        "FINE_TUNE_LEDGER_URL": postgres_server.url(postgres_server.create_database()),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    with dg.DagsterInstance.get() as opened:
        yield opened


def test_a_run_is_kept_in_postgresql_and_is_not_repeated(
    installation_dir: Path, postgres_instance: dg.DagsterInstance
) -> None:
    """Automation reads what earlier runs recorded: it must find the same there as in SQLite."""
    files_before = sorted(HOME.iterdir())
    assert isinstance(postgres_instance.event_log_storage, PostgresEventLogStorage)
    summary = materialize_stale(defs, postgres_instance, only={"general_examples"})
    assert [(run.assets, run.is_success) for run in summary.runs] == [(("general_examples",), True)]
    assert materialize_stale(defs, postgres_instance, only={"general_examples"}).runs == []
    assert (installation_dir / "tables" / "general_examples" / "general_examples.parquet").is_file()
    assert not (installation_dir / "ledger").exists()
    assert sorted(HOME.iterdir()) == files_before

    with dg.DagsterInstance.get() as opened_again:
        (run,) = opened_again.get_runs()
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert opened_again.get_latest_materialization_event(dg.AssetKey("general_examples")) is not None


@pytest.mark.slow  # Dagster opens a connection for each query, and asks for the names of the partitions very often
def test_a_batch_is_read_once_and_again_when_it_changed(
    installation_dir: Path, postgres_instance: dg.DagsterInstance
) -> None:
    """Partitions are looked up by other queries than unpartitioned assets."""
    only = {"reports"}
    for batch in ("a", "b"):
        folder = installation_dir / "raw_reports" / batch
        folder.mkdir()
        (folder / "visit.txt").write_text(f"---\nsubject_id: {batch}\n---\nRest.\n")
    first = materialize_stale(defs, postgres_instance, only=only)
    assert {run.partition for run in first.runs if run.is_success} == {"a", "b"}
    assert materialize_stale(defs, postgres_instance, only=only).runs == []
    (installation_dir / "raw_reports" / "b" / "visit.txt").write_text("---\nsubject_id: b\n---\nMore rest.\n")
    assert [run.partition for run in materialize_stale(defs, postgres_instance, only=only).runs] == ["b"]


def test_both_homes_differ_in_nothing_but_where_things_are_kept() -> None:
    """If a limit, such as the GPU pool, were set in one only, the difference would show up only in production."""
    sqlite, postgres = (yaml.safe_load((folder / "dagster.yaml").read_text()) for folder in (PROJECT_DIR, HOME))
    assert {name: value for name, value in postgres.items() if name not in STORED_ELSEWHERE} == sqlite
