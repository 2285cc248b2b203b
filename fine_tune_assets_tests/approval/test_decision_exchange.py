"""Export of decisions as JSONL, and import as proposals: who may be named, errors by line number, and idempotent imports."""

import json
from collections.abc import Sequence
from dataclasses import replace
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
from fine_tune_assets.ledger.people.users import disable_user
from fine_tune_assets.ledger.reviews.decision_records import list_decision_records, list_decisions
from fine_tune_assets.ledger.reviews.proposal_records import list_waiting
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets_tests.approval.examples import START, TWO
from fine_tune_assets_tests.approval.exchanged_decisions import (
    AUTHORS,
    BY_ID,
    CORRECTION,
    DRAFTS,
    NOW,
    REPORT,
    facts_of,
    line,
    people,
)
from fine_tune_assets_tests.cli.desk_users import add_user
from fine_tune_assets_tests.ledger.ledger_rows import record_decision

__all__ = ["people"]
PLANTED = "Zebrafinch"


def bring(ledger: Ledger, lines: Sequence[str]) -> ImportSummary:
    refresh_items(ledger, DRAFTS, "a-line", {}, TWO, AUTHORS, START)
    entries = list(parse_decision_lines(lines))
    return import_decisions(ledger, entries, BY_ID.get, by="Eve", authors=AUTHORS, now=NOW)


def state(ledger: Ledger, draft: DraftedExample = REPORT) -> str:
    found = find_item(ledger, draft.example_id)
    assert found is not None
    return found.state


def test_an_imported_decision_is_only_a_proposal_and_known_the_second_time(ledger: Ledger) -> None:
    """A name in a file proves nothing. The file is imported again with additions; only those are new."""
    ann, ben = line("t-1", "Ann", output="Ice."), line("t-2", "Ben", "reject", reason_code="style")
    assert bring(ledger, [ann]) == ImportSummary(1, 0, ())
    assert bring(ledger, [ann, "", ben]) == ImportSummary(1, 1, ())
    cleo = line("t-3", "Cleo", output="Ice.", role="adjudicate")
    assert bring(ledger, [ann, ben, cleo]) == ImportSummary(1, 2, ())
    assert (state(ledger), list_decisions(ledger)) == ("waiting", [])
    assert [(p.proposed.reviewer, p.proposed.output) for p in list_waiting(ledger)] == [
        ("Ann", "Ice."), ("Ben", None), ("Cleo", "Ice."),
    ]  # fmt: skip
    imported = [entry for entry in audit.list_entries(ledger) if entry.action == "imported a proposal"]
    assert [entry.actor for entry in imported] == ["Eve"] * 3


@pytest.mark.parametrize(
    ("reviewer", "role", "reason"),
    [
        ("Nobody Known", "review", "not a user"),
        ("Ursula", "review", "role reviewer"),
        ("Ann", "adjudicate", "approver"),
        ("Cleo", "review", "role reviewer"),
        ("Gone", "review", "not a user"),
    ],
)
def test_a_name_without_a_user_or_without_the_role_is_refused(
    ledger: Ledger, reviewer: str, role: str, reason: str
) -> None:
    """Both were accepted before, without a password."""
    add_user(ledger, "Gone", "reviewer")
    disable_user(ledger, "Gone", now=NOW)
    summary = bring(ledger, [line("t-1", reviewer, role=role), line("t-2", "Ben")])
    (fault,) = summary.issues
    assert (fault.location, reason in fault.reason, summary.proposed) == ("line 1", True, 1)
    refused = [entry for entry in audit.list_entries(ledger) if entry.action == "was refused imported lines"]
    assert [entry.actor for entry in refused] == ["Eve"]


def test_an_example_that_is_decided_already_is_refused(ledger: Ledger) -> None:
    """A line of a file must not take part in what was decided with a signature."""
    record_decision(ledger, reviewer="Ann", **facts_of(REPORT))
    record_decision(ledger, reviewer="Cleo", **facts_of(REPORT))
    (fault,) = bring(ledger, [line("t-1", "Ben", "reject", reason_code="style")]).issues
    assert "already approved" in fault.reason


def test_reimporting_an_export_adds_nothing(ledger: Ledger) -> None:
    """The decisions of this installation are known by their ids."""
    record_decision(ledger, reviewer="Ann", approved_fingerprint=REPORT.fingerprint, **facts_of(REPORT))
    exported = [json.dumps(export_decision(record)) for record in list_decision_records(ledger)]
    assert bring(ledger, exported) == ImportSummary(0, 1, ())
    first = json.loads(exported[0])
    assert (first["reviewer"], first["approved_fingerprint"], first["output"]) == ("Ann", REPORT.fingerprint, None)


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
def test_proposal_changed_after_its_import_is_reported(ledger: Ledger, changes: dict[str, Any]) -> None:
    """If it were skipped as known, the old text would be trained on and the new one lost."""
    assert bring(ledger, [line("t-1", "Ann", output="Ice.")]).proposed == 1
    assert bring(ledger, [line("t-1", "ANN", output="Ice.\r\n")]) == ImportSummary(0, 1, ())
    changed = {"reviewer": "Ann", "output": "Ice.", **changes}
    (fault,) = bring(ledger, [line("t-1", changed.pop("reviewer"), **changed)]).issues
    assert "different decision" in fault.reason


@pytest.mark.parametrize("draft_is_there", [True, False])
def test_line_with_the_same_signature_is_known(ledger: Ledger, draft_is_there: bool) -> None:
    """Reimporting an export after its draft changed must neither conflict nor count twice."""
    repaired = content_fingerprint(REPORT.instruction, REPORT.input, "Ice.")
    signature = {"output": "Ice.", "approved_fingerprint": repaired, "meaning": MEANINGS["approve_repaired"]}
    assert bring(ledger, [line("t-1", "Ann", **signature)]).proposed == 1
    find = BY_ID.get if draft_is_there else {}.get
    entries = [
        *parse_decision_lines(
            [line("t-1", "Ann", **signature), line("t-1", "Ann", **signature | {"meaning": "reject"})]
        )
    ]
    report = import_decisions(ledger, entries, find, by="Eve", authors=AUTHORS, now=NOW)
    assert (report.proposed, report.already_known, [fault.location for fault in report.issues]) == (0, 1, ["line 2"])


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
    assert list_waiting(ledger) == []


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
        line("t-15", "Ben", output="\ud800"),
        line("t-16", "Ben", reason="\0"),
        line("t-17", "Ben", output="x" * 100_001),
        "[" * 100_000,
        "",
    ]
    report = bring(ledger, lines)
    assert report.proposed == 2
    assert sorted(int(fault.location.removeprefix("line ")) for fault in report.issues) == [
        *range(2, 17),
        *range(18, 22),
    ]
    assert state(ledger) == "waiting"
    assert PLANTED not in repr(report.issues)
    expected = {2: "JSON", 4: "reviewer", 9: "decided_at", 10: "gone", 11: REPORT.example_id}
    expected |= {12: "Ward-Key", 13: "Ann", 15: "different decision"}
    reasons = {int(fault.location.removeprefix("line ")): fault.reason for fault in report.issues}
    assert [number for number, words in expected.items() if words not in reasons[number]] == []


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
    """The audit log names who brought the file."""
    with pytest.raises(ReviewError):
        import_decisions(ledger, [], BY_ID.get, by=" ", authors=AUTHORS, now=NOW)
