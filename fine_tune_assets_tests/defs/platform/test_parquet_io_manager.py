"""How tables are stored and handed to the next asset."""

import secrets
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from fine_tune_assets.defs.platform.parquet_io_manager import ParquetIOManager
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.stored_tables import StoredTable
from fine_tune_assets_tests.core.full_disk import full_disk

RECALL = {"labelled_set": "s", "measure": "masked_recall", "label": "all", "value": 1.0}


def _rows(version: str) -> pa.Table:
    return table_from_rows([{**RECALL, "scrubber_version": version}], TABLES["scrub_recall"])


@pytest.mark.parametrize("form", [pa.Table, StoredTable], ids=["in memory", "in its file"])
@pytest.mark.parametrize("batches", [[], ["a"], ["b", "a"]], ids=len)
def test_an_unpartitioned_asset_gets_any_number_of_batches_in_the_same_form(
    tmp_path: Path, batches: list[str], form: Any
) -> None:
    """Dagster hands over a bare table when there is exactly one: the first batch of a new installation."""
    parts = dg.DynamicPartitionsDefinition(name="parts")
    taken: dict[str, Any] = {}

    @dg.asset(partitions_def=parts)
    def scrub_recall(context: dg.AssetExecutionContext) -> pa.Table:
        return _rows(context.partition_key)

    @dg.asset
    def taker(scrub_recall: dict[str, form]) -> None:  # type: ignore[valid-type]
        taken.update(scrub_recall)

    resources = {"io_manager": ParquetIOManager(UPath(tmp_path), frozenset)}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("parts", batches)
        for batch in batches:
            assert dg.materialize([scrub_recall], instance=instance, resources=resources, partition_key=batch).success
        assert dg.materialize([scrub_recall, taker], instance=instance, resources=resources, selection=[taker]).success
    assert {type(table) for table in taken.values()} <= {form}
    assert {batch: table.select(["scrubber_version"]).to_pylist() for batch, table in taken.items()} == {
        batch: [{"scrubber_version": batch}] for batch in batches
    }


def test_a_check_may_read_one_table_column_by_column(tmp_path: Path) -> None:
    """`every_readable_report_is_accounted_for` needs the ids of a million reports, and not their texts."""

    @dg.asset
    def scrub_recall() -> pa.Table:
        return _rows("v")

    @dg.asset_check(asset=scrub_recall)
    def is_measured(scrub_recall: StoredTable) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=scrub_recall.select(["label"]).to_pylist() == [{"label": "all"}])

    resources = {"io_manager": ParquetIOManager(UPath(tmp_path), frozenset)}
    made = dg.materialize(dg.with_resources([scrub_recall, is_measured], resources))
    assert [check.passed for check in made.get_asset_check_evaluations()] == [True]


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A partial table under a temporary name would leave raw text behind unnoticed."""
    stored = ParquetIOManager(UPath(tmp_path), frozenset)
    rows = pa.concat_tables([_rows(secrets.token_hex(10_000))])
    with full_disk(), pytest.raises(OSError, match="File too large"):
        stored.dump_to_path(dg.build_output_context(asset_key="scrub_recall"), rows, UPath(tmp_path / "t.parquet"))
    assert list(tmp_path.iterdir()) == []


def test_a_table_goes_to_an_object_store_and_back() -> None:
    """Any path that fsspec knows works, such as S3; here its store in memory."""
    stored, path = ParquetIOManager(UPath("memory://tables"), frozenset), UPath("memory://tables/t.parquet")
    stored.dump_to_path(dg.build_output_context(asset_key="scrub_recall"), _rows("v"), path)
    for form in (pa.Table, StoredTable):
        context = dg.build_input_context(asset_key="scrub_recall", dagster_type=dg.PythonObjectDagsterType(form))
        loaded = stored.load_from_path(context, path)
        assert loaded.select(_rows("v").schema.names).to_pylist() == _rows("v").to_pylist()
    assert [p.name for p in UPath("memory://tables").iterdir()] == ["t.parquet"]


def test_a_table_is_a_parquet_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    """The first stages hold raw report text."""

    @dg.asset
    def scrub_recall() -> pa.Table:
        return _rows("v")

    assert dg.materialize(
        [scrub_recall], resources={"io_manager": ParquetIOManager(UPath(tmp_path), frozenset)}
    ).success
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert path == tmp_path / "scrub_recall" / "scrub_recall.parquet"
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert pq.read_table(path).to_pylist() == _rows("v").to_pylist()


@pytest.mark.parametrize("value", ["text", pa.table({"label": ["all"]})], ids=["not a table", "wrong columns"])
def test_what_does_not_fit_the_schema_is_refused(tmp_path: Path, value: object) -> None:
    """Else the next stage fails, far from the fault; and nothing is ever pickled."""

    @dg.asset(dagster_type=dg.Any)
    def scrub_recall():
        return value

    resources = {"io_manager": ParquetIOManager(UPath(tmp_path), frozenset)}
    assert not dg.materialize([scrub_recall], resources=resources, raise_on_error=False).success
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
