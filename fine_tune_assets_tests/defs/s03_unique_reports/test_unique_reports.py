"""Stage 3 takes only what the present, measured scrubber left."""

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s03_unique_reports.unique_reports import BOILERPLATE_COUNTS, drop_duplicates
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport, ScrubRecall
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


def _unique(recall: pa.Table, **batches: str) -> dg.MaterializeResult[pa.Table]:
    installation = Installation()
    tables = {batch: _scrubbed(batch, version) for batch, version in batches.items()}
    made = drop_duplicates(
        dg.build_asset_context(),
        installation=installation,
        scrubbed_reports=stored_in(installation.layout.data_dir, tables),
        scrub_recall=recall,
    )
    return next(iter(made))  # type: ignore[call-overload]


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
