"""Deciding on both databases: who may, what is recorded, what a click of yesterday does, and that nothing is lost."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.approval.review_actions import decide, refresh_items, revoke
from fine_tune_assets.approval.review_history import history, output_to_review, reviews_blind
from fine_tune_assets.approval.signatures import MEANINGS, NotAllowedError, ReviewError, Role, StaleItemError, Word
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.reviews.review_items import AssignedError, claim, find_item, next_item
from fine_tune_assets.ledger.reviews.review_rows import QueueFilter, ReviewItem
from fine_tune_assets.ledger.reviews.reviews import decisions_fingerprint, list_decisions, list_records
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import DraftedExample
from fine_tune_assets.tables.records import table_from
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
    word = Word(who, role, what, None, "unsupported" if what == "reject" else "", "", "")
    return decide(ledger, draft, replace(word, **changes), rules=rules, **around)


def states_match(ledger: Ledger, rules: ReviewSettings, trusted: Mapping[str, str] | None = None) -> None:
    """The queue must show what the gate decides from the same ledger."""
    approval = approve_examples(DRAFTS, list_decisions(ledger), trusted or {}, rules, AUTHORS)
    shown = {draft.example_id: item_of(ledger, draft).state for draft in drafted(DRAFTS)}
    approved = {key for key, state in shown.items() if state in ("approved", "trusted")}
    assert approved == set(approval.approved.column("example_id").to_pylist())
    before = [item_of(ledger, draft) for draft in drafted(DRAFTS)]
    refresh(ledger, trusted=trusted, rules=rules)
    assert [item_of(ledger, draft) for draft in drafted(DRAFTS)] == before


def test_two_people_approve_and_each_signature_is_kept(ledger: Ledger) -> None:
    """Who, when, the hash of exactly what was approved, and what the signature declares."""
    refresh(ledger)
    assert say(ledger, "Ann").state == "second_review"
    states_match(ledger, TWO)
    assert say(ledger, "Ben", minute=1).state == "approved"
    states_match(ledger, TWO)
    first, second = list_decisions(ledger)
    assert (first.reviewer, second.reviewer) == ("Ann", "Ben")
    assert first.approved_fingerprint == second.approved_fingerprint == REPORT.fingerprint
    assert (first.meaning, second.decided_at) == (MEANINGS["approve"], START + timedelta(minutes=1))
    assert [line.what for line in audit.lines(ledger)] == ["decided approve", "decided approve"]


def test_a_repair_is_signed_as_repaired_and_for_its_own_text(ledger: Ledger) -> None:
    """The draft's hash under another text would be a signature under something that nobody read."""
    refresh(ledger)
    say(ledger, "Ann", output="Ice.\r\nHeat. ")
    (made,) = list_decisions(ledger)
    assert made.output == "Ice.\nHeat."
    assert made.approved_fingerprint == content_fingerprint(REPORT.instruction, REPORT.input, "Ice.\nHeat.")
    assert made.meaning == MEANINGS["approve_repaired"]


def test_an_output_that_is_the_drafts_is_no_repair(ledger: Ledger) -> None:
    """A form sends the text back even if nobody touched it."""
    refresh(ledger)
    say(ledger, "Ann", output=REPORT.output + "\r\n")
    (made,) = list_decisions(ledger)
    assert (made.output, made.meaning) == (None, MEANINGS["approve"])


def test_a_disagreement_is_settled_by_a_third_person_only(ledger: Ledger) -> None:
    """Neither of the two, and nobody before there is a disagreement."""
    refresh(ledger)
    with pytest.raises(NotAllowedError, match="nothing to adjudicate"):
        say(ledger, "Cleo", role="adjudicate")
    say(ledger, "Ann", output="Ice.")
    assert say(ledger, "Ben", "reject", minute=1).state == "disagreement"
    for who in ("Ann", " BEN "):
        with pytest.raises(NotAllowedError, match="third person"):
            say(ledger, who, role="adjudicate", minute=2)
    with pytest.raises(NotAllowedError, match="has to adjudicate"):
        say(ledger, "Cleo", minute=2)
    with pytest.raises(NotAllowedError, match="one of the texts"):
        say(ledger, "Cleo", role="adjudicate", minute=2, output="Heat.")
    assert say(ledger, "Cleo", role="adjudicate", minute=2, output="Ice.").state == "approved"
    states_match(ledger, TWO)
    assert list_decisions(ledger)[-1].meaning == MEANINGS["adjudicate_approve"]
    assert audit.lines(ledger)[-1].what == "adjudicated approve"


def test_one_person_cannot_be_both_reviewers(ledger: Ledger) -> None:
    """However the name is written."""
    refresh(ledger)
    say(ledger, "Ann Lee")
    with pytest.raises(NotAllowedError, match="Another person"):
        say(ledger, "ann  lee", "reject")
    assert len(list_decisions(ledger)) == 1


@pytest.mark.parametrize("author", ["ward-key", None])
def test_nobody_decides_on_their_own_correction_even_if_the_caller_forgot_the_author(
    ledger: Ledger, author: str | None
) -> None:
    """The queue knows the author too."""
    refresh(ledger)
    with pytest.raises(NotAllowedError, match="wrote the correction"):
        say(ledger, "Ward-Key", draft=CORRECTION, author=author)
    assert say(ledger, "Ann", draft=CORRECTION, author=author).state == "second_review"


def test_a_correction_of_which_nobody_knows_the_author_is_nobodys_to_decide(ledger: Ledger) -> None:
    """The reviewer might be the author."""
    refresh_items(ledger, DRAFTS, "a-line", {}, TWO, {}, START)
    with pytest.raises(NotAllowedError, match="not known"):
        say(ledger, "Ann", draft=CORRECTION, author=None)


def test_a_decision_about_what_somebody_changed_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    """Two people had it open; the second one is told who was first and when, not what they decided."""
    refresh(ledger)
    opened = item_of(ledger).version
    say(ledger, "Ann", "reject", minute=5)
    with pytest.raises(
        StaleItemError, match=r"Ann decided at 2026-01-01 00:05 UTC.*Nothing of yours was recorded"
    ) as told:
        say(ledger, "Ben", version=opened, minute=6)
    assert "reject" not in str(told.value)
    assert len(list_decisions(ledger)) == 1
    draft = replace(REPORT, fingerprint="of another text")
    with pytest.raises(StaleItemError):
        say(ledger, "Ben", draft=draft)


def test_of_two_decisions_at_the_same_time_exactly_one_wins(ledger: Ledger) -> None:
    """Two browsers, one item: the other one is told, and nothing is half done."""
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
    assert len(audit.lines(ledger)) == 1
    states_match(ledger, ONE)


def test_what_somebody_has_open_nobody_else_decides(ledger: Ledger) -> None:
    """Until their time is over; deciding gives it back."""
    refresh(ledger)
    claim(ledger, REPORT.example_id, "Ann", now=START, minutes=30)
    with pytest.raises(AssignedError, match="Ann has example"):
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
def test_a_word_that_makes_no_sense_is_refused(ledger: Ledger, changes: dict[str, Any]) -> None:
    """With the reason, without any text, and without a trace in the ledger."""
    refresh(ledger)
    with pytest.raises(ReviewError) as told:
        say(ledger, **{"who": "Ann", **changes})
    assert PLANTED not in str(told.value)
    assert list_decisions(ledger) == []
    assert item_of(ledger).version == 1


def test_a_revoked_decision_makes_the_example_wait_and_what_was_built_on_it_stale(ledger: Ledger) -> None:
    """The row stays, a second one takes it back, and the fingerprint that Dagster compares moves."""
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
    (kept,) = [record for record in list_records(ledger) if record.is_revoked]
    assert (kept.decision, kept.revoked_by, kept.revoked_because) == (second, "Cleo", "wrong patient")
    assert (audit.lines(ledger)[-1].who, audit.lines(ledger)[-1].what) == ("Cleo", "revoked a decision")
    assert say(ledger, "Dan", "reject", minute=2).state == "disagreement"


def test_who_took_a_decision_back_gives_no_second_look(ledger: Ledger) -> None:
    """They may have seen the other one's by then; while nobody else decided, they simply decide again."""
    refresh(ledger)
    say(ledger, "Ann")
    revoke(ledger, list_decisions(ledger)[0].decision_id, by="Ann", reason="slip", rules=TWO, now=START)
    say(ledger, "Ann", "reject", minute=1)
    say(ledger, "Ben", minute=2)
    revoke(ledger, list_decisions(ledger)[0].decision_id, by="Ann", reason="slip", rules=TWO, now=START)
    assert item_of(ledger).state == "second_review"
    with pytest.raises(NotAllowedError, match="may know the first decision"):
        say(ledger, "ann", minute=3)
    offered = [
        next_item(ledger, QueueFilter(task="plan"), viewer=who, now=START, after=None) for who in ("Ann", "Cleo")
    ]
    assert [item and item.example_id for item in offered] == [None, REPORT.example_id]
    states_match(ledger, TWO)
    assert say(ledger, "Cleo", minute=3).state == "approved"


def test_a_decision_is_revoked_once_by_somebody_and_for_a_reason(ledger: Ledger) -> None:
    """An audit line that names nobody is none."""
    refresh(ledger)
    say(ledger, "Ann")
    (made,) = list_decisions(ledger)
    for by, reason in (("", "r"), ("Cleo", " ")):
        with pytest.raises(LedgerError, match="who does it and why"):
            revoke(ledger, made.decision_id, by=by, reason=reason, rules=TWO, now=START)
    with pytest.raises(UnknownRecordError):
        revoke(ledger, "nothing", by="Cleo", reason="r", rules=TWO, now=START)
    revoke(ledger, made.decision_id, by="Cleo", reason="r", rules=TWO, now=START)
    with pytest.raises(LedgerError, match="already"):
        revoke(ledger, made.decision_id, by="Cleo", reason="r", rules=TWO, now=START)


def test_the_first_word_is_hidden_from_the_second_reviewer_until_theirs_is_in(ledger: Ledger) -> None:
    """Blind, or the agreement of the two means nothing. That holds for a revoked word too."""
    refresh(ledger)

    def seen(who: str, may_see_all: bool = False) -> list[str]:
        lines = history(ledger, REPORT.example_id, viewer=who, may_see_all=may_see_all)
        return [line.reviewer for line in lines]

    say(ledger, "Ann", "reject", reason="as I said")
    assert (seen("Ben"), seen("ann"), seen("Eve", may_see_all=True)) == ([], ["Ann"], ["Ann"])
    say(ledger, "Ben", minute=1)
    assert seen("Ben") == seen("Cleo") == ["Ann", "Ben"]
    for decision in list_decisions(ledger):
        revoke(ledger, decision.decision_id, by="Eve", reason="r", rules=TWO, now=START)
    assert (item_of(ledger).state, seen("Cleo"), seen("Ben")) == ("waiting", [], ["Ben"])
    (line,) = history(ledger, REPORT.example_id, viewer="Ann", may_see_all=False)
    assert (line.reason_code, line.reason, line.revoked_by) == ("unsupported", "as I said", "Eve")
    assert history(ledger, "never there", viewer="Ann", may_see_all=True) == []


def test_what_is_settled_is_opened_by_revoking_and_not_by_deciding_again(ledger: Ledger) -> None:
    """A third click would otherwise undo what two people agreed on."""
    refresh(ledger)
    say(ledger, "Ann")
    say(ledger, "Ben", minute=1)
    with pytest.raises(NotAllowedError, match="Revoke a decision"):
        say(ledger, "Cleo", "reject", minute=2)


def test_with_one_reviewer_the_latest_word_stands(ledger: Ledger) -> None:
    """Also the same person's, who saw what they did wrong."""
    refresh(ledger, rules=ONE)
    assert say(ledger, "Ann", rules=ONE, output="Ice.").state == "approved"
    assert say(ledger, "Ann", "reject", rules=ONE, minute=1).state == "rejected"
    states_match(ledger, ONE)


def test_a_repair_of_ones_own_is_shown_to_a_second_person_where_the_recipe_says_so(ledger: Ledger) -> None:
    """Nobody approves alone what they wrote; who comes second has to see it, so this look is not blind."""
    refresh(ledger, rules=EDITS_BY_TWO)
    assert say(ledger, "Ann", rules=EDITS_BY_TWO, output="Ice.").state == "second_review"
    assert say(ledger, "Ann", rules=EDITS_BY_TWO, output="Ice.", minute=1).state == "second_review"
    shown = output_to_review(ledger, REPORT, EDITS_BY_TWO)
    assert (shown, output_to_review(ledger, REPORT, TWO)) == ("Ice.", REPORT.output)
    assert not reviews_blind(EDITS_BY_TWO)
    assert say(ledger, "Ben", rules=EDITS_BY_TWO, output=shown, minute=2).state == "approved"
    states_match(ledger, EDITS_BY_TWO)


def test_a_decision_counts_for_the_same_content_in_another_report_at_once(ledger: Ledger) -> None:
    """The queue must not offer what the gate has already approved."""
    twin = replace(REPORT, example_id="twin", report_id="b/9")
    drafted = table_from(DraftedExample, [CORRECTION, REPORT, twin])
    refresh(ledger, drafted, rules=ONE)
    say(ledger, "Ann", rules=ONE)
    assert (item_of(ledger, twin).state, item_of(ledger, twin).version) == ("approved", 2)


def test_a_rejection_takes_a_trusted_sources_draft_out_and_its_revocation_lets_it_in(ledger: Ledger) -> None:
    """Also other content of the same report and task, which the gate then doubts."""
    trusted = {"elsewhere": "Experts"}
    other = replace(REPORT, example_id="other", fingerprint="of other content")
    refresh(ledger, table_from(DraftedExample, [CORRECTION, REPORT, other]), trusted, ONE)
    assert (item_of(ledger).state, item_of(ledger, other).state) == ("trusted", "trusted")
    assert say(ledger, "Ann", "reject", rules=ONE).state == "rejected"
    assert item_of(ledger, other).state == "waiting"
    (made,) = list_decisions(ledger)
    revoke(ledger, made.decision_id, by="Ann", reason="slip", rules=ONE, now=START)
    assert (item_of(ledger).state, item_of(ledger, other).state) == ("trusted", "trusted")
    assert TRUSTED.keys().isdisjoint(trusted)


def test_a_draft_that_is_gone_cannot_be_decided_and_its_decision_can_be_revoked(ledger: Ledger) -> None:
    """The page was open while the report was withdrawn."""
    refresh(ledger)
    say(ledger, "Ann")
    refresh(ledger, table_from(DraftedExample, [CORRECTION]))
    with pytest.raises(UnknownRecordError):
        say(ledger, "Ben")
    (made,) = list_decisions(ledger)
    item = revoke(ledger, made.decision_id, by="Ann", reason="r", rules=TWO, now=START)
    assert item is not None
    assert item.gone_at is not None
    refresh(ledger)
    assert item_of(ledger).state == "waiting"


def test_no_text_reaches_the_audit_log(ledger: Ledger) -> None:
    """It is read by more people than the examples are."""
    refresh(ledger)
    say(ledger, "Ann", output=PLANTED)
    say(ledger, "Ben", "reject", minute=1, reason=PLANTED)
    assert PLANTED not in repr(audit.lines(ledger))
    assert audit.verify(ledger).is_intact
