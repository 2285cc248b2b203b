"""The intake pages for the role ingest: batches that arrived, and unreadable files with reasons."""

import re
from collections.abc import Callable
from datetime import date
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.reports.intake_summary import IntakeSummaryCache
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.report_rows import Report, ReportLanguage, UnreadableReport
from fine_tune_assets.tables.scrubbing_rows import WithheldReport
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import BATCH, MISSED, SOURCE

OTHER = "2026-06-clinic"


def refusal(record: int | None, reason: str, detail: str) -> dict[str, Any]:
    return {
        "batch": BATCH,
        "origin_file": "visits.csv",
        "record": record,
        "reason": reason,
        "detail": detail,
        "size_bytes": 7,
    }


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    """A batch with six reports, one of them withheld, and two unreadable records; and entries that are not read."""
    made = ward()
    layout = made.settings.layout
    refused = [refusal(2, "no_subject", "Name the patient."), refusal(None, "empty", "There is no text in it.")]
    write_table(layout.table("unreadable_reports", BATCH), table_from_rows(refused, UnreadableReport.SCHEMA))
    held = {"report_id": f"{BATCH}/00001", "batch": BATCH, "scrubber_version": "v"}
    kinds = [{**held, "kind": "NAME", "count": 2}, {**held, "kind": "DATE", "count": 1}]
    write_table(layout.table("withheld_reports", BATCH), table_from_rows(kinds, WithheldReport.SCHEMA))
    for folder in ("2026-07-later", "2026-08.partial"):
        (layout.raw_reports / folder).mkdir(parents=True)
    (layout.raw_reports / "Quillfeather.txt").write_text("x")
    made.add("Ingest One", "ingest")
    return made


@pytest.fixture
def ingest(site: Site) -> Visitor:
    return site.signed_in("Ingest One")


def test_batches_are_shown_with_counts_of_read_unreadable_and_withheld_reports(site: Site, ingest: Visitor) -> None:
    """Users see on their own that their folder has arrived."""
    batch = IntakeSummaryCache(site.settings.layout).latest().batches[0]
    assert (batch.name, batch.sources, batch.is_scrubbed) == (BATCH, (SOURCE,), True)
    shown = ingest.get("/intake").text
    for word in (
        BATCH,
        "<strong>6</strong> reports",
        "<strong>2</strong> files",
        "<strong>1</strong> reports withheld",
    ):
        assert word in shown
    assert "1 batch is waiting" in shown
    assert "2026-07-later" in shown
    assert "2026-08.partial" in shown
    assert "Files outside a batch folder: 1" in shown
    assert 'href="/intake"' in ingest.get("/").text


def test_reports_in_another_language_are_shown_by_batch(site: Site, ingest: Visitor) -> None:
    """The people who deliver reports can deliver others."""
    assert "Not in English" not in ingest.get("/intake").text
    assert "none found" in ingest.get(f"/intake/{BATCH}").text
    rows = [
        {"batch": BATCH, "language": language, "reports": count} for language, count in (("German", 3), ("French", 1))
    ]
    write_table(site.settings.layout.table("report_languages", BATCH), table_from_rows(rows, ReportLanguage.SCHEMA))
    for path in ("/intake", f"/intake/{BATCH}"):
        shown = ingest.get(path).text
        assert "German 3" in shown
        assert "French 1" in shown


def test_unreadable_files_are_shown_with_reason_and_remedy(ingest: Visitor) -> None:
    """By file and record."""
    shown = ingest.get(f"/intake/{BATCH}").text
    for word in ("visits.csv", "No subject", "Name the patient.", "There is no text in it."):
        assert word in shown
    assert ingest.get("/intake/2026-07-later").status_code == 404
    assert ingest.get("/intake/..%2freports").status_code == 404


def test_a_batch_with_withheld_reports_lists_them_and_does_not_claim_that_nothing_is_missing(
    site: Site, ingest: Visitor
) -> None:
    """A withheld report never reaches a reviewer, so only the page of its batch shows it."""
    write_table(site.settings.layout.table("unreadable_reports", BATCH), UnreadableReport.SCHEMA.empty_table())
    shown = ingest.get(f"/intake/{BATCH}").text
    assert "Everything was read" not in shown
    (row,) = re.findall(r"<tr data-withheld>.*?</tr>", shown, re.DOTALL)
    for word in ("1.txt", f"{BATCH}/00001", "NAME: 2", "DATE: 1"):
        assert word in row
    write_table(site.settings.layout.table("reports", BATCH), Report.SCHEMA.empty_table())
    assert f"{BATCH}/00001" in ingest.get(f"/intake/{BATCH}").text  # as before its batch is scrubbed again
    site.settings.layout.table("withheld_reports", BATCH).unlink()
    assert "Everything was read" in ingest.get(f"/intake/{BATCH}").text


def test_no_report_text_and_no_name_of_a_loose_file_is_shown(ingest: Visitor) -> None:
    """Names of loose files can contain a subject's name, so they are only counted."""
    shown = ingest.get("/intake").text + ingest.get(f"/intake/{BATCH}").text
    for word in (MISSED, "Otto", "lisinopril", "Cough"):
        assert word not in shown


def test_only_the_year_is_shown_and_a_new_batch_appears_at_once(site: Site, ingest: Visitor) -> None:
    """The date of a visit is an identifier. Counts are cached only until a table changes."""
    ingest.get("/intake")
    layout = site.settings.layout
    row = pq.read_table(layout.table("reports", BATCH), partitioning=None).to_pylist()[0]
    new = {**row, "batch": OTHER, "report_id": f"{OTHER}/1", "source": "clinic", "written_on": date(2025, 3, 14)}
    write_table(layout.table("reports", OTHER), table_from_rows([new], Report.SCHEMA))
    shown = ingest.get("/intake").text
    assert "2025" in shown
    assert "2025-03" not in shown
    assert "not scrubbed yet" in shown
    assert shown.index(OTHER) < shown.index(BATCH)


def test_an_empty_installation_explains_how_to_add_reports(serve: Callable[..., Site]) -> None:
    """The first day of an installation."""
    site = serve()
    site.add("Ingest One", "ingest")
    assert "<code>raw_reports</code>" in site.signed_in("Ingest One").get("/intake").text


def test_an_unreadable_table_is_reported(site: Site, ingest: Visitor) -> None:
    """A missing count must not be shown as 0."""
    site.settings.layout.table("withheld_reports", BATCH).write_bytes(b"half a file")
    reply = ingest.get("/intake")
    assert (reply.status_code, "being written" in reply.text) == (503, True)
