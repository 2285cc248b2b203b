"""What somebody with the role ingest sees: that what they dropped has arrived, and what of it could not be read and why."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.reports.arrivals import ArrivalFigures
from fine_tune_assets.tables.phi import HeldReport
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.reports import Report, UnreadableReport
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
    """A batch of six reports, of which one is held back, with two records that were refused; and what was not read."""
    made = ward()
    layout = made.settings.layout
    refused = [refusal(2, "no_patient", "Name the patient."), refusal(None, "empty", "There is no text in it.")]
    write_table(layout.table("unreadable_reports", BATCH), table_of(refused, UnreadableReport.SCHEMA))
    held = {"report_id": f"{BATCH}/00001", "batch": BATCH, "scrubber_version": "v"}
    kinds = [{**held, "kind": "NAME", "count": 2}, {**held, "kind": "DATE", "count": 1}]
    write_table(layout.table("held_reports", BATCH), table_of(kinds, HeldReport.SCHEMA))
    for folder in ("2026-07-later", "2026-08.partial"):
        (layout.raw_reports / folder).mkdir(parents=True)
    (layout.raw_reports / "Quillfeather.txt").write_text("x")
    made.add("Ingest One", "ingest")
    return made


@pytest.fixture
def ingest(site: Site) -> Visitor:
    return site.signed_in("Ingest One")


def test_batches_are_shown_with_what_was_read_refused_and_held_back(site: Site, ingest: Visitor) -> None:
    """Whoever dropped a folder sees without asking anybody that it has arrived."""
    batch = ArrivalFigures(site.settings.layout).latest().batches[0]
    assert (batch.name, batch.sources, batch.reports, batch.refused, batch.held_back) == (BATCH, (SOURCE,), 6, 2, 1)
    shown = ingest.get("/arrivals").text
    for word in (
        BATCH,
        "<strong>6</strong> reports",
        "<strong>2</strong> files",
        "<strong>1</strong> reports held back",
    ):
        assert word in shown
    assert "1 batch waits" in shown
    assert "2026-07-later" in shown
    assert "2026-08.partial" in shown
    assert "Files: 1" in shown
    assert 'href="/arrivals"' in ingest.get("/").text


def test_what_was_refused_is_shown_with_its_reason_and_what_to_do(ingest: Visitor) -> None:
    """By file and record, as they lie in the folder."""
    shown = ingest.get(f"/arrivals/{BATCH}").text
    for word in ("visits.csv", "no patient", "Name the patient.", "There is no text in it."):
        assert word in shown
    assert ingest.get("/arrivals/2026-07-later").status_code == 404
    assert ingest.get("/arrivals/..%2freports").status_code == 404


def test_no_text_of_a_report_and_no_name_of_a_file_beside_the_batches_is_shown(ingest: Visitor) -> None:
    """Names of loose files could be patients': they are counted."""
    shown = ingest.get("/arrivals").text + ingest.get(f"/arrivals/{BATCH}").text
    for word in (MISSED, "Otto", "lisinopril", "Cough"):
        assert word not in shown


def test_only_the_year_is_given_away_and_a_new_batch_is_seen_at_once(site: Site, ingest: Visitor) -> None:
    """The day of a visit is an identifier. Figures are kept only until a table changes."""
    ingest.get("/arrivals")
    layout = site.settings.layout
    row = pq.read_table(layout.table("reports", BATCH), partitioning=None).to_pylist()[0]
    new = {**row, "batch": OTHER, "report_id": f"{OTHER}/1", "source": "clinic", "written_on": date(2025, 3, 14)}
    write_table(layout.table("reports", OTHER), table_of([new], Report.SCHEMA))
    shown = ingest.get("/arrivals").text
    assert "2025" in shown
    assert "2025-03" not in shown
    assert "not scrubbed yet" in shown
    assert shown.index(OTHER) < shown.index(BATCH)


def test_before_anything_was_read_the_page_says_what_to_do(serve: Callable[..., Site]) -> None:
    """The first day of an installation."""
    site = serve()
    site.add("Ingest One", "ingest")
    assert "Nothing was read yet" in site.signed_in("Ingest One").get("/arrivals").text


def test_a_table_that_can_not_be_read_is_said_on_a_page(site: Site, ingest: Visitor) -> None:
    """Not zeros: a figure that is missing is missing."""
    site.settings.layout.table("held_reports", BATCH).write_bytes(b"half a file")
    reply = ingest.get("/arrivals")
    assert (reply.status_code, "being written" in reply.text) == (503, True)
