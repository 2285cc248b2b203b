"""Decisions on both databases: permissions, records, concurrent changes, and consistency of queue and gate."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.approval.review_actions import refresh_items, revoke, submit_decision
from fine_tune_assets.approval.review_history import find_output_to_review, is_blind_review, list_history
from fine_tune_assets.approval.sign_off import (
    MEANINGS,
    DecisionSubmission,
    NotAllowedError,
    ReviewError,
    Role,
    StaleItemError,
)
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.decision_records import (
    decisions_fingerprint,
    list_decision_records,
    list_decisions,
)
from fine_tune_assets.ledger.reviews.review_items import AssignedError, claim_item, find_item, find_next_item
from fine_tune_assets.ledger.reviews.review_rows import QueueFilter, ReviewItem
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets_tests.approval.examples import ONE, START, TRUSTED, TWO, drafted, drafts

DRAFTS = drafts(source="elsewhere", authors=("ward-key",))
(CORRECTION,) = [draft for draft in drafted(DRAFTS) if draft.source == "correction"]
(REPORT,) = [draft for draft in drafted(DRAFTS) if draft.source != "correction"]
AUTHORS = {"correction/c1": "ward-key"}
EDITS_BY_TWO = replace(ONE, own_edits="second_person")
PLANTED = "Zebrafinch"


def refresh(
    ledger: Ledger, drafted: pa.Table = DRAFTS, trusted: Mapping[str, str] | None = None, rules: ReviewSettings = TWO
) -> None:
    refresh_items(ledger, drafted, "a-line", trusted or {}, rules, AUTHORS, START)


def item_of(ledger: Ledger, draft: DraftedExample = REPORT) -> ReviewItem:
    found = find_item(ledger, draft.example_id)
    assert found is not None
    return found


def say(
    ledger: Ledger,
    who: str,
    what: str = "approve",
    *,
    role: Role = "review",
    draft: DraftedExample = REPORT,
    minute: int = 0,
    rules: ReviewSettings = TWO,
    **changes: Any,
) -> ReviewItem:
    around = {
        "version": item_of(ledger, draft).version,
        "author": AUTHORS.get(draft.report_id),
        "now": START + timedelta(minutes=minute),
    }
    around |= {name: changes.pop(name) for name in around if name in changes}
    word = DecisionSubmission(who, role, what, None, "unsupported" if what == "reject" else "", "", "")
    return submit_decision(ledger, draft, replace(word, **changes), rules=rules, **around)


def states_match(ledger: Ledger, rules: ReviewSettings, trusted: Mapping[str, str] | None = None) -> None:
    """Assert that the queue shows what the gate decides from the same ledger."""
    approval = approve_examples(DRAFTS, list_decisions(ledger), trusted or {}, rules, AUTHORS)
    shown = {draft.example_id: item_of(ledger, draft).state for draft in drafted(DRAFTS)}
    approved = {key for key, state in shown.items() if state in ("approved", "trusted")}
    assert approved == set(approval.approved.column("example_id").to_pylist())
    before = [item_of(ledger, draft) for draft in drafted(DRAFTS)]
    refresh(ledger, trusted=trusted, rules=rules)
    assert [item_of(ledger, draft) for draft in drafted(DRAFTS)] == before


def test_two_approvals_and_their_signatures_are_recorded(ledger: Ledger) -> None:
    """Who, when, the fingerprint of the approved text, and the meaning of the signature."""
    refresh(ledger)
    assert say(ledger, "Ann").state == "second_review"
    states_match(ledger, TWO)
    assert say(ledger, "Ben", minute=1).state == "approved"
    states_match(ledger, TWO)
    first, second = list_decisions(ledger)
    assert (first.reviewer, second.reviewer) == ("Ann", "Ben")
    assert first.approved_fingerprint == second.approved_fingerprint == REPORT.fingerprint
    assert (first.meaning, second.decided_at) == (MEANINGS["approve"], START + timedelta(minutes=1))
    assert [line.action for line in audit.list_entries(ledger)] == ["decided approve", "decided approve"]


def test_repair_is_signed_with_its_own_fingerprint(ledger: Ledger) -> None:
    """The draft's fingerprint would sign a text that no one approved."""
    refresh(ledger)
    say(ledger, "Ann", output="Ice.\r\nHeat. ")
    (made,) = list_decisions(ledger)
    assert made.output == "Ice.\nHeat."
    assert made.approved_fingerprint == content_fingerprint(REPORT.instruction, REPORT.input, "Ice.\nHeat.")
    assert made.meaning == MEANINGS["approve_repaired"]


def test_output_equal_to_the_drafts_is_not_a_repair(ledger: Ledger) -> None:
    """A form sends the text even if it is unchanged."""
    refresh(ledger)
    say(ledger, "Ann", output=REPORT.output + "\r\n")
    (made,) = list_decisions(ledger)
    assert (made.output, made.meaning) == (None, MEANINGS["approve"])


def test_only_a_third_person_can_adjudicate_a_disagreement(ledger: Ledger) -> None:
    """Neither of the two reviewers, and no one before there is a disagreement."""
    refresh(ledger)
    with pytest.raises(NotAllowedError, match=REPORT.example_id):
        say(ledger, "Cleo", role="adjudicate")
    say(ledger, "Ann", output="Ice.")
    assert say(ledger, "Ben", "reject", minute=1).state == "disagreement"
    for who in ("Ann", " BEN "):
        with pytest.raises(NotAllowedError, match=r"(?i)ann|ben"):
            say(ledger, who, role="adjudicate", minute=2)
    with pytest.raises(NotAllowedError, match=REPORT.example_id):
        say(ledger, "Cleo", minute=2)
    with pytest.raises(NotAllowedError, match=REPORT.example_id):
        say(ledger, "Cleo", role="adjudicate", minute=2, output="Heat.")
    assert say(ledger, "Cleo", role="adjudicate", minute=2, output="Ice.").state == "approved"
    states_match(ledger, TWO)
    assert list_decisions(ledger)[-1].meaning == MEANINGS["adjudicate_approve"]
    assert audit.list_entries(ledger)[-1].action == "adjudicated approve"


def test_one_person_cannot_give_both_reviews(ledger: Ledger) -> None:
    """Under any spelling of the name."""
    refresh(ledger)
    say(ledger, "Ann Lee")
    with pytest.raises(NotAllowedError, match="ann  lee"):
        say(ledger, "ann  lee", "reject")
    assert len(list_decisions(ledger)) == 1


@pytest.mark.parametrize("author", ["ward-key", None])
def test_authors_cannot_decide_on_their_own_corrections(ledger: Ledger, author: str | None) -> None:
    """Even if the caller omits the author: the queue stores it too."""
    refresh(ledger)
    with pytest.raises(NotAllowedError, match="Ward-Key"):
        say(ledger, "Ward-Key", draft=CORRECTION, author=author)
    assert say(ledger, "Ann", draft=CORRECTION, author=author).state == "second_review"


def test_correction_of_an_unknown_author_cannot_be_decided(ledger: Ledger) -> None:
    """The reviewer might be the author."""
    refresh_items(ledger, DRAFTS, "a-line", {}, TWO, {}, START)
    with pytest.raises(NotAllowedError, match=CORRECTION.example_id):
        say(ledger, "Ann", draft=CORRECTION, author=None)


def test_decision_on_a_changed_item_is_refused(ledger: Ledger) -> None:
    """The second of two people learns when, but not what was decided and by whom: a second review may be blind."""
    refresh(ledger)
    opened = item_of(ledger).version
    say(ledger, "Ann", "reject", minute=5)
    with pytest.raises(StaleItemError, match="2026-01-01 00:05 UTC") as refused:
        say(ledger, "Ben", version=opened, minute=6)
    assert "reject" not in str(refused.value)
    assert "Ann" not in str(refused.value)
    assert len(list_decisions(ledger)) == 1
    draft = replace(REPORT, fingerprint="of another text")
    with pytest.raises(StaleItemError):
        say(ledger, "Ben", draft=draft)


def test_one_of_two_simultaneous_decisions_wins(ledger: Ledger) -> None:
    """The other reviewer gets an error, and nothing is recorded partially."""
    refresh(ledger, rules=ONE)
    version, start, outcomes = item_of(ledger).version, threading.Barrier(2), []

    def click(who: str, what: str) -> None:
        start.wait()
        try:
            outcomes.append(say(ledger, who, what, version=version, rules=ONE).state)
        except FineTuneError as error:
            outcomes.append(type(error).__name__)

    clicks = [threading.Thread(target=click, args=pair) for pair in (("Ann", "approve"), ("Ben", "reject"))]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    (made,) = list_decisions(ledger)
    assert sorted(outcomes) == sorted(["StaleItemError", "approved" if made.decision == "approve" else "rejected"])
    assert len(audit.list_entries(ledger)) == 1
    states_match(ledger, ONE)


def test_assigned_item_cannot_be_decided_by_another_person(ledger: Ledger) -> None:
    """Until the assignment expires; a decision clears it."""
    refresh(ledger)
    claim_item(ledger, REPORT.example_id, "Ann", now=START, minutes=30)
    with pytest.raises(AssignedError, match=r"Ann"):
        say(ledger, "Ben", minute=29)
    assert say(ledger, "Ann", minute=29).assigned_to is None
    assert say(ledger, "Ben", minute=29).state == "approved"


@pytest.mark.parametrize(
    "changes",
    [
        {"what": "maybe"},
        {"who": " "},
        {"who": "n" * 201},
        {"output": " "},
        {"output": "Ice\0"},
        {"what": "reject", "output": PLANTED},
        {"what": "reject", "reason_code": ""},
        {"what": "reject", "reason_code": "because"},
        {"what": "reject", "reason_code": "other"},
        {"reason_code": "style"},
        {"meaning": MEANINGS["reject"]},
        {"meaning": "approve", "output": "Ice."},
    ],
)
def test_invalid_decision_is_refused(ledger: Ledger, changes: dict[str, Any]) -> None:
    """With a reason, without report text, and without a record in the ledger."""
    refresh(ledger)
    with pytest.raises(ReviewError) as refused:
        say(ledger, **{"who": "Ann", **changes})
    assert PLANTED not in str(refused.value)
    assert list_decisions(ledger) == []
    assert item_of(ledger).version == 1


def test_revoked_decision_reopens_the_example_and_changes_the_fingerprint(ledger: Ledger) -> None:
    """The row stays, a second one revokes it, and Dagster sees dependent assets as stale."""
    refresh(ledger)
    say(ledger, "Ann")
    say(ledger, "Ben", minute=1)
    before, second = decisions_fingerprint(ledger), list_decisions(ledger)[1]
    item = revoke(ledger, second.decision_id, by="Cleo", reason="wrong patient", rules=TWO, now=START)
    assert item is not None
    assert item.state == "second_review"
    states_match(ledger, TWO)
    assert decisions_fingerprint(ledger) != before
    assert [decision.reviewer for decision in list_decisions(ledger)] == ["Ann"]
    (revoked,) = [record for record in list_decision_records(ledger) if record.is_revoked]
    assert (revoked.decision, revoked.revoked_by, revoked.revocation_reason) == (second, "Cleo", "wrong patient")
    assert (audit.list_entries(ledger)[-1].actor, audit.list_entries(ledger)[-1].action) == (
        "Cleo",
        "revoked a decision",
    )
    assert say(ledger, "Dan", "reject", minute=2).state == "disagreement"


def test_reviewer_who_revoked_a_decision_gives_no_second_review(ledger: Ledger) -> None:
    """They may know the other decision by then; without another decision, they simply decide again."""
    refresh(ledger)
    say(ledger, "Ann")
    revoke(ledger, list_decisions(ledger)[0].decision_id, by="Ann", reason="slip", rules=TWO, now=START)
    say(ledger, "Ann", "reject", minute=1)
    say(ledger, "Ben", minute=2)
    revoke(ledger, list_decisions(ledger)[0].decision_id, by="Ann", reason="slip", rules=TWO, now=START)
    assert item_of(ledger).state == "second_review"
    with pytest.raises(NotAllowedError, match="ann"):
        say(ledger, "ann", minute=3)
    offered = [
        find_next_item(ledger, QueueFilter(task="plan"), viewer=who, now=START, after=None) for who in ("Ann", "Cleo")
    ]
    assert [item and item.example_id for item in offered] == [None, REPORT.example_id]
    states_match(ledger, TWO)
    assert say(ledger, "Cleo", minute=3).state == "approved"


def test_decision_is_revoked_once_with_a_name_and_a_reason(ledger: Ledger) -> None:
    """The audit entry must name a person."""
    refresh(ledger)
    say(ledger, "Ann")
    (made,) = list_decisions(ledger)
    for by, reason in (("", "r"), ("Cleo", " ")):
        with pytest.raises(LedgerError, match=made.decision_id):
            revoke(ledger, made.decision_id, by=by, reason=reason, rules=TWO, now=START)
    with pytest.raises(UnknownRecordError):
        revoke(ledger, "nothing", by="Cleo", reason="r", rules=TWO, now=START)
    revoke(ledger, made.decision_id, by="Cleo", reason="r", rules=TWO, now=START)
    with pytest.raises(LedgerError, match=r"Cleo"):
        revoke(ledger, made.decision_id, by="Cleo", reason="r", rules=TWO, now=START)


def test_first_decision_is_hidden_from_the_second_reviewer(ledger: Ledger) -> None:
    """Agreement is meaningless unless reviews are blind. Also for revoked decisions."""
    refresh(ledger)

    def seen(who: str, may_see_all: bool = False) -> list[str]:
        lines = list_history(ledger, REPORT.example_id, viewer=who, can_see_all=may_see_all)
        return [line.reviewer for line in lines]

    say(ledger, "Ann", "reject", reason="as I said")
    assert (seen("Ben"), seen("ann"), seen("Eve", may_see_all=True)) == ([], ["Ann"], ["Ann"])
    say(ledger, "Ben", minute=1)
    assert seen("Ben") == seen("Cleo") == ["Ann", "Ben"]
    for decision in list_decisions(ledger):
        revoke(ledger, decision.decision_id, by="Eve", reason="r", rules=TWO, now=START)
    assert (item_of(ledger).state, seen("Cleo"), seen("Ben")) == ("waiting", [], ["Ben"])
    (line,) = list_history(ledger, REPORT.example_id, viewer="Ann", can_see_all=False)
    assert (line.reason_code, line.reason, line.revoked_by) == ("unsupported", "as I said", "Eve")
    assert list_history(ledger, "never there", viewer="Ann", can_see_all=True) == []


def test_decided_item_is_reopened_by_revocation_only(ledger: Ledger) -> None:
    """Otherwise a third decision would undo what two people agreed on."""
    refresh(ledger)
    say(ledger, "Ann")
    say(ledger, "Ben", minute=1)
    with pytest.raises(NotAllowedError, match="approved"):
        say(ledger, "Cleo", "reject", minute=2)


def test_latest_decision_counts_with_one_reviewer(ledger: Ledger) -> None:
    """Including a correction by the same person."""
    refresh(ledger, rules=ONE)
    assert say(ledger, "Ann", rules=ONE, output="Ice.").state == "approved"
    assert say(ledger, "Ann", "reject", rules=ONE, minute=1).state == "rejected"
    states_match(ledger, ONE)


def test_own_repair_needs_a_second_person_if_the_recipe_says_so(ledger: Ledger) -> None:
    """The second person has to see the repair, so this review is not blind."""
    refresh(ledger, rules=EDITS_BY_TWO)
    assert say(ledger, "Ann", rules=EDITS_BY_TWO, output="Ice.").state == "second_review"
    assert say(ledger, "Ann", rules=EDITS_BY_TWO, output="Ice.", minute=1).state == "second_review"
    shown = find_output_to_review(ledger, REPORT, EDITS_BY_TWO)
    assert (shown, find_output_to_review(ledger, REPORT, TWO)) == ("Ice.", REPORT.output)
    assert not is_blind_review(EDITS_BY_TWO)
    assert say(ledger, "Ben", rules=EDITS_BY_TWO, output=shown, minute=2).state == "approved"
    states_match(ledger, EDITS_BY_TWO)


def test_decision_counts_for_the_same_content_in_another_report(ledger: Ledger) -> None:
    """The queue must not offer what the gate has already approved."""
    twin = replace(REPORT, example_id="twin", report_id="b/9")
    drafted = table_from_records(DraftedExample, [CORRECTION, REPORT, twin])
    refresh(ledger, drafted, rules=ONE)
    say(ledger, "Ann", rules=ONE)
    assert (item_of(ledger, twin).state, item_of(ledger, twin).version) == ("approved", 2)


def test_rejection_excludes_a_trusted_draft_until_it_is_revoked(ledger: Ledger) -> None:
    """Also for other content of the same report and task, which the gate then no longer trusts."""
    trusted = {"elsewhere": "Experts"}
    other = replace(REPORT, example_id="other", fingerprint="of other content")
    refresh(ledger, table_from_records(DraftedExample, [CORRECTION, REPORT, other]), trusted, ONE)
    assert (item_of(ledger).state, item_of(ledger, other).state) == ("trusted", "trusted")
    assert say(ledger, "Ann", "reject", rules=ONE).state == "rejected"
    assert item_of(ledger, other).state == "waiting"
    (made,) = list_decisions(ledger)
    revoke(ledger, made.decision_id, by="Ann", reason="slip", rules=ONE, now=START)
    assert (item_of(ledger).state, item_of(ledger, other).state) == ("trusted", "trusted")
    assert TRUSTED.keys().isdisjoint(trusted)


def test_removed_draft_cannot_be_decided_but_its_decision_can_be_revoked(ledger: Ledger) -> None:
    """The page was open while the report was withdrawn."""
    refresh(ledger)
    say(ledger, "Ann")
    refresh(ledger, table_from_records(DraftedExample, [CORRECTION]))
    with pytest.raises(UnknownRecordError):
        say(ledger, "Ben")
    (made,) = list_decisions(ledger)
    item = revoke(ledger, made.decision_id, by="Ann", reason="r", rules=TWO, now=START)
    assert item is not None
    assert item.removed_at is not None
    refresh(ledger)
    assert item_of(ledger).state == "waiting"


def test_audit_log_contains_no_text(ledger: Ledger) -> None:
    """It has more readers than the examples."""
    refresh(ledger)
    say(ledger, "Ann", output=PLANTED)
    say(ledger, "Ben", "reject", minute=1, reason=PLANTED)
    assert PLANTED not in repr(audit.list_entries(ledger))
    assert audit.verify_entries(ledger).is_intact
