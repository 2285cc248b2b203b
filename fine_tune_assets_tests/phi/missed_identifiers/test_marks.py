"""What a reviewer can mark, and the labelled case that is made of it."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.progress import silent
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.reviews.missed_identifiers import labelled_cases, list_marks
from fine_tune_assets.phi.measurement.recall import ALL, RECALL, measure_recall, overall_recall, read_gold
from fine_tune_assets.phi.missed_identifiers.marks import WINDOW, MarkError, find_term, labelled_case, mark_missed
from fine_tune_assets.phi.missed_identifiers.terms import MARKED_BY_REVIEWERS
from fine_tune_assets.phi.workers import open_workers
from fine_tune_assets.recipes.schema import ScrubSettings
from fine_tune_assets.tables.phi import PhiSpan, ScrubbedReport
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.reports import Report
from fine_tune_assets_tests.ledger.fresh import fresh_ledger

KEY = secrets.token_bytes(32)
TEXT = "Ann Quill came with her brother zebrafinch on 03/14/2024. Zebrafinch waits; zebrafinches sing."
PLAIN = {"report_id": "b/1", "batch": "b", "source": "s", "patient_key": "p", "fingerprint": "x"}
SPANS = [("Ann Quill", "NAME"), ("03/14/2024", "DATE")]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """One report with two identifiers that were found, and a name that was missed."""
    layout = Layout(tmp_path)
    report = {**PLAIN, "text": TEXT, "known_identifiers": [], "origin_file": "f"}
    scrubbed = TEXT
    spans = []
    for found, label in SPANS:
        start = TEXT.index(found)
        end = start + len(found)
        spans.append({"report_id": "b/1", "start": start, "end": end, "label": label, "rule": "r", "score": 1.0})
        scrubbed = scrubbed.replace(found, f"[{label}]")
    row = {**PLAIN, "text": scrubbed, "tagged_text": scrubbed, "span_count": 2, "scrubber_version": "v"}
    write_table(layout.table("reports", "b"), table_of([report], Report.SCHEMA))
    write_table(layout.table("scrubbed_reports", "b"), table_of([row], ScrubbedReport.SCHEMA))
    write_table(layout.table("phi_spans", "b"), table_of(spans, PhiSpan.SCHEMA))
    return layout


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return fresh_ledger(f"sqlite:///{tmp_path / 'ledger' / 'ledger.db'}")


def _mark(ledger: Ledger, layout: Layout, **changes: Any) -> str:
    fields = {"report_id": "b/1", "kind": "NAME", "term": "zebrafinch", "marked_by": "expert-1"}
    return mark_missed(ledger, KEY, layout, **(fields | changes))


def _labelled(case: str) -> list[tuple[str, str]]:
    document = json.loads(case)
    return [(document["text"][span["start"] : span["end"]], span["label"]) for span in document["spans"]]


def test_a_mark_makes_a_case_of_the_term_and_of_what_the_scrubber_removes_beside_it(
    ledger: Ledger, layout: Layout
) -> None:
    """A better rule is measured on it, and one that loses what was found before is seen too."""
    _mark(ledger, layout)
    (mark,) = list_marks(ledger)
    assert (mark.report_id, mark.batch, mark.patient_key, mark.kind) == ("b/1", "b", "p", "NAME")
    (case,) = labelled_cases(ledger, KEY)
    assert _labelled(case) == [
        ("Ann Quill", "NAME"),
        ("zebrafinch", "NAME"),
        ("03/14/2024", "DATE"),
        ("Zebrafinch", "NAME"),
    ]


def test_the_same_mark_twice_is_one_however_it_is_typed(ledger: Ledger, layout: Layout) -> None:
    assert _mark(ledger, layout) == _mark(ledger, layout, term="  ZEBRAFINCH\n", marked_by="expert-2")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"term": "sparrowhawk"}, "does not hold that term"),
        ({"term": "zebra"}, "only inside of longer words"),
        ({"term": " .\n"}, "neither a letter nor a digit"),
        ({"kind": "SPECIES"}, "must be one of ACCOUNT, AGE"),
        ({"report_id": "b/2"}, "There is no report b/2"),
        ({"report_id": "../reports/b"}, r"There is no report \.\./"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_can_not_be_marked_is_refused_without_the_term(
    ledger: Ledger, layout: Layout, changes: dict[str, str], said: str
) -> None:
    """A mark that removes nothing would hold back a report for ever; a message that quotes it would leak it."""
    with pytest.raises(MarkError, match=said) as caught:
        _mark(ledger, layout, **changes)
    term = changes.get("term", "zebrafinch").strip()
    assert len(term) < 2 or term not in str(caught.value)
    assert list_marks(ledger) == []


def test_nobody_marks_without_a_name(ledger: Ledger, layout: Layout) -> None:
    with pytest.raises(LedgerError, match="name"):
        _mark(ledger, layout, marked_by=" ")


def test_the_case_of_a_report_that_changed_since_holds_the_term_alone(ledger: Ledger, layout: Layout) -> None:
    """Offsets of another text would label arbitrary words as identifiers."""
    report = {**PLAIN, "text": f"New. {TEXT}", "known_identifiers": [], "origin_file": "f"}
    write_table(layout.table("reports", "b"), table_of([report], Report.SCHEMA))
    _mark(ledger, layout)
    assert _labelled(labelled_cases(ledger, KEY)[0]) == [("zebrafinch", "NAME"), ("Zebrafinch", "NAME")]


def test_a_case_is_a_window_around_the_place_that_was_missed() -> None:
    """No whole report is kept a second time; and the place that the scrubber found already is not the one that counts."""
    text = f"Zebrafinch came. {'word ' * 100}Then zebrafinch went. {'word ' * 100}"
    places = find_term(text, "NAME", "zebrafinch", "b/1")
    assert len(places) == 2
    case = labelled_case(text, "NAME", places, [{"start": 0, "end": 10, "label": "NAME"}])
    assert _labelled(case) == [("zebrafinch", "NAME")]
    kept = json.loads(case)["text"]
    assert 2 * WINDOW < len(kept) < 2 * WINDOW + 30
    assert set(kept.split()) <= set(text.split())


def test_marks_are_measured_without_their_terms_and_count_in_no_floor(
    ledger: Ledger, layout: Layout, tmp_path: Path, settings: ScrubSettings
) -> None:
    """A set that is made of misses only would close the gate for ever."""
    _mark(ledger, layout)
    marked, other = tmp_path / f"{MARKED_BY_REVIEWERS}.jsonl", tmp_path / "other.jsonl"
    missed = {"text": "She rests.", "spans": [{"start": 4, "end": 9, "label": "NAME"}]}
    marked.write_text("\n".join([*labelled_cases(ledger, KEY), json.dumps(missed)]))
    date = {"text": "On 03/14/2024.", "spans": [{"start": 3, "end": 13, "label": "DATE"}]}
    other.write_text(json.dumps(date))
    assert read_gold(marked)
    with open_workers(settings, 2) as workers:
        table = measure_recall([marked, other], workers, "v", silent)
    rows = [row for row in table.to_pylist() if row["measure"] == RECALL]
    measured = {(row["labelled_set"], row["label"]): row["value"] for row in rows}
    assert measured[MARKED_BY_REVIEWERS, ALL] < 1
    assert measured[MARKED_BY_REVIEWERS, "DATE"] == 1
    assert overall_recall(table) == measured["other", ALL] == 1
