"""A marked report that stands under another patient's key too: its copy shows the same identifier."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.missed_identifiers import record_mark, withdraw_mark
from fine_tune_assets.phi.missed_identifiers.copied_reports import terms_with_copies
from fine_tune_assets.tables.phi import ScrubbedReport
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.reports import Report
from fine_tune_assets_tests.ledger.conftest import database, ledger, ledger_url
from fine_tune_assets_tests.postgres import postgres_server

__all__ = ["database", "ledger", "ledger_url", "postgres_server"]

KEY = secrets.token_bytes(32)
TERM = "Zebrafinch"
LONG = (
    "Two days of cough and a temperature of 38.4 C. No chest pain. Crackles at the right base, no oedema of the legs."
)


def _store(tables: Path, batch: str, *reports: tuple[str, str, str | None]) -> None:
    """(patient, raw text, tagged text) of each report; one without a tagged text was not scrubbed yet."""
    plain: dict[str, Any] = {"batch": batch, "source": "s", "fingerprint": "x", "written_on": None}
    raw, scrubbed = [], []
    for patient, text, tagged in reports:
        row = {**plain, "report_id": f"{batch}/{patient}", "patient_key": patient, "text": text}
        raw.append({**row, "known_identifiers": [], "origin_file": "f"})
        if tagged is not None:
            scrubbed.append({**row, "text": tagged, "tagged_text": tagged, "span_count": 0, "scrubber_version": "v"})
    write_table(tables / "reports" / f"{batch}.parquet", table_of(raw, Report.SCHEMA))
    write_table(tables / "scrubbed_reports" / f"{batch}.parquet", table_of(scrubbed, ScrubbedReport.SCHEMA))


def _mark(ledger: Ledger, report_id: str = "a/p", **changes: str) -> str:
    fields = {"report_id": report_id, "batch": "a", "patient_key": "p", "kind": "NAME", "term": TERM} | changes
    return record_mark(ledger, KEY, labelled_case="{}", marked_by="expert-1", **fields)


def _patients(ledger: Ledger, tables: Path) -> set[str]:
    return set(terms_with_copies(ledger, KEY, tables))


def test_a_mark_counts_for_whoever_has_a_copy_and_for_nobody_else(ledger: Ledger, tmp_path: Path) -> None:
    """Else the copy, which was dropped as a duplicate, takes the held report's place in training."""
    _store(tmp_path, "a", ("p", f"{LONG} Seen with {TERM}.", None), ("other", f"The {TERM} sings. {LONG[:60]}", None))
    _store(tmp_path, "b", ("copy", f"{LONG}\nSeen with {TERM.lower()}!", None), ("alike", f"{LONG} Seen alone.", None))
    mark_id = _mark(ledger)
    assert _patients(ledger, tmp_path) == {"p", "copy"}
    # One that arrives after the mark, too.
    _store(tmp_path, "c", ("late", f"{LONG} Seen with {TERM}.", None))
    assert _patients(ledger, tmp_path) == {"p", "copy", "late"}
    withdraw_mark(ledger, mark_id, "expert-2")
    assert _patients(ledger, tmp_path) == set()


def test_a_second_mark_finds_its_copies_while_what_the_first_one_found_stays(ledger: Ledger, tmp_path: Path) -> None:
    """Every report is read once for each mark, not for all of them again: nothing of either may get lost by that."""
    _store(tmp_path, "a", ("p", f"{LONG} Seen with {TERM}.", None), ("q", "Walks home. Lives with Goldammer.", None))
    _store(
        tmp_path, "b", ("copy", f"{LONG} Seen with {TERM}.", None), ("twin", "Walks home. Lives with Goldammer!", None)
    )
    first = _mark(ledger)
    assert _patients(ledger, tmp_path) == {"p", "copy"}
    _mark(ledger, "a/q", patient_key="q", term="Goldammer")
    assert _patients(ledger, tmp_path) == {"p", "copy", "q", "twin"}
    withdraw_mark(ledger, first, "expert-2")
    assert _patients(ledger, tmp_path) == {"q", "twin"}


@pytest.mark.parametrize("scrubbed_again", ["", "a/p", "both"])
def test_a_copy_with_other_identifiers_is_one_before_and_after_it_is_scrubbed_again(
    ledger: Ledger, tmp_path: Path, scrubbed_again: str
) -> None:
    """A mark that came and went with each scrub would have the batch scrubbed for ever."""
    left = f"[NAME], MRN [MRN]: seen with {TERM}. Rest."
    gone = left.replace(TERM, "[NAME]")
    _store(tmp_path, "a", ("p", f"Ann Miller, MRN 4711: seen with {TERM}. Rest.", gone if scrubbed_again else left))
    copy = gone if scrubbed_again == "both" else left
    _store(tmp_path, "b", ("copy", f"Bob Van Hook, MRN 0815: seen with {TERM}. Rest.", copy))
    _mark(ledger)
    assert _patients(ledger, tmp_path) == {"p", "copy"}


def test_a_mark_whose_report_is_gone_still_counts_for_its_patient(ledger: Ledger, tmp_path: Path) -> None:
    """A batch that is read anew may lack it for an hour."""
    _mark(ledger)
    assert _patients(ledger, tmp_path) == {"p"}
