"""Every gate of stage 2 closes: recall floors, withheld reports, and surrogates that are real values."""

import datetime
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.defs.platform.automation import DATA_VERSION, RecordedEvent, consumed_version, is_input_changed
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s02_scrubbed_reports.rescrub_requests import (
    collisions_by_batch,
    report_rescrub_requests,
)
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import (
    count_withheld,
    no_surrogate_is_a_real_value,
    require_measured_scrubber,
    scrub_recall_meets_floor,
    scrub_request,
)
from fine_tune_assets.defs.s02_scrubbed_reports.taggers import tagger_beats_spacy
from fine_tune_assets.defs.s03_unique_reports.unique_reports import drop_duplicates
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.phi.table_scrubber import ScrubJob, ScrubOutputs, scrub_report_table
from fine_tune_assets.reports.batches import fingerprint_batch
from fine_tune_assets.tables.record_classes import conform, table_from_rows
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import (
    IdentifierValue,
    PhiTagger,
    ScrubbedReport,
    ScrubRecall,
    WithheldReport,
)
from fine_tune_assets.tables.stored_tables import open_table
from fine_tune_assets_tests.defs import first_stage

pytestmark = pytest.mark.usefixtures("installation_dir")


def _recall(version: str | None = None, **values: float) -> pa.Table:
    """label=value rows of one labelled set, by default of the current scrubber."""
    row = {"labelled_set": "set", "measure": "masked_recall", "hits": 90, "total": 100, "low": 0.1, "high": 1.0}
    row["scrubber_version"] = version or scrubber_version(Installation().recipe.scrubber)
    return table_from_rows(
        [{**row, "label": label, "value": value} for label, value in values.items()], ScrubRecall.SCHEMA
    )


GOOD = {"all": 0.99, "direct": 0.99}


def test_a_scrubber_above_both_floors_passes() -> None:
    recall = _recall(**GOOD)
    require_measured_scrubber(Installation(), recall)
    assert scrub_recall_meets_floor(Installation(), recall).passed


def test_the_check_names_the_command_and_the_page_that_show_the_misses() -> None:
    """A failed check is a dead end without the way to what it counted. It has no text itself."""
    shown = scrub_recall_meets_floor(Installation(), _recall(**{**GOOD, "all": 0.5})).metadata
    assert shown["command"].value == "`fine-tune phi report`"
    assert str(shown["page"].value).endswith("/misses")


@pytest.mark.parametrize(
    ("values", "pattern"),
    [({**GOOD, "all": 0.5}, r"0\.500 .*\(all\)"), ({**GOOD, "direct": 0.5}, r"0\.500 .*\(direct\)")],
)
def test_each_floor_closes_the_gate_on_its_own(values: dict[str, float], pattern: str) -> None:
    """Most labelled identifiers are dates and ages, so a good overall recall can hide missed names."""
    with pytest.raises(GateClosedError, match=pattern):
        require_measured_scrubber(Installation(), _recall(**values))
    result = scrub_recall_meets_floor(Installation(), _recall(**values))
    assert not result.passed
    assert "0.500" in str(result.metadata[REASON].value)


@pytest.mark.parametrize(
    "recall", [{}, {"all": 0.99}, {"version": "earlier", **GOOD}], ids=["nothing", "no direct ones", "another version"]
)
def test_a_missing_measurement_closes_the_gate(recall: dict[str, Any]) -> None:
    """A missing recall must not count as met."""
    with pytest.raises(GateClosedError, match="`fine-tune materialize scrub_recall`"):
        require_measured_scrubber(Installation(), _recall(**recall))
    assert not scrub_recall_meets_floor(Installation(), _recall(**recall)).passed


def test_a_withheld_report_fails_the_check_with_kinds_and_counts() -> None:
    """The report waits for a person, and only this check shows it."""
    row = {"batch": "b", "scrubber_version": "v"}
    rows = [("b/1", "NAME", 2), ("b/1", "ID", 1), ("b/2", "NAME", 1)]
    table = table_from_rows([{**row, "report_id": r, "kind": k, "count": c} for r, k, c in rows], WithheldReport.SCHEMA)
    result = count_withheld(table)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["reports"].value == 2
    assert result.metadata["by_kind"].value == {"NAME": 3, "ID": 1}
    assert count_withheld(WithheldReport.SCHEMA.empty_table()).passed


@pytest.mark.parametrize(
    ("worse", "value"), [("recall", 0.6), ("non_phi_tokens_masked", 0.4), ("documents_per_second", 1.0), (None, 0.0)]
)
def test_a_custom_tagger_must_be_better_in_every_metric(worse: str | None, value: float) -> None:
    """A tagger that masks everything finds more, but is not better."""
    own = {"recall": 0.95, "non_phi_tokens_masked": 0.02, "documents_per_second": 40.0}
    spacy = {"recall": 0.7, "non_phi_tokens_masked": 0.05, "documents_per_second": 20.0}
    named = {"tagger_id": "t", "folder": "taggers/t"}
    rows = [
        {**named, "entity_model": "mine", **own, **({worse: value} if worse else {})},
        {**named, "entity_model": "tagger", **own},
        {**named, "entity_model": "spacy:m", **spacy},
    ]
    result = tagger_beats_spacy(table_from_rows(rows, PhiTagger.SCHEMA))
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed == (worse is None)


class Batches:
    """Two batches, scrubbed like in the step, but without Dagster."""

    def __init__(self, data: Path, instance: dg.DagsterInstance) -> None:
        self.data, self.instance = data, instance
        self.consumed: dict[str, str | None] = {}

    def table(self, name: str, batch: str) -> Path:
        return self.data / "tables" / name / f"{batch}.parquet"

    def scrub(self, batch: str, text: str) -> str:
        """Scrub one report and return its text with surrogates."""
        report = {"report_id": f"{batch}/1", "batch": batch, "source": "s", "subject_key": batch, "text": text}
        more: dict[str, Any] = {"known_identifiers": [], "origin_file": "f", "fingerprint": fingerprint_text(text)}
        write_table(self.table("reports", batch), table_from_rows([{**report, **more}], Report.SCHEMA))
        request: dict[str, Any] = scrub_request(Installation(), batch)
        job = ScrubJob(
            Installation().recipe.scrubber,
            Installation().subject_secret,
            Path(request["cache"]),
            [Path(path) for path in request["other_values"]],
            datetime.date(2026, 3, 1),
        )
        made = [
            self.table(n, batch) for n in ("scrubbed_reports", "phi_spans", "withheld_reports", "identifier_values")
        ]
        for path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
        scrub_report_table(self.table("reports", batch), job, ScrubOutputs(*made), ignore_progress)
        self.consumed[batch] = consumed_version(self.reported().get(batch))
        return str(self.scrubbed(batch).column("text").to_pylist()[0])

    def scrubbed(self, batch: str) -> pa.Table:
        return conform(pq.read_table(self.table("scrubbed_reports", batch)), ScrubbedReport.SCHEMA)

    def reported(self) -> dict[str, str]:
        tags = self.instance.event_log_storage.get_latest_tags_by_partition(
            dg.AssetKey("rescrub_requests"), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION]
        )
        return {batch: found[DATA_VERSION] for batch, found in tags.items()}

    def tick(self) -> set[str | None]:
        """A tick of the source sensor: the batches with an event."""
        events = report_rescrub_requests(self.instance, Installation())
        for event in events:
            self.instance.report_runless_asset_event(event)
        return {event.partition for event in events}

    def is_stale(self, batch: str) -> bool:
        """Whether `rescrub_requests` changed since the step last consumed it."""
        version = self.reported().get(batch)
        tags = {"dagster/input_data_version/rescrub_requests": str(self.consumed[batch])}
        return version is not None and is_input_changed(
            "rescrub_requests", RecordedEvent(1, version, {}), consumed_version(version), tags
        )

    def unique(self) -> list[str]:
        schema, consumed = ScrubbedReport.SCHEMA, sorted(self.consumed)
        tables = {batch: open_table(UPath(self.table("scrubbed_reports", batch)), schema) for batch in consumed}
        made = drop_duplicates(
            dg.build_asset_context(), installation=Installation(), scrubbed_reports=tables, scrub_recall=_recall(**GOOD)
        )
        first: Any = next(iter(made))  # type: ignore[call-overload]
        return list(first.value.column("report_id").to_pylist())


def test_a_surrogate_that_is_a_real_name_in_a_later_batch_is_replaced(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Until the batch is scrubbed again automatically, its reports are excluded."""
    instance.add_dynamic_partitions("report_batches", ["a", "b"])
    batches = Batches(installation_dir, instance)
    invented = batches.scrub("a", "Mr. Quillfeather has a cough.").removesuffix(" has a cough.")
    assert batches.tick() == set()
    assert batches.unique() == ["a/1"]
    assert _has_no_collision()

    batches.scrub("b", f"{invented} has a burn.")
    assert set(collisions_by_batch(Installation())) == {"a"}
    assert not _has_no_collision()
    assert batches.unique() == ["b/1"]
    assert not batches.is_stale("a")
    assert batches.tick() == {"a"}
    assert batches.tick() == set()
    assert batches.is_stale("a")
    assert not batches.is_stale("b")

    again = batches.scrub("a", "Mr. Quillfeather has a cough.")
    assert invented not in again
    assert collisions_by_batch(Installation()) == {}
    assert _has_no_collision()
    assert batches.unique() == ["a/1", "b/1"]
    # The end of the collision is no event, which would scrub the batch once more.
    assert batches.tick() == set()
    assert not batches.is_stale("a")


def test_a_collision_that_returns_is_reported_again(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """A batch that was emptied and filled again contains the same names as before."""
    instance.add_dynamic_partitions("report_batches", ["a", "b"])
    batches = Batches(installation_dir, instance)
    invented = batches.scrub("a", "Mr. Quillfeather has a cough.").removesuffix(" has a cough.")
    batches.scrub("b", f"{invented} has a burn.")
    assert batches.tick() == {"a"}
    batches.scrub("a", "Mr. Quillfeather has a cough.")
    batches.table("identifier_values", "b").unlink()
    assert batches.scrub("a", "Mr. Quillfeather has a cough.").startswith(invented)
    assert batches.tick() == set()
    batches.scrub("b", f"{invented} has a burn.")
    assert batches.tick() == {"a"}
    assert batches.is_stale("a")


def test_a_collision_waits_until_every_batch_is_scrubbed(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """Three batches that arrive at once would otherwise scrub the first one twice, and a failed batch must not stop this."""
    instance.add_dynamic_partitions("report_batches", ["a", "b", "c"])
    batches = Batches(installation_dir, instance)
    invented = batches.scrub("a", "Mr. Quillfeather has a cough.").removesuffix(" has a cough.")
    batches.scrub("b", f"{invented} has a burn.")
    state = fingerprint_batch(installation_dir / "raw_reports" / "c")  # vanished
    arrived = dg.AssetMaterialization("raw_reports", partition="c", tags={DATA_VERSION: state})
    instance.report_runless_asset_event(arrived)
    assert batches.tick() == set()
    assert len(report_rescrub_requests(instance, Installation(), waits_for_batches=False)) == 1
    failed = first_stage.defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("reports")], partition_key="c", raise_on_error=False
    )
    assert not failed.success
    assert batches.tick() == {"a"}


def _has_no_collision() -> bool:
    result = no_surrogate_is_a_real_value(Installation())
    assert isinstance(result, dg.AssetCheckResult)
    return result.passed


def test_a_scrub_request_excludes_the_batchs_own_values(installation_dir: Path) -> None:
    """A batch that is scrubbed again must be able to choose the same surrogates."""
    for batch in ("2026.01", "b"):
        table = table_from_rows([{"value_hash": batch, "role": "original"}], IdentifierValue.SCHEMA)
        write_table(installation_dir / "tables" / "identifier_values" / f"{batch}.parquet", table)
    request: Any = scrub_request(Installation(), "2026.01")
    assert [Path(path).name for path in request["other_values"]] == ["b.parquet"]
    request = scrub_request(Installation(), None)
    assert len(request["other_values"]) == 2


def test_a_batch_name_may_contain_a_dot(installation_dir: Path) -> None:
    folder = installation_dir / "tables" / "identifier_values"
    write_table(
        folder / "2026.01.parquet", table_from_rows([{"value_hash": "h", "role": "surrogate"}], IdentifierValue.SCHEMA)
    )
    write_table(
        folder / "b.parquet", table_from_rows([{"value_hash": "h", "role": "original"}], IdentifierValue.SCHEMA)
    )
    assert collisions_by_batch(Installation()) == {"2026.01": ["h"]}


def list_labelled(installation: Installation) -> list[Path]:
    return installation.pack.list_labelled_files(installation.layout.data_dir)


def test_recall_on_another_domain_does_not_open_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrubber that is good at clinical notes may miss every matter number."""
    clinical = _recall(scrubber_version(Installation().recipe.scrubber), **GOOD)
    monkeypatch.setenv(f"{PREFIX}RECIPE", "law_contracts")
    assert not scrub_recall_meets_floor(Installation(), clinical).passed
    with pytest.raises(GateClosedError):
        require_measured_scrubber(Installation(), clinical)
    assert scrub_recall_meets_floor(Installation(), _recall(**GOOD)).passed
    assert {path.parent.name for path in list_labelled(Installation())} == {"law_phi"}


def test_a_domain_without_labelled_reports_can_not_be_measured(
    installation_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder must not fall back to the labelled reports of another domain."""
    monkeypatch.setenv(f"{PREFIX}RECIPE", "law_contracts")
    shutil.rmtree(installation_dir / "evaluation" / "law_phi")
    assert list_labelled(Installation()) == []
    assert not scrub_recall_meets_floor(Installation(), ScrubRecall.SCHEMA.empty_table()).passed
