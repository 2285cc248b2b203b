"""Export and import of decisions as JSONL: the desk's rules, errors by line number, and idempotent imports."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fine_tune_assets.approval.decision_exchange import (
    ImportedDecision,
    ImportIssue,
    ImportSummary,
    export_decision,
    import_decisions,
    parse_decision_lines,
)
from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.approval.review_actions import refresh_items
from fine_tune_assets.approval.sign_off import MEANINGS, ReviewError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.decision_records import list_decision_records, list_decisions
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample
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


def bring(ledger: Ledger, lines: Sequence[str], rules: ReviewSettings = TWO) -> ImportSummary:
    refresh_items(ledger, DRAFTS, "a-line", {}, rules, AUTHORS, START)
    entries = list(parse_decision_lines(lines))
    return import_decisions(ledger, entries, BY_ID.get, by="Eve", rules=rules, authors=AUTHORS, now=NOW)


def state(ledger: Ledger, draft: DraftedExample = REPORT) -> str:
    found = find_item(ledger, draft.example_id)
    assert found is not None
    return found.state


def test_decisions_of_another_tool_count_like_decisions_at_the_desk_and_only_once(ledger: Ledger) -> None:
    """The file is imported again with additions; only those are new."""
    ann, ben = line("t-1", "Ann", output="Ice."), line("t-2", "Ben", "reject", reason_code="style")
    assert bring(ledger, [ann]) == ImportSummary(1, 0, ())
    assert bring(ledger, [ann, "", ben]) == ImportSummary(1, 1, ())
    assert state(ledger) == "disagreement"
    cleo = line("t-3", "Cleo", output="Ice.", role="adjudicate")
    assert bring(ledger, [ann, ben, cleo]) == ImportSummary(1, 2, ())
    assert (state(ledger), len(list_decisions(ledger))) == ("approved", 3)
    imported = [entry for entry in audit.list_entries(ledger) if entry.action == "imported a decision"]
    assert [entry.actor for entry in imported] == ["Eve"] * 3


def test_reimporting_an_export_adds_nothing(ledger: Ledger) -> None:
    """Another installation gets the same decisions with the same times."""
    bring(ledger, [line("t-1", "Ann", decided_at="2026-01-01T09:00:00+01:00"), line("t-2", "Ben")])
    exported = [json.dumps(export_decision(record)) for record in list_decision_records(ledger)]
    assert bring(ledger, exported) == ImportSummary(0, 2, ())
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
def test_decision_changed_after_its_import_is_reported(ledger: Ledger, changes: dict[str, Any]) -> None:
    """If it were skipped as known, the old text would be trained on and the new one lost."""
    assert bring(ledger, [line("t-1", "Ann", output="Ice.")]).recorded == 1
    assert bring(ledger, [line("t-1", "ANN", output="Ice.\r\n")]) == ImportSummary(0, 1, ())
    changed = {"reviewer": "Ann", "output": "Ice.", **changes}
    (fault,) = bring(ledger, [line("t-1", changed.pop("reviewer"), **changed)]).issues
    assert "different decision" in fault.reason


@pytest.mark.parametrize("draft_is_there", [True, False])
def test_line_with_the_same_signature_is_known(ledger: Ledger, draft_is_there: bool) -> None:
    """Reimporting an export after its draft changed must neither conflict nor count twice."""
    repaired = content_fingerprint(REPORT.instruction, REPORT.input, "Ice.")
    signature = {"output": "Ice.", "approved_fingerprint": repaired, "meaning": MEANINGS["approve_repaired"]}
    assert bring(ledger, [line("t-1", "Ann", **signature)]).recorded == 1
    find = BY_ID.get if draft_is_there else {}.get
    entries = [
        *parse_decision_lines(
            [line("t-1", "Ann", **signature), line("t-1", "Ann", **signature | {"meaning": "reject"})]
        )
    ]
    report = import_decisions(ledger, entries, find, by="Eve", rules=TWO, authors=AUTHORS, now=NOW)
    assert (report.recorded, report.already_recorded, [fault.location for fault in report.issues]) == (0, 1, ["line 2"])


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        ({"approved_fingerprint": "of another text"}, "signed text differs"),
        ({"meaning": "reject"}, "signed meaning"),
        ({"output": "Ice.", "approved_fingerprint": None}, "never signed"),
        ({"approved_fingerprint": 7}, "approved_fingerprint"),
    ],
)
def test_line_with_a_mismatched_signature_is_not_recorded(ledger: Ledger, signature: dict[str, Any], why: str) -> None:
    """Signing it again on import would falsify the reviewer's statement."""
    (fault,) = bring(ledger, [line("t-1", "Ann", **signature)]).issues
    assert why in fault.reason
    assert list_decisions(ledger) == []


def test_bad_lines_are_reported_by_number_and_good_ones_recorded(ledger: Ledger) -> None:
    """One bad line must neither be lost nor reject a file of a thousand lines."""
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
    assert sorted(int(fault.location.removeprefix("line ")) for fault in report.issues) == list(range(2, 17))
    assert state(ledger) == "approved"
    assert PLANTED not in repr(report.issues)
    expected = {2: "JSON", 4: "reviewer", 9: "decided_at", 10: "gone", 11: REPORT.example_id}
    expected |= {12: "Ward-Key", 13: "ann", 15: "different decision"}
    reasons = {int(fault.location.removeprefix("line ")): fault.reason for fault in report.issues}
    assert [number for number, words in expected.items() if words not in reasons[number]] == []


def test_adjudication_may_precede_the_decisions_it_resolves(ledger: Ledger) -> None:
    """Tools export in any order; the times determine the sequence."""
    times = {number: f"2026-01-01T0{number}:00:00Z" for number in (1, 2, 3)}
    lines = [
        line("t-3", "Cleo", "reject", role="adjudicate", reason_code="unsafe", decided_at=times[3]),
        line("t-2", "Ben", "reject", reason_code="unsafe", decided_at=times[2]),
        line("t-1", "Ann", decided_at=times[1]),
    ]
    assert bring(ledger, lines).issues == ()
    assert state(ledger) == "rejected"


def test_line_revoked_at_its_origin_is_skipped() -> None:
    """It is no longer anyone's decision."""
    assert list(parse_decision_lines([line("t-1", "Ann", revoked_at="2026-01-01T01:00:00Z")])) == []


def test_missing_field_is_named_without_quoting_values() -> None:
    """Each required field is checked."""
    for name in ("id", "example_id", "fingerprint", "decision", "reviewer"):
        value = {**json.loads(line("t-1", "Ann")), name: None}
        (fault,) = parse_decision_lines([json.dumps(value)])
        assert fault == ImportIssue("line 1", f"{name} is missing")
    (entry,) = parse_decision_lines([line("t-1", "Ann")])
    assert isinstance(entry, ImportedDecision)


def test_import_needs_the_name_of_the_importer(ledger: Ledger) -> None:
    """The importer vouches for the names in the file."""
    with pytest.raises(ReviewError):
        import_decisions(ledger, [], BY_ID.get, by=" ", rules=ONE, authors=AUTHORS, now=NOW)
