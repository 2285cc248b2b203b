"""Every gate of the second stage, closed: floors, what is held back, and invented values that turn out to be real."""

import datetime
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
from fine_tune_assets.core.progress import silent
from fine_tune_assets.defs.platform.automation import DATA_VERSION, Known, input_differs, version_as_consumed
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import (
    no_report_is_held_back,
    no_surrogate_is_a_real_value,
    require_measured_scrubber,
    scrub_recall_meets_floor,
    scrub_request,
)
from fine_tune_assets.defs.s02_scrubbed_reports.taggers import tagger_beats_spacy
from fine_tune_assets.defs.s02_scrubbed_reports.taken_surrogates import (
    batches_to_choose_again,
    batches_with_taken_surrogates,
)
from fine_tune_assets.defs.s03_unique_reports.unique_reports import drop_duplicates
from fine_tune_assets.phi.report_tables import ScrubJob, ScrubOutputs, scrub_table
from fine_tune_assets.phi.scrubbing import scrubber_version
from fine_tune_assets.tables.phi import HeldReport, IdentifierValue, PhiTagger, ScrubbedReport, ScrubRecall
from fine_tune_assets.tables.records import conform, table_of
from fine_tune_assets.tables.reports import Report
from fine_tune_assets.tables.stored_tables import open_table

pytestmark = pytest.mark.usefixtures("installation_dir")


def _recall(version: str | None = None, **values: float) -> pa.Table:
    """label=value rows of one labelled set, of the present scrubber unless a version is named."""
    row = {"labelled_set": "set", "measure": "masked_recall", "hits": 90, "total": 100, "low": 0.1, "high": 1.0}
    row["scrubber_version"] = version or scrubber_version(Installation().recipe.scrub)
    return table_of([{**row, "label": label, "value": value} for label, value in values.items()], ScrubRecall.SCHEMA)


GOOD = {"all": 0.99, "direct": 0.99}


def test_a_scrubber_above_both_floors_is_let_through() -> None:
    recall = _recall(**GOOD)
    require_measured_scrubber(Installation(), recall)
    assert scrub_recall_meets_floor(Installation(), recall).passed


@pytest.mark.parametrize(
    ("values", "said"),
    [({**GOOD, "all": 0.5}, r"removes 0\.500 .* \(all\)"), ({**GOOD, "direct": 0.5}, r"removes 0\.500 .* \(direct\)")],
)
def test_either_floor_closes_alone(values: dict[str, float], said: str) -> None:
    """Dates and ages are most of what is labelled: a good share of all hides names that stay."""
    with pytest.raises(GateClosedError, match=said):
        require_measured_scrubber(Installation(), _recall(**values))
    result = scrub_recall_meets_floor(Installation(), _recall(**values))
    assert not result.passed


@pytest.mark.parametrize(
    "recall", [{}, {"all": 0.99}, {"version": "earlier", **GOOD}], ids=["nothing", "no direct ones", "another version"]
)
def test_what_was_not_measured_is_not_let_through(recall: dict[str, Any]) -> None:
    """A figure that is missing is no figure of 1."""
    with pytest.raises(GateClosedError, match="was not measured"):
        require_measured_scrubber(Installation(), _recall(**recall))
    assert not scrub_recall_meets_floor(Installation(), _recall(**recall)).passed


def test_a_report_that_is_held_back_fails_its_check_with_kinds_and_counts() -> None:
    """Somebody has to look: the report waits, and nothing else says so."""
    row = {"batch": "b", "scrubber_version": "v"}
    rows = [("b/1", "NAME", 2), ("b/1", "ID", 1), ("b/2", "NAME", 1)]
    held = table_of([{**row, "report_id": r, "kind": k, "count": c} for r, k, c in rows], HeldReport.SCHEMA)
    result = _check_held(held)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["reports"].value == 2
    assert result.metadata["by_kind"].value == {"NAME": 3, "ID": 1}
    assert _check_held(HeldReport.SCHEMA.empty_table()).passed


def _check_held(held: pa.Table) -> dg.AssetCheckResult:
    result = no_report_is_held_back(held)
    assert isinstance(result, dg.AssetCheckResult)
    return result


@pytest.mark.parametrize(
    ("worse", "value"), [("recall", 0.6), ("other_tokens_masked", 0.4), ("documents_per_second", 1.0), (None, 0.0)]
)
def test_a_tagger_must_be_better_in_everything(worse: str | None, value: float) -> None:
    """One that finds more because it masks everything is no better one."""
    own = {"recall": 0.95, "other_tokens_masked": 0.02, "documents_per_second": 40.0}
    spacy = {"recall": 0.7, "other_tokens_masked": 0.05, "documents_per_second": 20.0}
    named = {"tagger_id": "t", "folder": "taggers/t"}
    rows = [
        {**named, "entity_model": "mine", **own, **({worse: value} if worse else {})},
        {**named, "entity_model": "tagger", **own},
        {**named, "entity_model": "spacy:m", **spacy},
    ]
    result = tagger_beats_spacy(table_of(rows, PhiTagger.SCHEMA))
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed == (worse is None)


class Batches:
    """Two batches that are scrubbed as the step does, without Dagster around it."""

    def __init__(self, data: Path, instance: dg.DagsterInstance) -> None:
        self.data, self.instance = data, instance
        self.consumed: dict[str, str | None] = {}

    def table(self, name: str, batch: str) -> Path:
        return self.data / "tables" / name / f"{batch}.parquet"

    def scrub(self, batch: str, text: str) -> str:
        """The text with surrogates."""
        report = {"report_id": f"{batch}/1", "batch": batch, "source": "s", "patient_key": batch, "text": text}
        more: dict[str, Any] = {"known_identifiers": [], "origin_file": "f", "fingerprint": fingerprint_text(text)}
        write_table(self.table("reports", batch), table_of([{**report, **more}], Report.SCHEMA))
        request: dict[str, Any] = scrub_request(Installation(), batch)
        job = ScrubJob(
            Installation().recipe.scrub,
            Installation().patient_secret,
            Path(request["cache"]),
            [Path(path) for path in request["other_values"]],
            datetime.date(2026, 3, 1),
        )
        made = [self.table(n, batch) for n in ("scrubbed_reports", "phi_spans", "held_reports", "identifier_values")]
        for path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
        scrub_table(self.table("reports", batch), job, ScrubOutputs(*made), silent)
        self.consumed[batch] = version_as_consumed(self.reported().get(batch))
        return str(self.scrubbed(batch).column("text").to_pylist()[0])

    def scrubbed(self, batch: str) -> pa.Table:
        return conform(pq.read_table(self.table("scrubbed_reports", batch)), ScrubbedReport.SCHEMA)

    def reported(self) -> dict[str, str]:
        tags = self.instance.event_log_storage.get_latest_tags_by_partition(
            dg.AssetKey("taken_surrogates"), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION]
        )
        return {batch: found[DATA_VERSION] for batch, found in tags.items()}

    def notice(self) -> set[str | None]:
        """What the sensor of sources does."""
        events = batches_to_choose_again(self.instance, Installation())
        for event in events:
            self.instance.report_runless_asset_event(event)
        return {event.partition for event in events}

    def is_stale(self, batch: str) -> bool:
        """Whether the step has another `taken_surrogates` now than the one that it last consumed."""
        version = self.reported().get(batch)
        tags = {"dagster/input_data_version/taken_surrogates": str(self.consumed[batch])}
        return version is not None and input_differs(
            "taken_surrogates", Known(1, version, {}), version_as_consumed(version), tags
        )

    def unique(self) -> list[str]:
        schema, consumed = ScrubbedReport.SCHEMA, sorted(self.consumed)
        tables = {batch: open_table(UPath(self.table("scrubbed_reports", batch)), schema) for batch in consumed}
        made = drop_duplicates(
            dg.build_asset_context(), installation=Installation(), scrubbed_reports=tables, scrub_recall=_recall(**GOOD)
        )
        first: Any = next(iter(made))  # type: ignore[call-overload]
        return list(first.value.column("report_id").to_pylist())


def test_an_invented_name_that_a_later_batch_really_holds_is_chosen_again(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """From the collision to the healed batch: in between its reports stay behind, and nobody has to do anything."""
    instance.add_dynamic_partitions("report_batches", ["a", "b"])
    batches = Batches(installation_dir, instance)
    invented = batches.scrub("a", "Mr. Quillfeather has a cough.").removesuffix(" has a cough.")
    assert batches.notice() == set()
    assert batches.unique() == ["a/1"]
    assert _surrogates_are_free()

    batches.scrub("b", f"{invented} has a burn.")
    assert set(batches_with_taken_surrogates(Installation())) == {"a"}
    assert not _surrogates_are_free()
    assert batches.unique() == ["b/1"]
    assert not batches.is_stale("a")
    assert batches.notice() == {"a"}
    assert batches.notice() == set()
    assert batches.is_stale("a")
    assert not batches.is_stale("b")

    again = batches.scrub("a", "Mr. Quillfeather has a cough.")
    assert invented not in again
    assert batches_with_taken_surrogates(Installation()) == {}
    assert _surrogates_are_free()
    assert batches.unique() == ["a/1", "b/1"]
    # It is told that none is taken any more, so that the same one coming back later is news again: once more, the same text.
    assert batches.notice() == {"a"}
    assert batches.scrub("a", "Mr. Quillfeather has a cough.") == again
    assert batches.notice() == set()
    assert not batches.is_stale("a")


def _surrogates_are_free() -> bool:
    result = no_surrogate_is_a_real_value(Installation())
    assert isinstance(result, dg.AssetCheckResult)
    return result.passed


def test_a_batchs_own_values_are_no_other_batchs(installation_dir: Path) -> None:
    """When a batch is scrubbed again, its old surrogates must not keep it from choosing the same ones."""
    for batch in ("2026.01", "b"):
        table = table_of([{"value_hash": batch, "role": "original"}], IdentifierValue.SCHEMA)
        write_table(installation_dir / "tables" / "identifier_values" / f"{batch}.parquet", table)
    asked: Any = scrub_request(Installation(), "2026.01")
    assert [Path(path).name for path in asked["other_values"]] == ["b.parquet"]
    both: Any = scrub_request(Installation(), None)
    assert len(both["other_values"]) == 2


def test_a_batch_with_a_dot_in_its_name_is_named_whole(installation_dir: Path) -> None:
    folder = installation_dir / "tables" / "identifier_values"
    write_table(
        folder / "2026.01.parquet", table_of([{"value_hash": "h", "role": "surrogate"}], IdentifierValue.SCHEMA)
    )
    write_table(folder / "b.parquet", table_of([{"value_hash": "h", "role": "original"}], IdentifierValue.SCHEMA))
    assert batches_with_taken_surrogates(Installation()) == {"2026.01": ["h"]}
