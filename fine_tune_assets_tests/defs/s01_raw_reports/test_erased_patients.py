"""Erased patients on the graph's side: what is given to no step, every gate in which one closes, and the batches to read again.

The whole way of an erasure is told in end_to_end/test_erasure_flow.py.
"""

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from click.testing import CliRunner
from upath import UPath

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.defs.erasure import ErasureError, look_ahead
from fine_tune_assets.defs.platform.io import ParquetTables
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.erased_patients import (
    LIVE_CHECK,
    batches_to_read_again,
    news_of_live_release,
    nothing_is_left_of_erased_patients,
    require_nobody_erased,
)
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.defs.s06_adapters.adapters import _due, set_learned_from
from fine_tune_assets.instructions.stored_sets import ErasedInstructionSetError
from fine_tune_assets.ledger.reviews.erasures import (
    Erasure,
    PatientIds,
    finish_erasure,
    lift_erasure,
    mark_releases,
    record_erasure,
)
from fine_tune_assets.ledger.serving.deployments import report_state, switch_live, want_release
from fine_tune_assets.lineage.erasure import erasing_steps
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.stored_tables import StoredTable, without_patients
from fine_tune_assets.training.decisions import Due
from fine_tune_assets_tests.instructions.examples import approved, built
from fine_tune_assets_tests.ledger.made import record_promoted
from fine_tune_assets_tests.lineage.made import TRAINED, filled, store, store_set

KEY = "a" * 64


def _erase(patient: str = TRAINED, *batches: str) -> Erasure:
    with Installation().ledger() as ledger:
        return record_erasure(
            ledger, patient_key=patient, by="officer", reason="Art. 17", ids=PatientIds(frozenset(batches))
        )


def _report(instance: dg.DagsterInstance) -> list[str]:
    """One tick: the batches that are told to be read again."""
    events = batches_to_read_again(instance, Installation())
    for event in events:
        instance.report_runless_asset_event(event)
    return [str(event.partition) for event in events]


@pytest.mark.parametrize("form", [pa.Table, StoredTable], ids=["in memory", "in its file"])
@pytest.mark.parametrize("batches", [(), ("b1",), ("b1", "b2")], ids=len)
@pytest.mark.usefixtures("installation_dir")
def test_no_step_is_given_the_rows_of_an_erased_patient(tmp_path: Path, batches: tuple[str, ...], form: Any) -> None:
    """A run that starts between tombstone and removal finds the rows still in the file, of one batch or of many."""
    parts = dg.DynamicPartitionsDefinition(name="parts")
    rows = [{"report_id": f"b/{patient}", "patient_key": patient} for patient in (TRAINED, "other")]
    taken: list[list[str]] = []

    @dg.asset(partitions_def=parts)
    def reports() -> pa.Table:
        return filled("reports", rows)

    @dg.asset
    def taker(reports: dict[str, form]) -> None:  # type: ignore[valid-type]
        ids = [table.select(["report_id"])["report_id"].to_pylist() for table in reports.values()]
        taken.append([report_id for of_batch in ids for report_id in of_batch])

    resources = {"io_manager": ParquetTables(UPath(tmp_path), Installation().erased_patients)}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("parts", list(batches))
        for batch in batches:
            assert dg.materialize([reports], instance=instance, resources=resources, partition_key=batch).success
        for _ in range(2):
            assert dg.materialize([reports, taker], instance=instance, resources=resources, selection=[taker]).success
            _erase()
    assert taken == [[f"b/{TRAINED}", "b/other"] * len(batches), ["b/other"] * len(batches)]


@pytest.mark.usefixtures("installation_dir")
def test_general_data_stays_for_it_is_of_nobody() -> None:
    """Its patient is absent, which is no patient that was erased."""
    left = without_patients(built().table, {TRAINED})
    assert left.num_rows == built().table.num_rows - 1
    assert sum(left["is_general"].to_pylist()) == sum(built().table["is_general"].to_pylist()) > 0


@pytest.mark.usefixtures("installation_dir")
def test_nothing_is_trained_or_judged_on_a_set_that_holds_an_erased_patient() -> None:
    """The set may still lie there whole, when an erasure was cut off before it."""
    require_nobody_erased(Installation(), built().table)
    _erase()
    with pytest.raises(GateClosedError, match=r"^1 examples of the instruction set are of patients who were erased"):
        require_nobody_erased(Installation(), built().table)


@pytest.mark.usefixtures("installation_dir")
def test_nothing_is_merged_or_released_on_such_a_set_nor_on_one_that_is_gone() -> None:
    """The verdict on it stands in the ledger, and opens nothing any more."""
    installation = Installation()
    stored = store_set(installation.layout)
    assert set_learned_from(installation, stored.fingerprint) == stored
    erasure = _erase()
    with pytest.raises(GateClosedError):
        set_learned_from(installation, stored.fingerprint)
    with installation.ledger() as ledger:
        for _, step in erasing_steps(installation.layout, ledger, erasure):
            step()
    with pytest.raises(ErasedInstructionSetError, match="Nothing is trained, judged, merged or released"):
        set_learned_from(installation, stored.fingerprint)


def test_an_erasure_of_a_trained_patient_makes_training_due_once_the_new_set_is_there(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """The next training is without the patient; until the set is made again a training would only be refused."""
    installation = Installation()
    layout = installation.layout
    old = store_set(layout)
    named = {"base_fingerprint": "b", "instruction_set_fingerprint": old.fingerprint}
    store(layout, "adapters", [named])
    store(layout, "base_models", [{"fingerprint": "b"}])

    def report(asset: str, version: str) -> None:
        tags = {"dagster/data_version": version, **_trained_by(installation)}
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags=tags))

    for asset, version in (("instruction_sets", old.fingerprint), ("adapters", "1"), ("base_models", "b")):
        report(asset, version)
    assert _due(instance, installation, minimum=None) is Due.NOT
    with installation.ledger() as ledger:
        for _, step in erasing_steps(layout, ledger, _erase()):
            step()
    assert _due(instance, installation, minimum=1) is Due.NOT
    new = store_set(layout, extra=({**approved().to_pylist()[0], "example_id": "e-new", "patient_key": "new"},))
    report("instruction_sets", new.fingerprint)
    assert _due(instance, installation, minimum=None) is Due.NOW


def _trained_by(installation: Installation) -> dict[str, str]:
    from fine_tune_assets.defs.s06_adapters.adapters import TRAINED_BY
    from fine_tune_assets.recipes.sections import section_fingerprints

    return {TRAINED_BY: section_fingerprints(installation.recipe)["training"]}


def test_an_erasure_reads_its_batches_again_once_and_a_lifted_one_once_more(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """The event is what makes everything below be made again; a batch without the patient is left alone."""
    instance.add_dynamic_partitions(str(BATCHES.name), ["b1", "b2"])
    assert _report(instance) == []
    _erase(KEY, "b1", "gone")
    assert _report(instance) == ["b1"]
    assert _report(instance) == []
    with Installation().ledger() as ledger:
        lift_erasure(ledger, patient_key=KEY, by="court", reason="Order 4")
    assert _report(instance) == ["b1"]
    assert _report(instance) == []


def test_a_batch_in_which_a_late_run_stored_the_patient_is_read_again_until_the_rows_are_gone(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """It read before the tombstone stood and stored after it: no erasure knew of this batch."""
    layout = Installation().layout
    instance.add_dynamic_partitions(str(BATCHES.name), ["b1"])
    _erase(KEY)
    assert _report(instance) == []
    rows = [{"report_id": "b1/1", "patient_key": KEY}, {"report_id": "b1/2", "patient_key": "other"}]
    store(layout, "reports", rows, "b1")
    assert _report(instance) == ["b1"]
    assert _report(instance) == []
    store(layout, "reports", [*rows, {"report_id": "b1/3", "patient_key": "third"}], "b1")
    assert _report(instance) == ["b1"]
    store(layout, "reports", rows[1:], "b1")
    assert _report(instance) == [], "Nothing is read again for rows that are gone."


def test_a_batch_that_came_later_and_was_refused_is_read_again_when_a_tombstone_goes(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """No erasure knows of it; without this the patient's reports in it would stay refused after the erasure was lifted."""
    instance.add_dynamic_partitions(str(BATCHES.name), ["b1", "later"])
    _erase(KEY, "b1")
    assert _report(instance) == ["b1"]
    store(Installation().layout, "unreadable_reports", [{"batch": "later", "reason": "erased_patient"}], "later")
    assert _report(instance) == ["later"]
    assert _report(instance) == []
    with Installation().ledger() as ledger:
        lift_erasure(ledger, patient_key=KEY, by="court", reason="Order 4")
    assert _report(instance) == ["b1", "later"]
    assert _report(instance) == []


@pytest.mark.usefixtures("installation_dir")
def test_what_is_left_of_an_erased_patient_is_shown() -> None:
    """An erasure that was cut off must not look like one that is done."""

    def checked() -> tuple[bool, dict[str, Any]]:
        result = nothing_is_left_of_erased_patients(Installation())
        assert isinstance(result, dg.AssetCheckResult)
        return result.passed, {name: value.value for name, value in result.metadata.items()}

    store(Installation().layout, "approved_examples", [{"patient_key": KEY}, {"patient_key": "o"}])
    assert checked()[0]
    erasure = _erase(KEY)
    assert checked() == (False, {"rows_by_table": {"approved_examples": 1}, "unfinished_erasures": 1})
    store(Installation().layout, "approved_examples", [{"patient_key": "o"}])
    with Installation().ledger() as ledger:
        finish_erasure(ledger, erasure, "officer", {})
    assert checked()[0]


def test_the_live_release_that_learned_from_an_erased_patient_is_told_of_without_serving_it_anew(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """Nothing of served_models is made by an erasure, so its check would stay green for ever."""

    def tick() -> list[bool]:
        events = news_of_live_release(instance, Installation())
        for event in events:
            instance.report_runless_asset_event(event)
        return [event.passed for event in events]

    with Installation().ledger() as ledger:
        record_promoted(ledger, "r-1")
        deployment = want_release(ledger, "r-1")
        report_state(ledger, deployment.deployment_id, "starting")
        report_state(ledger, deployment.deployment_id, "ready", engine_url="http://127.0.0.1:1/v1", engine_key=b"k")
        switch_live(ledger, deployment.deployment_id)
        mark_releases(ledger, "o", {"r-1": "test"})
        assert tick() == []
        mark_releases(ledger, KEY, {"r-1": "train"})
    assert tick() == [False]
    assert tick() == []
    key = dg.AssetCheckKey(dg.AssetKey("served_models"), LIVE_CHECK)
    (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
    assert record.event is not None
    told = record.event.dagster_event.asset_check_evaluation_data.metadata["why"].value  # type: ignore[union-attr]
    assert told == "The live release learned from 1 erased patients: train again."
    shown = CliRunner().invoke(main, ["status"])
    assert "it learned from 1 patients who were erased since: train again" in shown.output


@pytest.mark.usefixtures("installation_dir")
def test_a_key_of_nobody_and_a_correction_are_not_erased() -> None:
    """A typing error must not leave a tombstone; nobody knows which patient a correction is about."""
    installation = Installation()
    with installation.ledger() as ledger:
        with pytest.raises(ErasureError, match="Nothing here is of a patient"):
            look_ahead(installation, ledger, KEY)
        store(installation.layout, "drafted_examples", [{"patient_key": KEY, "report_id": "correction/c"}])
        with pytest.raises(ErasureError, match="the key of a correction"):
            look_ahead(installation, ledger, KEY)
    done = CliRunner().invoke(main, ["erase", "7-7-7", "--by", "officer", "--reason", "why"])
    assert done.exit_code == 2
    assert "64 characters" in done.output
    assert "7-7-7" not in done.output
    assert installation.erased_patients() == frozenset()


@pytest.mark.usefixtures("installation_dir")
def test_nothing_is_removed_without_a_yes() -> None:
    """It can't be brought back."""
    installation = Installation()
    store(installation.layout, "reports", [{"patient_key": KEY, "batch": "b", "report_id": "b/1"}], "b")
    done = CliRunner().invoke(main, ["erase", KEY, "--by", "officer", "--reason", "why"], input="n\n")
    assert done.exit_code == 1
    assert "Reports        1 in 1 batches" in done.output
    assert installation.erased_patients() == frozenset()


def test_every_table_that_names_a_patient_does_so_in_the_column_that_is_looked_at() -> None:
    """A table with another name for it would keep the patient's rows for ever."""
    suspicious = {n for schema in TABLES.values() for n in schema.names if "patient" in n}
    assert suspicious == {"patient_key"}
