"""Copies of a marked report under another subject's key."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.identifier_marks import record_mark, withdraw_mark
from fine_tune_assets.phi.missed_identifiers.copied_reports import find_terms_with_copies
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport
from fine_tune_assets_tests.clinical_domain import VOCABULARY
from fine_tune_assets_tests.ledger.conftest import database, ledger, ledger_url
from fine_tune_assets_tests.postgres import postgres_server

__all__ = ["database", "ledger", "ledger_url", "postgres_server"]

KEY = secrets.token_bytes(32)
TERM = "Zebrafinch"
LONG = (
    "Two days of cough and a temperature of 38.4 C. No chest pain. Crackles at the right base, no oedema of the legs."
)


def _store(tables: Path, batch: str, *reports: tuple[str, str, str | None]) -> None:
    """Store (subject key, raw text, tagged text) of each report; None means not scrubbed yet."""
    plain: dict[str, Any] = {"batch": batch, "source": "s", "fingerprint": "x", "written_on": None}
    raw, scrubbed = [], []
    for subject_key, text, tagged in reports:
        row = {**plain, "report_id": f"{batch}/{subject_key}", "subject_key": subject_key, "text": text}
        raw.append({**row, "known_identifiers": [], "origin_file": "f"})
        if tagged is not None:
            scrubbed.append({**row, "text": tagged, "tagged_text": tagged, "span_count": 0, "scrubber_version": "v"})
    write_table(tables / "reports" / f"{batch}.parquet", table_from_rows(raw, Report.SCHEMA))
    write_table(tables / "scrubbed_reports" / f"{batch}.parquet", table_from_rows(scrubbed, ScrubbedReport.SCHEMA))


def _mark(ledger: Ledger, report_id: str = "a/p", **changes: str) -> str:
    fields = {"report_id": report_id, "batch": "a", "subject_key": "p", "kind": "NAME", "term": TERM} | changes
    return record_mark(ledger, KEY, labelled_case="{}", marked_by="expert-1", **fields)


def _subject_keys(ledger: Ledger, tables: Path) -> set[str]:
    return set(find_terms_with_copies(ledger, KEY, tables, VOCABULARY))


def test_mark_counts_only_for_subjects_with_a_copy(ledger: Ledger, tmp_path: Path) -> None:
    """Otherwise the copy, dropped as a duplicate, would replace the withheld report in training."""
    _store(tmp_path, "a", ("p", f"{LONG} Seen with {TERM}.", None), ("other", f"The {TERM} sings. {LONG[:60]}", None))
    _store(tmp_path, "b", ("copy", f"{LONG}\nSeen with {TERM.lower()}!", None), ("alike", f"{LONG} Seen alone.", None))
    mark_id = _mark(ledger)
    assert _subject_keys(ledger, tmp_path) == {"p", "copy"}
    # A copy that arrives after the mark also counts.
    _store(tmp_path, "c", ("late", f"{LONG} Seen with {TERM}.", None))
    assert _subject_keys(ledger, tmp_path) == {"p", "copy", "late"}
    withdraw_mark(ledger, mark_id, "expert-2")
    assert _subject_keys(ledger, tmp_path) == set()


def test_second_mark_finds_its_copies_without_losing_those_of_the_first(ledger: Ledger, tmp_path: Path) -> None:
    """Each mark reads the reports once, without repeating earlier marks; no result may get lost."""
    _store(tmp_path, "a", ("p", f"{LONG} Seen with {TERM}.", None), ("q", "Walks home. Lives with Goldammer.", None))
    _store(
        tmp_path, "b", ("copy", f"{LONG} Seen with {TERM}.", None), ("twin", "Walks home. Lives with Goldammer!", None)
    )
    first = _mark(ledger)
    assert _subject_keys(ledger, tmp_path) == {"p", "copy"}
    _mark(ledger, "a/q", subject_key="q", term="Goldammer")
    assert _subject_keys(ledger, tmp_path) == {"p", "copy", "q", "twin"}
    withdraw_mark(ledger, first, "expert-2")
    assert _subject_keys(ledger, tmp_path) == {"q", "twin"}


@pytest.mark.parametrize("scrubbed_again", ["", "a/p", "both"])
def test_copy_with_other_identifiers_counts_before_and_after_rescrubbing(
    ledger: Ledger, tmp_path: Path, scrubbed_again: str
) -> None:
    """A mark that came and went with each scrub would cause endless rescrubbing."""
    before = f"[NAME], MRN [MRN]: seen with {TERM}. Rest."
    after = before.replace(TERM, "[NAME]")
    _store(tmp_path, "a", ("p", f"Ann Miller, MRN 4711: seen with {TERM}. Rest.", after if scrubbed_again else before))
    copy = after if scrubbed_again == "both" else before
    _store(tmp_path, "b", ("copy", f"Bob Van Hook, MRN 0815: seen with {TERM}. Rest.", copy))
    _mark(ledger)
    assert _subject_keys(ledger, tmp_path) == {"p", "copy"}


def test_mark_of_a_missing_report_still_counts_for_its_subject(ledger: Ledger, tmp_path: Path) -> None:
    """A batch that is being re-read may lack the report for an hour."""
    _mark(ledger)
    assert _subject_keys(ledger, tmp_path) == {"p"}
