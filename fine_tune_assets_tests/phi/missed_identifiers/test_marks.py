"""Marking missed identifiers, and the labelled cases made from marks."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.reviews.identifier_marks import list_marks, read_labelled_cases
from fine_tune_assets.phi.measurement.recall import ALL, MASKED_RECALL, lowest_recall, measure_recall, read_gold
from fine_tune_assets.phi.missed_identifiers.marks import (
    CONTEXT_CHARACTERS,
    MarkError,
    build_labelled_case,
    find_term,
    mark_missed_identifier,
)
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.phi.scrub_workers import open_workers
from fine_tune_assets.recipes.schema import ScrubberSettings
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import PhiSpan, ScrubbedReport
from fine_tune_assets_tests.clinical_domain import VOCABULARY
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

KEY = secrets.token_bytes(32)
TEXT = "Ann Quill came with her brother zebrafinch on 03/14/2024. Zebrafinch waits; zebrafinches sing."
PLAIN = {"report_id": "b/1", "batch": "b", "source": "s", "subject_key": "p", "fingerprint": "x"}
SPANS = [("Ann Quill", "NAME"), ("03/14/2024", "DATE")]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """One report with two found identifiers and a missed name."""
    layout = Layout(tmp_path)
    report = {**PLAIN, "text": TEXT, "known_identifiers": [], "origin_file": "f"}
    scrubbed = TEXT
    spans = []
    for found, label in SPANS:
        start = TEXT.index(found)
        end = start + len(found)
        spans.append({"report_id": "b/1", "start": start, "end": end, "label": label, "recognizer": "r", "score": 1.0})
        scrubbed = scrubbed.replace(found, f"[{label}]")
    row = {**PLAIN, "text": scrubbed, "tagged_text": scrubbed, "span_count": 2, "scrubber_version": "v"}
    write_table(layout.table("reports", "b"), table_from_rows([report], Report.SCHEMA))
    write_table(layout.table("scrubbed_reports", "b"), table_from_rows([row], ScrubbedReport.SCHEMA))
    write_table(layout.table("phi_spans", "b"), table_from_rows(spans, PhiSpan.SCHEMA))
    return layout


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return fresh_ledger(f"sqlite:///{tmp_path / 'ledger' / 'ledger.db'}")


def _mark(ledger: Ledger, layout: Layout, **changes: Any) -> str:
    fields = {"report_id": "b/1", "kind": "NAME", "term": "zebrafinch", "marked_by": "expert-1"}
    return mark_missed_identifier(ledger, KEY, layout, VOCABULARY, **(fields | changes))


def _labelled(case: str) -> list[tuple[str, str]]:
    document = json.loads(case)
    return [(document["text"][span["start"] : span["end"]], span["label"]) for span in document["spans"]]


def test_mark_creates_a_case_with_the_term_and_the_identifiers_around_it(ledger: Ledger, layout: Layout) -> None:
    """Cases measure new rules, and reveal rules that lose what was found before."""
    _mark(ledger, layout)
    (mark,) = list_marks(ledger)
    assert (mark.report_id, mark.batch, mark.subject_key, mark.kind) == ("b/1", "b", "p", "NAME")
    (case,) = read_labelled_cases(ledger, KEY)
    assert _labelled(case) == [
        ("Ann Quill", "NAME"),
        ("zebrafinch", "NAME"),
        ("03/14/2024", "DATE"),
        ("Zebrafinch", "NAME"),
    ]


def test_repeated_mark_is_stored_once_despite_case_and_spaces(ledger: Ledger, layout: Layout) -> None:
    assert _mark(ledger, layout) == _mark(ledger, layout, term="  ZEBRAFINCH\n", marked_by="expert-2")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"term": "sparrowhawk"}, "b/1"),
        ({"term": "zebra"}, "b/1"),
        ({"term": " .\n"}, "b/1"),
        ({"kind": "SPECIES"}, "SPECIES"),
        ({"report_id": "b/2"}, "b/2"),
        ({"report_id": "../reports/b"}, r"\.\./reports/b"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_mark_is_rejected_without_repeating_the_term(
    ledger: Ledger, layout: Layout, changes: dict[str, str], named: str
) -> None:
    """An ineffective mark would withhold a report forever; an error that quotes the term would leak it."""
    with pytest.raises(MarkError, match=named) as caught:
        _mark(ledger, layout, **changes)
    term = changes.get("term", "zebrafinch").strip()
    assert len(term) < 2 or term not in str(caught.value)
    assert list_marks(ledger) == []


def test_mark_requires_a_reviewer_name(ledger: Ledger, layout: Layout) -> None:
    with pytest.raises(LedgerError):
        _mark(ledger, layout, marked_by=" ")


def test_case_of_a_changed_report_labels_only_the_term(ledger: Ledger, layout: Layout) -> None:
    """Offsets of another text would label arbitrary words as identifiers."""
    report = {**PLAIN, "text": f"New. {TEXT}", "known_identifiers": [], "origin_file": "f"}
    write_table(layout.table("reports", "b"), table_from_rows([report], Report.SCHEMA))
    _mark(ledger, layout)
    assert _labelled(read_labelled_cases(ledger, KEY)[0]) == [("zebrafinch", "NAME"), ("Zebrafinch", "NAME")]


def test_case_is_a_window_around_the_missed_occurrence() -> None:
    """The case must not store the whole report again, and must show the missed occurrence rather than the one already found."""
    text = f"Zebrafinch came. {'word ' * 100}Then zebrafinch went. {'word ' * 100}"
    places = find_term(text, "NAME", "zebrafinch", "b/1", VOCABULARY)
    assert len(places) == 2
    removed = PhiSpan(report_id="b/1", start=0, end=10, label="NAME", recognizer="r", score=1.0)
    case = build_labelled_case(text, "NAME", places, [removed])
    assert _labelled(case) == [("zebrafinch", "NAME")]
    window = json.loads(case)["text"]
    assert 2 * CONTEXT_CHARACTERS < len(window) < 2 * CONTEXT_CHARACTERS + 30
    assert set(window.split()) <= set(text.split())


def test_reviewer_marks_are_measured_but_excluded_from_the_floor(
    ledger: Ledger, layout: Layout, tmp_path: Path, settings: ScrubberSettings
) -> None:
    """A set that contains misses only would close the recall gate forever."""
    _mark(ledger, layout)
    marked, other = tmp_path / f"{REVIEWER_MARKS}.jsonl", tmp_path / "other.jsonl"
    missed = {"text": "She rests.", "spans": [{"start": 4, "end": 9, "label": "NAME"}]}
    marked.write_text("\n".join([*read_labelled_cases(ledger, KEY), json.dumps(missed)]))
    date = {"text": "On 03/14/2024.", "spans": [{"start": 3, "end": 13, "label": "DATE"}]}
    other.write_text(json.dumps(date))
    assert read_gold(marked)
    with open_workers(settings, 2) as workers:
        table = measure_recall([marked, other], workers, "v", ignore_progress)
    rows = [row for row in table.to_pylist() if row["measure"] == MASKED_RECALL]
    measured = {(row["labelled_set"], row["label"]): row["value"] for row in rows}
    assert measured[REVIEWER_MARKS, ALL] < 1
    assert measured[REVIEWER_MARKS, "DATE"] == 1
    assert lowest_recall(table) == measured["other", ALL] == 1
