"""External sources are reported by content: once per change, and never without a change."""

import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.shared_records import Release
from fine_tune_assets.defs.platform.automation import DATA_VERSION, INPUT_VERSION
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s04_approved_examples.incoming_corrections import (
    read_corrections,
    report_incoming_corrections,
)
from fine_tune_assets.defs.s07_judge_scores.judge_scores import find_incumbent
from fine_tune_assets.defs.source_state import read_source_state
from fine_tune_assets.defs.sources import report_if_changed, report_sources
from fine_tune_assets.ledger.serving.deployments import record_state, request_deployment, switch_traffic
from fine_tune_assets.ledger.serving.imported_releases import make_import
from fine_tune_assets.ledger.serving.release_records import import_transaction, record_release
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.conftest import replace_file, write_recipe
from fine_tune_assets_tests.defs.reported_sources import reported_by
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict
from fine_tune_assets_tests.record_factory import made
from fine_tune_assets_tests.serving.tiny_releases import switched


def test_every_source_is_reported_once(installation_dir: Path, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    """A source that is reported at every tick would run the graph at every tick."""
    assert {"base_model_files", "verdict_signatures", "corrections"} < reported_by(instance)
    assert reported_by(instance) == set()


NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


def _tick(instance: dg.DagsterInstance, errors: list[str] | None = None) -> bool:
    """Whether the sensor reported a change; as the daemon does, its events are recorded."""
    seen = [] if errors is None else errors
    found = report_if_changed(instance, Installation(), seen.append, NOW)
    for event in found.asset_events if isinstance(found, dg.SensorResult) else ():
        instance.report_runless_asset_event(event)
    return isinstance(found, dg.SensorResult)


@pytest.fixture
def settled(instance: dg.DagsterInstance, installation_dir: Path) -> Path:
    """Everything was reported, and a tick found no change."""
    with Installation().ledger():  # its files exist
        pass
    assert [_tick(instance), _tick(instance), _tick(instance)] == [True, False, False]
    return installation_dir


CHANGES: dict[str, Callable[[Path, dg.DagsterInstance], object]] = {
    "recipe": lambda folder, _: write_recipe(folder, gate={"minimum_gain": 0.5}),
    "general data": lambda _, __: _touch(Installation().layout.general_data / "more.jsonl"),
    "a judge's labelled set": lambda _, __: _touch(Installation().layout.evaluation / "judge" / "more.jsonl"),
    "own questions": lambda _, __: _touch(Installation().layout.evaluation / "retrieval" / "own.jsonl"),
    "knowledge": lambda _, __: _touch(Installation().layout.knowledge / "more.md"),
    "judged answers": lambda _, __: _touch(Installation().stored("judge_scores").path),
    "ledger": lambda _, __: _record_verdict(),
    "event of Dagster": lambda _, instance: instance.report_runless_asset_event(dg.AssetMaterialization("any")),
}


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}", encoding="utf-8")


def _record_verdict() -> None:
    with Installation().ledger() as ledger:
        record_verdict(ledger, make_verdict("hold"))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_shows_in_the_state(
    settled: Path, instance: dg.DagsterInstance, change: Callable[[Path, dg.DagsterInstance], object]
) -> None:
    """A correction must not wait for the next full minute."""
    before = read_source_state(instance, Installation(), NOW)
    assert before is not None
    assert before == read_source_state(instance, Installation(), NOW)
    change(settled, instance)
    assert read_source_state(instance, Installation(), NOW) != before


def test_each_change_is_reported_at_the_first_tick(settled: Path, instance: dg.DagsterInstance) -> None:
    assert settled.is_dir()
    _touch(Installation().layout.general_data / "more.jsonl")
    assert _tick(instance)
    _touch(Installation().layout.knowledge / "more.md")
    assert _tick(instance)


def test_the_sources_are_read_in_each_minute(settled: Path, instance: dg.DagsterInstance) -> None:
    """The next slot of a database query begins without any change of a file."""
    assert settled.is_dir()
    states = [read_source_state(instance, Installation(), NOW + timedelta(seconds=after)) for after in (0, 29, 30)]
    assert states[0] == states[1] != states[2]


def test_a_tick_without_a_change_costs_a_fraction(settled: Path, instance: dg.DagsterInstance) -> None:
    """An idle installation ticks 5,760 times a day."""
    assert settled.is_dir()

    def cost(call: Callable[[], object]) -> float:
        started = time.thread_time()
        for _ in range(5):
            call()
        return time.thread_time() - started

    assert cost(lambda: _tick(instance)) < cost(lambda: report_sources(instance, Installation(), print)) / 3


def test_a_source_that_can_not_be_read_is_reported_at_every_tick(settled: Path, instance: dg.DagsterInstance) -> None:
    assert settled.is_dir()
    shutil.rmtree(Installation().layout.evaluation / "judge")
    errors: list[str] = []
    for _ in range(3):
        _tick(instance, errors)
    assert len([error for error in errors if "expert_ratings" in error]) == 3


def test_a_recipe_that_can_not_be_read_holds_up_no_other_source(
    installation_dir: Path, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing error in the recipe must not stop decisions and corrections, and must not go unsaid either."""
    reported_by(instance)
    values = yaml.safe_load((installation_dir / "recipe.yaml").read_text(encoding="utf-8"))
    replace_file(installation_dir / "recipe.yaml", yaml.safe_dump({**values, "gaet": 1}).encode())
    (installation_dir / "evaluation" / "judge" / "more.csv").write_text("ID\n", encoding="utf-8")
    assert reported_by(instance) == {"expert_ratings", "judged_answers"}
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "labelled_reports" in line]
    assert "Recipe recipe.yaml: gaet" in told


def test_corrections_come_back_once_the_quarantine_has_examined_them(instance: dg.DagsterInstance) -> None:
    """Otherwise stage 4 would draft a correction twice, or read one that is still in the quarantine's way."""

    def materialized(name: str, version: str, consumed: str | None = None) -> None:
        tags = {DATA_VERSION: version}
        if consumed is not None:
            tags[f"{INPUT_VERSION}scrubbed_corrections"] = consumed
        instance.report_runless_asset_event(dg.AssetMaterialization(name, tags=tags))

    def is_reported() -> bool:
        found = report_incoming_corrections(instance)
        for event in found:
            instance.report_runless_asset_event(event)
        return bool(found)

    materialized("scrubbed_corrections", "one")
    assert not is_reported()
    materialized("quarantined_corrections", "states of one", consumed="one")
    assert [is_reported(), is_reported()] == [True, False]
    materialized("scrubbed_corrections", "two")
    assert not is_reported()
    materialized("quarantined_corrections", "states of two", consumed="two")
    assert is_reported()
    materialized("quarantined_corrections", "released", consumed="two")  # an approver accepted one
    assert is_reported()
    materialized("quarantined_corrections", "released", consumed="two")
    assert not is_reported()
    scrubbed_again = {DATA_VERSION: "two", f"{INPUT_VERSION}scrub_recall": "another scrubber"}
    instance.report_runless_asset_event(dg.AssetMaterialization("scrubbed_corrections", tags=scrubbed_again))
    assert is_reported()  # what refused the corrections of the previous scrubber runs again


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize("scrubber", ["current", "previous"])
def test_corrections_of_another_scrubber_are_not_read(instance: dg.DagsterInstance, scrubber: str) -> None:
    """A stricter scrubber must reach the instruction set. A person may launch stages 4 and 5 before stage 10 has run again."""
    row = dict.fromkeys(("correction_id", "release_id", "author", "subject_key", "instruction", "input", "output"), "")
    table = table_from_rows([row], ScrubbedCorrection.SCHEMA)
    write_table(Installation().layout.table("scrubbed_corrections"), table)
    for name, tags in (("scrub_recall", {}), ("scrubbed_corrections", {f"{INPUT_VERSION}scrub_recall": scrubber})):
        event = dg.AssetMaterialization(name, tags={DATA_VERSION: "current", **tags})
        instance.report_runless_asset_event(event)

    @dg.asset(deps=["incoming_corrections"])
    def reader() -> None:
        assert read_corrections(Installation()).num_rows == 1

    if scrubber == "current":
        assert dg.materialize([reader], instance=instance).success
    else:
        with pytest.raises(GateClosedError, match="scrubbed_corrections"):
            dg.materialize([reader], instance=instance)


def test_a_base_model_that_was_written_again_is_noticed(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """If other weights are copied into the same folder, the adapter no longer matches its base model."""
    folder = installation_dir / "my-model"
    write_recipe(installation_dir, base_model={"folder": str(folder)})
    reported_by(instance)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    assert reported_by(instance) == {"base_model_files"}
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert reported_by(instance) == {"base_model_files"}
    assert reported_by(instance) == set()


def _serve(adapter_id: str, base: str) -> Release:
    verdict = make_verdict("promote", adapter_id=adapter_id, base_fingerprint=base, incumbent=base)
    release = make_release(verdict, f"release-of-{adapter_id}")
    with Installation().ledger() as ledger:
        record_verdict(ledger, verdict)
        record_release(ledger, release)
        deployment = request_deployment(ledger, release.release_id, "test")
        record_state(ledger, deployment.deployment_id, "starting")
        record_state(ledger, deployment.deployment_id, "ready", engine_url="http://127.0.0.1:1", engine_key=b"sealed")
        switch_traffic(ledger, deployment.deployment_id, "test")
    return release


CANDIDATE = made(Adapter, adapter_id="new", base_fingerprint="base-1", instruction_set_fingerprint="set-1")


@pytest.mark.usefixtures("installation_dir")
def test_the_incumbent_is_the_base_model_while_nothing_serves() -> None:
    assert find_incumbent(Installation(), CANDIDATE) == {
        "incumbent": "base-1",
        "incumbent_adapter": "",
        "incumbent_weights": "",
        "incumbent_weights_fingerprint": "",
    }


def test_the_incumbent_on_the_same_base_is_an_adapter(installation_dir: Path) -> None:
    _serve("old", "base-1")
    found = find_incumbent(Installation(), CANDIDATE)
    assert found["incumbent"] == "old"
    assert found["incumbent_adapter"] == str(installation_dir / "adapters" / "old")
    assert found["incumbent_weights"] == ""


def test_no_candidate_is_judged_against_an_imported_release(installation_dir: Path) -> None:
    """Its adapter is at the installation that trained it: grades of it could only be made up. A placeholder may be replaced."""
    del installation_dir
    verdict = make_verdict("promote", adapter_id="far", base_fingerprint="base-1", incumbent="base-1")
    for name, is_placeholder in (("r1", False), ("r2", True)):
        with Installation().ledger() as ledger:
            made = make_import(name, "k" * 64, verdict, (), "An Operator", is_placeholder=is_placeholder)
            with import_transaction(ledger, make_release(verdict, name), made):
                pass
            switched(ledger, name)
        if is_placeholder:
            assert find_incumbent(Installation(), CANDIDATE)["incumbent"] == "base-1"
        else:
            with pytest.raises(GateClosedError, match="--placeholder"):
                find_incumbent(Installation(), CANDIDATE)


def test_the_incumbent_on_another_base_is_what_was_merged(installation_dir: Path) -> None:
    """Its adapter does not fit on the new base model."""
    release = _serve("old", "base-0")
    found = find_incumbent(Installation(), CANDIDATE)
    assert found["incumbent"] == "old"
    assert found["incumbent_adapter"] == ""
    assert found["incumbent_weights"] == str(installation_dir / "weights" / release.weights_fingerprint)
    assert found["incumbent_weights_fingerprint"] == release.weights_fingerprint
