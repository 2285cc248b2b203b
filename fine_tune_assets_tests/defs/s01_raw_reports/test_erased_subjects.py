"""Erased subjects: no step receives their rows, every gate closes for their sets, and their batches are read again.

end_to_end/test_erasure_flow.py tests a complete erasure.
"""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from click.testing import CliRunner
from upath import UPath

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.defs.platform.parquet_io_manager import ParquetIOManager
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.erased_subjects import (
    PRODUCTION_CHECK,
    erasures_are_complete,
    report_erasures,
    report_production_erasures,
    require_no_erased_subjects,
)
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.defs.s06_adapters.adapters import _decide_due, read_training_set
from fine_tune_assets.defs.subject_erasure import ErasureError, preview_erasure, require_data
from fine_tune_assets.instructions.stored_sets import ErasedInstructionSetError
from fine_tune_assets.ledger.reviews.erasures import (
    Erasure,
    SubjectIds,
    finish_erasure,
    lift_erasure,
    mark_releases,
    record_erasure,
)
from fine_tune_assets.ledger.serving.deployments import record_state, request_deployment, switch_traffic
from fine_tune_assets.lineage.erasure import build_erasure_steps
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.stored_tables import StoredTable, drop_subjects
from fine_tune_assets.training.training_due import TrainingDue
from fine_tune_assets_tests.defs.trained_versions import trained_by_recipe
from fine_tune_assets_tests.instructions.examples import approved, built
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted
from fine_tune_assets_tests.lineage.stored_data import TRAINED, filled, store, store_set

KEY = "a" * 64


def _erase(subject: str = TRAINED, *batches: str) -> Erasure:
    with Installation().ledger() as ledger:
        return record_erasure(
            ledger, subject_key=subject, by="officer", reason="Art. 17", ids=SubjectIds(frozenset(batches))
        )


def _report(instance: dg.DagsterInstance) -> list[str]:
    """One tick of the sensor: the batches to read again."""
    events = report_erasures(instance, Installation())
    for event in events:
        instance.report_runless_asset_event(event)
    return [str(event.partition) for event in events]


@pytest.mark.parametrize("form", [pa.Table, StoredTable], ids=["in memory", "in its file"])
@pytest.mark.parametrize("batches", [(), ("b1",), ("b1", "b2")], ids=len)
@pytest.mark.usefixtures("installation_dir")
def test_no_step_receives_rows_of_an_erased_subject(tmp_path: Path, batches: tuple[str, ...], form: Any) -> None:
    """A run that starts between tombstone and removal reads files that still have the rows, in one batch or several."""
    parts = dg.DynamicPartitionsDefinition(name="parts")
    rows = [{"report_id": f"b/{subject}", "subject_key": subject} for subject in (TRAINED, "other")]
    received: list[list[str]] = []

    @dg.asset(partitions_def=parts)
    def reports() -> pa.Table:
        return filled("reports", rows)

    @dg.asset
    def reader(reports: dict[str, form]) -> None:  # type: ignore[valid-type]
        ids = [table.select(["report_id"])["report_id"].to_pylist() for table in reports.values()]
        received.append([report_id for batch_ids in ids for report_id in batch_ids])

    resources = {"io_manager": ParquetIOManager(UPath(tmp_path), Installation().erased_subjects)}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("parts", list(batches))
        for batch in batches:
            assert dg.materialize([reports], instance=instance, resources=resources, partition_key=batch).success
        for _ in range(2):
            assert dg.materialize([reports, reader], instance=instance, resources=resources, selection=[reader]).success
            _erase()
    assert received == [[f"b/{TRAINED}", "b/other"] * len(batches), ["b/other"] * len(batches)]


@pytest.mark.usefixtures("installation_dir")
def test_an_erasure_keeps_general_data() -> None:
    """General data has no subject."""
    remaining = drop_subjects(built().table, {TRAINED})
    assert remaining.num_rows == built().table.num_rows - 1
    assert sum(remaining["is_general"].to_pylist()) == sum(built().table["is_general"].to_pylist()) > 0


@pytest.mark.usefixtures("installation_dir")
def test_a_set_with_an_erased_subject_closes_the_gate() -> None:
    """The set still exists if an erasure was interrupted before its removal."""
    require_no_erased_subjects(Installation(), built().table)
    _erase()
    with pytest.raises(GateClosedError, match=r"^1 examples .*`fine-tune subjects erase KEY"):
        require_no_erased_subjects(Installation(), built().table)


@pytest.mark.usefixtures("installation_dir")
def test_a_set_with_an_erased_subject_cannot_be_read_before_or_after_its_removal() -> None:
    """Its verdict is still in the ledger, but must not allow a merge or a release."""
    installation = Installation()
    stored = store_set(installation.layout)
    assert read_training_set(installation, stored.fingerprint) == stored
    erasure = _erase()
    with pytest.raises(GateClosedError):
        read_training_set(installation, stored.fingerprint)
    with installation.ledger() as ledger:
        for _, step in build_erasure_steps(installation.layout, ledger, erasure):
            step()
    with pytest.raises(ErasedInstructionSetError, match=stored.fingerprint[:16]):
        read_training_set(installation, stored.fingerprint)


def test_the_erasure_of_a_trained_subject_makes_a_training_due_once_the_set_is_rebuilt(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """Before that, a training would be refused."""
    installation = Installation()
    layout = installation.layout
    old = store_set(layout)
    adapter = {"base_fingerprint": "b", "instruction_set_fingerprint": old.fingerprint}
    store(layout, "adapters", [adapter])
    store(layout, "base_models", [{"fingerprint": "b"}])

    def report(asset: str, version: str) -> None:
        tags = {"dagster/data_version": version, **trained_by_recipe()}
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags=tags))

    for asset, version in (("instruction_sets", old.fingerprint), ("adapters", "1"), ("base_models", "b")):
        report(asset, version)
    assert _decide_due(instance, installation, minimum=None) is TrainingDue.NOT_DUE
    with installation.ledger() as ledger:
        for _, step in build_erasure_steps(layout, ledger, _erase()):
            step()
    assert _decide_due(instance, installation, minimum=1) is TrainingDue.NOT_DUE
    new = store_set(layout, extra=({**approved().to_pylist()[0], "example_id": "e-new", "subject_key": "new"},))
    report("instruction_sets", new.fingerprint)
    assert _decide_due(instance, installation, minimum=None) is TrainingDue.NOW


def test_an_erasure_and_its_lifting_each_read_the_batches_again_once(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """The event triggers all downstream assets. Other batches have no event."""
    instance.add_dynamic_partitions(str(BATCHES.name), ["b1", "b2"])
    assert _report(instance) == []
    _erase(KEY, "b1", "gone")
    assert _report(instance) == ["b1"]
    assert _report(instance) == []
    with Installation().ledger() as ledger:
        lift_erasure(ledger, subject_key=KEY, by="court", reason="Order 4")
    assert _report(instance) == ["b1"]
    assert _report(instance) == []


def test_a_batch_stored_by_a_late_run_is_read_again_until_the_rows_are_removed(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """The run read the batch before the tombstone and stored it afterwards, so the erasure does not name the batch."""
    layout = Installation().layout
    instance.add_dynamic_partitions(str(BATCHES.name), ["b1"])
    _erase(KEY)
    assert _report(instance) == []
    rows = [{"report_id": "b1/1", "subject_key": KEY}, {"report_id": "b1/2", "subject_key": "other"}]
    store(layout, "reports", rows, "b1")
    assert _report(instance) == ["b1"]
    assert _report(instance) == []
    store(layout, "reports", [*rows, {"report_id": "b1/3", "subject_key": "third"}], "b1")
    assert _report(instance) == ["b1"]
    store(layout, "reports", rows[1:], "b1")
    assert _report(instance) == [], "The removal of the rows needs no new reading."


def test_a_later_batch_with_a_refused_report_is_read_again_when_a_tombstone_is_lifted(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """The erasure does not name the batch, so the subject's reports in it would otherwise stay refused."""
    instance.add_dynamic_partitions(str(BATCHES.name), ["b1", "later"])
    _erase(KEY, "b1")
    assert _report(instance) == ["b1"]
    store(Installation().layout, "unreadable_reports", [{"batch": "later", "reason": "erased_subject"}], "later")
    assert _report(instance) == ["later"]
    assert _report(instance) == []
    with Installation().ledger() as ledger:
        lift_erasure(ledger, subject_key=KEY, by="court", reason="Order 4")
    assert _report(instance) == ["b1", "later"]
    assert _report(instance) == []


@pytest.mark.usefixtures("installation_dir")
def test_the_check_shows_unfinished_erasures_and_leftover_rows() -> None:
    """An interrupted erasure must not look complete."""

    def checked() -> tuple[bool, dict[str, Any]]:
        result = erasures_are_complete(Installation())
        assert isinstance(result, dg.AssetCheckResult)
        return result.passed, {name: value.value for name, value in result.metadata.items()}

    store(Installation().layout, "approved_examples", [{"subject_key": KEY}, {"subject_key": "o"}])
    assert checked()[0]
    erasure = _erase(KEY)
    assert checked() == (False, {"rows_by_table": {"approved_examples": 1}, "unfinished_erasures": 1})
    store(Installation().layout, "approved_examples", [{"subject_key": "o"}])
    with Installation().ledger() as ledger:
        finish_erasure(ledger, erasure, "officer", {})
    assert checked()[0]


def test_an_erasure_fails_the_check_of_the_production_model_once(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """An erasure does not trigger served_models, so without this event its check would stay green."""

    def tick() -> list[bool]:
        events = report_production_erasures(instance, Installation())
        for event in events:
            instance.report_runless_asset_event(event)
        return [event.passed for event in events]

    with Installation().ledger() as ledger:
        record_promoted(ledger, "r-1")
        deployment = request_deployment(ledger, "r-1")
        record_state(ledger, deployment.deployment_id, "starting")
        record_state(ledger, deployment.deployment_id, "ready", engine_url="http://127.0.0.1:1/v1", engine_key=b"k")
        switch_traffic(ledger, deployment.deployment_id)
        mark_releases(ledger, "o", {"r-1": "test"})
        assert tick() == []
        mark_releases(ledger, KEY, {"r-1": "train"})
    assert tick() == [False]
    assert tick() == []
    key = dg.AssetCheckKey(dg.AssetKey("served_models"), PRODUCTION_CHECK)
    (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
    assert record.event is not None
    metadata = record.event.dagster_event.asset_check_evaluation_data.metadata  # type: ignore[union-attr]
    assert metadata["erased_subjects"].value == 1
    assert "`fine-tune materialize adapters`" in str(metadata["reason"].value)
    shown = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)
    (warning,) = shown["production"]["warnings"]
    assert "1 subjects who were erased" in warning


@pytest.mark.usefixtures("installation_dir")
def test_an_unknown_key_and_the_key_of_a_correction_are_not_erased() -> None:
    """A typo must not leave a tombstone, and the subject of a correction is unknown."""
    installation = Installation()
    with installation.ledger() as ledger:
        with pytest.raises(ErasureError, match=f"{KEY}.*`fine-tune subjects key`"):
            require_data(KEY, [preview_erasure(installation, ledger, KEY)])
        store(installation.layout, "drafted_examples", [{"subject_key": KEY, "report_id": "correction/c"}])
        with pytest.raises(ErasureError, match=f"{KEY}.*Reject its draft on the desk"):
            preview_erasure(installation, ledger, KEY)
    done = CliRunner().invoke(main, ["subjects", "erase", "7-7-7", "--reason", "why"])
    assert done.exit_code == 2
    assert "64 characters" in done.output
    assert "7-7-7" not in done.output
    assert installation.erased_subjects() == frozenset()


@pytest.mark.usefixtures("installation_dir")
def test_an_erasure_needs_confirmation() -> None:
    """It can't be undone."""
    installation = Installation()
    store(installation.layout, "reports", [{"subject_key": KEY, "batch": "b", "report_id": "b/1"}], "b")
    done = CliRunner().invoke(main, ["subjects", "erase", KEY, "--reason", "why"], input="n\n")
    assert done.exit_code == 1
    assert "Reports        1 in 1 batches" in done.output
    assert installation.erased_subjects() == frozenset()


def test_every_table_with_subjects_names_them_in_the_column_subject_key() -> None:
    """An erasure would miss a column of another name."""
    suspicious = {n for schema in TABLES.values() for n in schema.names if "patient" in n or "subject" in n}
    assert suspicious == {"subject_key"}
