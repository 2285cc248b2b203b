"""Stage 3 takes only what the present, measured scrubber left."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s03_unique_reports.unique_reports import (
    BOILERPLATE_COUNTS,
    MAX_RETRIES,
    count_uncompared_by_batch,
    drop_duplicates,
)
from fine_tune_assets.ledger.reviews.erasures import SubjectIds, record_erasure
from fine_tune_assets.lineage.account_reasons import COMPARE, SCRUB
from fine_tune_assets.lineage.account_tables import read_account
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.tables.asset_tables import RECORDS
from fine_tune_assets.tables.dedup_rows import UncomparedReason
from fine_tune_assets.tables.record_classes import table_from_records, table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport, ScrubRecall
from fine_tune_assets.tables.stored_tables import StoredTable, open_table
from fine_tune_assets_tests.record_factory import made as make_record
from fine_tune_assets_tests.stored_tables import stored_in

pytestmark = pytest.mark.usefixtures("installation_dir")


def _scrubbed(batch: str, version: str) -> pa.Table:
    text = f"Rest for batch {batch}."
    row = {
        "report_id": f"{batch}/1",
        "batch": batch,
        "source": "s",
        "subject_key": batch,
        "text": text,
        "tagged_text": text,
        "span_count": 0,
    }
    return table_from_rows(
        [{**row, "scrubber_version": version, "fingerprint": fingerprint_text(text)}], ScrubbedReport.SCHEMA
    )


def _recall(recall: float, version: str) -> pa.Table:
    row = {"labelled_set": "set", "measure": "masked_recall", "hits": 90, "total": 100, "low": 0.1, "high": 1.0}
    return table_from_rows(
        [{**row, "label": label, "value": recall, "scrubber_version": version} for label in ("all", "direct")],
        ScrubRecall.SCHEMA,
    )


def _store(**batches: str) -> dict[str, StoredTable]:
    return stored_in(
        Installation().layout.data_dir, {batch: _scrubbed(batch, version) for batch, version in batches.items()}
    )


def _unique(recall: pa.Table, **batches: str) -> dg.MaterializeResult[pa.Table]:
    return _compare(recall, _store(**batches))


def _compare(recall: pa.Table, scrubbed_reports: Mapping[str, StoredTable]) -> dg.MaterializeResult[pa.Table]:
    made = drop_duplicates(
        dg.build_asset_context(),
        installation=Installation(),
        scrubbed_reports=scrubbed_reports,
        scrub_recall=recall,
    )
    return next(iter(made))  # type: ignore[call-overload]


class RescrubbedMeanwhile(dict[str, StoredTable]):
    """Batches of which one is scrubbed again after all of them were read for the first time."""

    def __init__(self, batches: Mapping[str, StoredTable], rescrubbed: str, version: str) -> None:
        super().__init__(batches)
        self._rescrubbed, self._version = rescrubbed, version

    def items(self) -> Iterator[tuple[str, StoredTable]]:  # type: ignore[override]
        yield from super().items()
        write_table(Path(str(self[self._rescrubbed].path)), _scrubbed(self._rescrubbed, self._version))


def test_what_an_earlier_scrubber_left_goes_no_further() -> None:
    """A batch whose second scrubbing failed keeps its old text, with the leak for which a rule was added."""
    present = scrubber_version(Installation().recipe.scrubber)
    made = _unique(_recall(0.99, present), old="earlier", new=present)
    assert made.value.column("report_id").to_pylist() == ["new/1"]
    assert made.metadata is not None
    assert made.metadata["from_earlier_scrubber"] == 1


@pytest.mark.parametrize("case", ["below the floor", "not measured"])
def test_a_scrubber_below_its_floor_closes_the_gate(case: str) -> None:
    """After a leak raises the floor, reports that were scrubbed before must not be used either."""
    present = scrubber_version(Installation().recipe.scrubber)
    recall = _recall(0.1, present) if case == "below the floor" else _recall(0.99, "earlier")
    with pytest.raises(dg.Failure, match="GateClosedError"):
        _unique(recall, new=present)


def test_the_metadata_has_counts_of_duplicates_and_boilerplate_but_no_text() -> None:
    """A line of a template can contain a name that the scrubber missed."""
    present = scrubber_version(Installation().recipe.scrubber)
    made = _unique(_recall(0.99, present), a=present, b=present)
    assert made.metadata is not None
    assert {kind: made.metadata[f"dropped_{kind}"] for kind in ("exact", "near", "semantic")} == {
        "exact": 0,
        "near": 0,
        "semantic": 1,
    }
    assert made.metadata["vectors_made"] == 2
    table = made.metadata["boilerplate"]
    assert isinstance(table, dg.MarkdownMetadataValue)
    assert table.value.count("| 0 |") == len(BOILERPLATE_COUNTS)
    assert "Rest" not in table.value
    again = _unique(_recall(0.99, present), a=present, b=present)
    assert again.metadata is not None
    assert [again.metadata[f"{what}_made"] for what in ("sketches", "signatures", "vectors")] == [0, 0, 0]


class InputsWithRescrubs(dg.IOManager):
    """Loads the inputs of `drop_duplicates`; during the first attempts, a batch is scrubbed again."""

    def __init__(self, batches: Mapping[str, StoredTable], version: str, rescrubs: int) -> None:
        self._batches, self._version, self._rescrubs = batches, version, rescrubs
        self.attempts = 0
        self.stored: dict[str, int] = {}

    def load_input(self, context: dg.InputContext) -> object:
        if context.asset_key.path[-1] == "scrub_recall":
            return _recall(0.99, self._version)
        self.attempts += 1
        opened = {name: open_table(table.path, table.schema) for name, table in self._batches.items()}
        return RescrubbedMeanwhile(opened, "a", self._version) if self.attempts <= self._rescrubs else opened

    def handle_output(self, context: dg.OutputContext, obj: pa.Table) -> None:
        self.stored[context.asset_key.path[-1]] = obj.num_rows


@pytest.mark.parametrize(
    ("rescrubs", "attempts"), [(1, 2), pytest.param(MAX_RETRIES + 1, MAX_RETRIES + 1, marks=pytest.mark.slow)]
)
def test_a_batch_that_is_scrubbed_again_during_the_comparison_makes_the_run_compare_again(
    rescrubs: int, attempts: int
) -> None:
    """Reports are read by position, and in the new file a position is another report. Without the retry, the run failed."""
    present = scrubber_version(Installation().recipe.scrubber)
    inputs = InputsWithRescrubs(_store(a=present, b=present), present, rescrubs)
    inputs_only = map(dg.AssetSpec, ("scrubbed_reports", "scrub_recall"))
    resources = {"io_manager": inputs, "installation": Installation()}
    result = dg.materialize([drop_duplicates, *inputs_only], resources=resources, raise_on_error=False)
    assert (result.success, inputs.attempts) == (rescrubs <= MAX_RETRIES, attempts)
    rows = sum(inputs.stored.values())
    assert rows == (2 if result.success else 0)


def _store_rows(installation: Installation, table: str, batch: str | None, *rows: dict[str, str]) -> None:
    records = [make_record(RECORDS[table], **row) for row in rows]
    write_table(installation.layout.table(table, batch), table_from_records(RECORDS[table], records))


def test_reports_that_were_not_compared_are_counted_by_batch_as_in_the_account() -> None:
    """A batch whose scrubbing failed is missing from all downstream assets. Other checks report withheld reports."""
    installation = Installation()
    assert count_uncompared_by_batch(installation) == {}
    ids = {batch: [f"{batch}/{number}" for number in range(4)] for batch in "ab"}
    for batch, found in ids.items():
        rows = ({"report_id": name, "batch": batch, "subject_key": name} for name in found)
        _store_rows(installation, "reports", batch, *rows)
    _store_rows(installation, "scrubbed_reports", "a", *({"report_id": name} for name in ids["a"][:3]))
    _store_rows(installation, "withheld_reports", "a", {"report_id": "a/3", "kind": "NAME"})
    _store_rows(installation, "unique_reports", None, {"report_id": "a/0"})
    _store_rows(installation, "duplicate_reports", None, {"dropped_id": "a/1", "kind": "near"})
    waiting = {"report_id": "a/2", "reason": UncomparedReason.SURROGATE_COLLISION.value}
    _store_rows(installation, "uncompared_reports", None, waiting)
    assert count_uncompared_by_batch(installation) == {"a": 1, "b": 4}
    with installation.ledger() as ledger:
        record_erasure(ledger, subject_key="b/0", by="Ann", reason="asked", ids=SubjectIds())
        account = read_account(installation.layout, ledger, None, {})
    assert count_uncompared_by_batch(installation) == {"a": 1, "b": 3}
    omitted = {batch: account.of_batch(batch).count_omitted(SCRUB, COMPARE) for batch in "ab"}
    assert omitted == {
        "a": 1 + 2,
        "b": 3 + 1,
    }  # with the withheld report, the duplicate, and the erased subject's report
