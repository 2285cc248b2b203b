"""Decisions out and in as JSONL: the same rules as a click, bad lines by number, and twice is once."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.approval.exchange import Entry, Fault, ImportReport, import_decisions, line_of, read_lines
from fine_tune_assets.approval.review_actions import refresh_items
from fine_tune_assets.approval.signatures import MEANINGS, ReviewError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.ledger.reviews.reviews import list_decisions, list_records
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import DraftedExample
from fine_tune_assets_tests.approval.examples import ONE, START, TWO, drafted, drafts

DRAFTS = drafts(source="elsewhere", authors=("ward-key",))
BY_ID = {draft.example_id: draft for draft in drafted(DRAFTS)}
(CORRECTION,) = [draft for draft in BY_ID.values() if draft.source == "correction"]
(REPORT,) = [draft for draft in BY_ID.values() if draft.source != "correction"]
AUTHORS = {"correction/c1": "ward-key"}
NOW = START + timedelta(days=1)
PLANTED = "Zebrafinch"


def line(name: str, reviewer: str, decision: str = "approve", draft: DraftedExample = REPORT, **more: Any) -> str:
    value = {"id": name, "example_id": draft.example_id, "fingerprint": draft.fingerprint}
    return json.dumps({**value, "reviewer": reviewer, "decision": decision, **more})


def bring(ledger: Ledger, lines: Sequence[str], rules: ReviewSettings = TWO) -> ImportReport:
    refresh_items(ledger, DRAFTS, "a-line", {}, rules, AUTHORS, START)
    entries = list(read_lines(lines))
    return import_decisions(ledger, entries, BY_ID.get, by="Eve", rules=rules, authors=AUTHORS, now=NOW)


def state(ledger: Ledger, draft: DraftedExample = REPORT) -> str:
    found = find_item(ledger, draft.example_id)
    assert found is not None
    return found.state


def test_decisions_of_another_tool_count_like_clicks_and_only_once(ledger: Ledger) -> None:
    """The file is brought again with what was added: only that is new."""
    ann, ben = line("t-1", "Ann", output="Ice."), line("t-2", "Ben", "reject", reason_code="style")
    assert bring(ledger, [ann]) == ImportReport(1, 0, ())
    assert bring(ledger, [ann, "", ben]) == ImportReport(1, 1, ())
    assert state(ledger) == "disagreement"
    cleo = line("t-3", "Cleo", output="Ice.", role="adjudicate")
    assert bring(ledger, [ann, ben, cleo]) == ImportReport(1, 2, ())
    assert (state(ledger), len(list_decisions(ledger))) == ("approved", 3)
    imported = [entry for entry in audit.lines(ledger) if entry.what == "imported a decision"]
    assert [entry.who for entry in imported] == ["Eve"] * 3


def test_what_was_exported_and_is_imported_again_adds_nothing(ledger: Ledger) -> None:
    """And into another installation it brings the same decisions at the same times."""
    bring(ledger, [line("t-1", "Ann", decided_at="2026-01-01T09:00:00+01:00"), line("t-2", "Ben")])
    exported = [json.dumps(line_of(record)) for record in list_records(ledger)]
    assert bring(ledger, exported) == ImportReport(0, 2, ())
    first = json.loads(exported[0])
    assert (first["reviewer"], first["decided_at"]) == ("Ann", "2026-01-01T08:00:00+00:00")
    assert (first["approved_fingerprint"], first["output"]) == (REPORT.fingerprint, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"output": "Heat."},
        {"output": None},
        {"reviewer": "Ben"},
        {"approved_fingerprint": "of another text"},
        {"approved_fingerprint": None},
        {"meaning": "approve"},
        {"meaning": "I saw it."},
    ],
)
def test_a_decision_that_was_changed_elsewhere_after_its_import_is_named(
    ledger: Ledger, changes: dict[str, Any]
) -> None:
    """Passed over as known, the old text would be trained on and the new one be lost."""
    assert bring(ledger, [line("t-1", "Ann", output="Ice.")]).recorded == 1
    assert bring(ledger, [line("t-1", "ANN", output="Ice.\r\n")]) == ImportReport(0, 1, ())
    changed = {"reviewer": "Ann", "output": "Ice.", **changes}
    (fault,) = bring(ledger, [line("t-1", changed.pop("reviewer"), **changed)]).faults
    assert "another decision here" in fault.reason


@pytest.mark.parametrize("draft_is_there", [True, False])
def test_a_line_that_says_the_same_signature_is_known(ledger: Ledger, draft_is_there: bool) -> None:
    """An export that is brought back after its draft was made anew must neither conflict nor count twice."""
    repaired = content_fingerprint(REPORT.instruction, REPORT.input, "Ice.")
    signature = {"output": "Ice.", "approved_fingerprint": repaired, "meaning": MEANINGS["approve_repaired"]}
    assert bring(ledger, [line("t-1", "Ann", **signature)]).recorded == 1
    find = BY_ID.get if draft_is_there else {}.get
    entries = [*read_lines([line("t-1", "Ann", **signature), line("t-1", "Ann", **signature | {"meaning": "reject"})])]
    report = import_decisions(ledger, entries, find, by="Eve", rules=TWO, authors=AUTHORS, now=NOW)
    assert (report.recorded, report.known, [fault.place for fault in report.faults]) == (0, 1, ["line 2"])


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        ({"approved_fingerprint": "of another text"}, "signed for another text"),
        ({"meaning": "reject"}, "not what this decision declares"),
        ({"output": "Ice.", "approved_fingerprint": None}, "never signed"),
        ({"approved_fingerprint": 7}, "is no text"),
    ],
)
def test_a_line_whose_signature_is_not_under_what_it_says_is_not_recorded(
    ledger: Ledger, signature: dict[str, Any], why: str
) -> None:
    """To sign it anew by importing it would put words into the mouth of its reviewer."""
    (fault,) = bring(ledger, [line("t-1", "Ann", **signature)]).faults
    assert why in fault.reason
    assert list_decisions(ledger) == []


def test_bad_lines_are_named_by_number_and_the_good_ones_are_recorded(ledger: Ledger) -> None:
    """A file of a thousand lines with one slip must not be lost, nor the slip."""
    lines = [
        line("t-1", "Ann"),
        "{",
        "[]",
        line("t-2", ""),
        line("t-3", "Ben", "maybe"),
        line("t-4", "Ben", output=7),
        line("t-5", "Ben", decided_at="yesterday"),
        line("t-6", "Ben", decided_at="2026-01-01T09:00:00"),
        line("t-7", "Ben", decided_at="2036-01-01T09:00:00Z"),
        line("t-8", "Ben", draft=replace(REPORT, example_id="gone")),
        line("t-9", "Ben", draft=replace(REPORT, fingerprint="of another text")),
        line("t-10", "Ward-Key", draft=CORRECTION),
        line("t-11", "ann"),
        line("t-12", "Ben", role="judge"),
        line("t-1", "Ann", "reject", reason_code="style"),
        line("t-13", "Ben", "reject", reason_code=PLANTED, reason=PLANTED),
        line("t-14", "Ben"),
    ]
    report = bring(ledger, lines)
    assert report.recorded == 2
    assert sorted(int(fault.place.removeprefix("line ")) for fault in report.faults) == list(range(2, 17))
    assert state(ledger) == "approved"
    assert PLANTED not in repr(report.faults)
    wanted = {2: "no JSON object", 4: "no reviewer", 9: "in the future", 10: "no draft", 11: "another content"}
    wanted |= {12: "wrote the correction", 13: "Another person", 15: "another decision here"}
    reasons = {int(fault.place.removeprefix("line ")): fault.reason for fault in report.faults}
    assert [number for number, words in wanted.items() if words not in reasons[number]] == []


def test_a_ruling_may_stand_before_what_it_settles(ledger: Ledger) -> None:
    """A tool exports in its own order: the times say what came first."""
    times = {number: f"2026-01-01T0{number}:00:00Z" for number in (1, 2, 3)}
    lines = [
        line("t-3", "Cleo", "reject", role="adjudicate", reason_code="unsafe", decided_at=times[3]),
        line("t-2", "Ben", "reject", reason_code="unsafe", decided_at=times[2]),
        line("t-1", "Ann", decided_at=times[1]),
    ]
    assert bring(ledger, lines).faults == ()
    assert state(ledger) == "rejected"


def test_a_line_that_was_revoked_where_it_comes_from_is_passed_over() -> None:
    """It says what nobody stands for any more."""
    assert list(read_lines([line("t-1", "Ann", revoked_at="2026-01-01T01:00:00Z")])) == []


def test_a_line_needs_each_of_its_names() -> None:
    """Said by name, and never quoting a value."""
    for name in ("id", "example_id", "fingerprint", "decision", "reviewer"):
        value = {**json.loads(line("t-1", "Ann")), name: None}
        (fault,) = read_lines([json.dumps(value)])
        assert fault == Fault("line 1", f"it has no {name}")
    (entry,) = read_lines([line("t-1", "Ann")])
    assert isinstance(entry, Entry)


def test_an_import_names_who_brings_it(ledger: Ledger) -> None:
    """Whoever imports vouches for the names in the file."""
    with pytest.raises(ReviewError, match="who imports"):
        import_decisions(ledger, [], BY_ID.get, by=" ", rules=ONE, authors=AUTHORS, now=NOW)
