"""Signing imported decisions: who may sign what, refusals by line, and approvals that an earlier version imported unsigned."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from fine_tune_assets.approval.decision_exchange import import_decisions, parse_decision_lines
from fine_tune_assets.approval.proposal_signatures import (
    RefusedLine,
    SignedLine,
    Signer,
    find_obstacles,
    sign_proposals,
)
from fine_tune_assets.approval.review_actions import refresh_items, submit_decision
from fine_tune_assets.approval.sign_off import DecisionSubmission, acknowledgement_code
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import proposals
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.erasures import SubjectIds, delete_subject_records, record_erasure
from fine_tune_assets.ledger.reviews.proposal_records import list_waiting, withdraw_proposals
from fine_tune_assets.ledger.reviews.review_items import claim_item, find_item
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets_tests.approval.examples import ONE, START, TWO
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
from fine_tune_assets_tests.ledger.ledger_rows import record_decision

__all__ = ["people"]
LATER = NOW + timedelta(hours=1)
ROLES = {"Ann": ["reviewer"], "Ben": ["reviewer"], "Cleo": ["approver"]}


def bring(ledger: Ledger, *lines: str) -> None:
    refresh_items(ledger, DRAFTS, "a-line", {}, TWO, AUTHORS, START)
    entries = list(parse_decision_lines(lines))
    summary = import_decisions(ledger, entries, BY_ID.get, by="Eve", authors=AUTHORS, now=NOW)
    assert summary.issues == ()


def sign(
    ledger: Ledger,
    name: str,
    rules: ReviewSettings = TWO,
    drafts: dict[str, DraftedExample] = BY_ID,
    lines: Sequence[SignedLine] | None = None,
    acknowledged: Sequence[str] = (),
) -> list[RefusedLine]:
    """Sign all waiting proposals, of every reviewer, as `name`."""
    waiting = list_waiting(ledger)
    if lines is None:
        lines = [shown(ledger, number, drafts) for number in range(len(waiting))]
    files = {proposal.file_id for proposal in waiting} or {""}
    refused = []
    for file_id in files:
        of_file = [
            one for one in lines if any(p.proposal_id == one.proposal_id and p.file_id == file_id for p in waiting)
        ]
        refused += sign_proposals(
            ledger,
            of_file,
            Signer(name, ROLES[name]),
            file_id=file_id,
            acknowledged=acknowledged,
            rules=rules,
            now=LATER,
        )
    return refused


def shown(ledger: Ledger, number: int, drafts: dict[str, DraftedExample] = BY_ID) -> SignedLine:
    """A waiting proposal as the page shows it."""
    proposal = list_waiting(ledger)[number]
    made = proposal.proposed
    item = find_item(ledger, made.example_id)
    assert item is not None
    draft = drafts.get(made.example_id)
    flags = draft.flags if draft is not None and made.decision == "approve" else ()
    return SignedLine(
        proposal.proposal_id, draft, item.version, made.approved_fingerprint or made.fingerprint, tuple(flags)
    )


def state(ledger: Ledger, draft: DraftedExample = REPORT) -> str:
    found = find_item(ledger, draft.example_id)
    assert found is not None
    return found.state


def test_each_person_signs_their_own_lines_and_the_decisions_count_then(ledger: Ledger) -> None:
    """Two names in one file: the lines of the other are refused and kept. Three people finish a disagreement."""
    bring(
        ledger,
        line("t-1", "Ann", output="Ice."),
        line("t-2", "Ben", "reject", reason_code="style", reason="too short"),
        line("t-3", "Cleo", output="Ice.", role="adjudicate"),
    )
    assert [refused.place for refused in sign(ledger, "Ann")] == ["line 2", "line 3"]
    (made,) = list_decisions(ledger)
    assert (made.reviewer, made.output, made.decided_at) == ("Ann", "Ice.", LATER)
    assert "right as I repaired it" in made.meaning
    assert state(ledger) == "second_review"
    assert [refused.place for refused in sign(ledger, "Ben")] == ["line 3"]
    assert state(ledger) == "disagreement"
    assert sign(ledger, "Cleo") == []
    assert (state(ledger), list_waiting(ledger)) == ("approved", [])
    entries = audit.list_entries(ledger)
    assert [e.actor for e in entries if e.action == "signed a proposal"] == ["Ann", "Ben", "Cleo"]
    assert [e.actor for e in entries if e.action == "was refused a signature"] == ["Ann", "Ann", "Ben"]
    with ledger.read() as connection:
        assert connection.execute(sa.select(proposals.c.output)).scalars().all() == [None, None, None]


def test_a_file_signed_twice_records_nothing_the_second_time(ledger: Ledger) -> None:
    """A second click, or the page in a second window."""
    bring(ledger, line("t-1", "Ann"))
    file_id, lines = list_waiting(ledger)[0].file_id, [shown(ledger, 0)]
    assert sign(ledger, "Ann") == []
    options = {"file_id": file_id, "acknowledged": (), "rules": TWO, "now": LATER}
    (refused,) = sign_proposals(ledger, lines, Signer("Ann", ["reviewer"]), **options)  # type: ignore[arg-type]
    assert "already signed" in refused.reason
    assert len(list_decisions(ledger)) == 1


@pytest.mark.parametrize("rules", [ONE, TWO])
def test_an_example_that_was_decided_or_claimed_meanwhile_is_refused(ledger: Ledger, rules: ReviewSettings) -> None:
    """With one reviewer, the signature would replace the other person's decision."""
    bring(ledger, line("t-1", "Ann", "reject", reason_code="style"))
    for name in ("Ben", "Cleo")[: 1 if rules is ONE else 2]:
        item = find_item(ledger, REPORT.example_id)
        assert item is not None
        word = DecisionSubmission(name, "review", "approve", None, "", "", "")
        submit_decision(ledger, REPORT, word, version=item.version, rules=rules, author=None, now=NOW)
    (refused,) = sign(ledger, "Ann", rules)
    assert "already approved" in refused.reason
    assert state(ledger) == "approved"
    assert len(list_waiting(ledger)) == 1


def test_a_claimed_item_is_refused(ledger: Ledger) -> None:
    """Another reviewer has it open on the desk."""
    bring(ledger, line("t-1", "Ann"))
    claim_item(ledger, REPORT.example_id, "Ben", now=LATER, minutes=30)
    (refused,) = sign(ledger, "Ann")
    assert "assigned to Ben" in refused.reason


def test_a_changed_draft_fingerprint_or_version_is_refused(ledger: Ledger) -> None:
    """The signature covers exactly what the person decided and saw."""
    bring(ledger, line("t-1", "Ann", output="Ice."))
    redrafted = {REPORT.example_id: replace(REPORT, fingerprint="of a new draft")}
    seen = shown(ledger, 0)
    for lines, drafts in (
        (None, redrafted),
        (None, {}),
        ([replace(seen, fingerprint="edited")], BY_ID),
        ([replace(seen, version=seen.version + 1)], BY_ID),
    ):
        assert len(sign(ledger, "Ann", drafts=drafts, lines=lines)) == 1  # type: ignore[arg-type]
    assert list_decisions(ledger) == []
    assert sign(ledger, "Ann") == []


def test_each_flag_of_an_approved_text_has_to_be_ticked(ledger: Ledger) -> None:
    """As on the page of an item; the audit log counts the flags by kind."""
    bring(ledger, line("t-1", "Ann"))
    flagged = replace(shown(ledger, 0), flags=("number not in input: 80 mg", "label noise: too long"))
    codes = [acknowledgement_code(flagged.fingerprint, flag) for flag in flagged.flags]
    (refused,) = sign(ledger, "Ann", lines=[flagged], acknowledged=codes[:1])
    assert "1 of 2 flags" in refused.reason
    assert sign(ledger, "Ann", lines=[flagged], acknowledged=codes) == []
    assert any("2 flags acknowledged" in entry.resource for entry in audit.list_entries(ledger))


def test_a_role_that_was_taken_away_since_the_import_is_refused(ledger: Ledger) -> None:
    """The role counts when the person signs."""
    bring(ledger, line("t-1", "Ann"))
    file_id = list_waiting(ledger)[0].file_id
    options = {"file_id": file_id, "acknowledged": (), "rules": TWO, "now": LATER}
    (refused,) = sign_proposals(ledger, [shown(ledger, 0)], Signer("Ann", ["user"]), **options)  # type: ignore[arg-type]
    assert "role reviewer" in refused.reason


def test_the_author_of_a_correction_can_not_sign_a_decision_on_it(ledger: Ledger) -> None:
    """Neither import nor signature; a proposal that reached the ledger otherwise is refused too."""
    refresh_items(ledger, DRAFTS, "a-line", {}, TWO, AUTHORS, START)
    entries = list(
        parse_decision_lines([line("t-1", "Ward-Key", draft=CORRECTION), line("t-2", "Ann", draft=CORRECTION)])
    )
    summary = import_decisions(ledger, entries, BY_ID.get, by="Eve", authors=AUTHORS, now=NOW)
    assert [fault.location for fault in summary.issues] == ["line 1"]
    with ledger.begin() as connection:
        connection.execute(proposals.update().values(reviewer="Ward-Key"))
    ROLES["Ward-Key"] = ["reviewer"]
    (refused,) = sign(ledger, "Ward-Key")
    assert "wrote the correction" in refused.reason


def test_a_person_can_not_give_both_reviews_by_two_lines(ledger: Ledger) -> None:
    """The second line is refused at its import; after a signature, so is another review."""
    bring(ledger, line("t-1", "Ann"))
    entries = list(parse_decision_lines([line("t-2", "ann", "reject", reason_code="style")]))
    (fault,) = import_decisions(ledger, entries, BY_ID.get, by="Eve", authors=AUTHORS, now=NOW).issues
    assert "already waits" in fault.reason
    assert sign(ledger, "Ann") == []
    bring(ledger, line("t-3", "Ann", "reject", reason_code="style"))
    (refused,) = sign(ledger, "Ann")
    assert "first review" in refused.reason


def test_the_obstacles_of_many_proposals_are_those_of_each_alone_with_the_same_number_of_queries(
    ledger: Ledger,
) -> None:
    """The page shows 50 lines. Lines that concern the same report must not decide about each other."""
    copies = [
        replace(REPORT, example_id=f"{number:064x}", report_id=f"b/{number}", fingerprint=f"{number + 500:064x}")
        for number in range(30)
    ]
    drafts = {draft.example_id: draft for draft in (*BY_ID.values(), *copies)}
    table = table_from_records(DraftedExample, drafts.values())
    refresh_items(ledger, table, "a-line", {}, TWO, AUTHORS, START)
    lines = [line(f"t-{number}", "Ann", draft=draft) for number, draft in enumerate(drafts.values())]
    import_decisions(ledger, list(parse_decision_lines(lines)), drafts.get, by="Eve", authors=AUTHORS, now=NOW)
    for number, reviewers in enumerate((["Ann"], ["Ben"], ["Ben", "Cleo"])):
        for reviewer in reviewers:
            record_decision(ledger, **facts_of(copies[number]), reviewer=reviewer, decided_at=NOW)
    refresh_items(ledger, table, "a-line", {}, TWO, AUTHORS, START)
    claim_item(ledger, copies[3].example_id, "Ben", now=LATER, minutes=5)
    pairs = [(proposal, drafts.get(proposal.proposed.example_id)) for proposal in list_waiting(ledger)]
    pairs[-1] = (pairs[-1][0], None)
    signer = Signer("Ann", ROLES["Ann"])
    statements: list[str] = []
    sa.event.listen(ledger.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with ledger.read() as connection:
        alone = [find_obstacles(connection, [pair], signer, TWO, LATER) for pair in pairs]
        of_one = len(statements) / len(pairs)
        statements.clear()
        assert [[found] for found in find_obstacles(connection, pairs, signer, TWO, LATER)] == alone
    assert len(statements) <= of_one + 1
    assert len({found for (found,) in alone}) == 5  # none, decided by her, approved by others, claimed, absent


def test_a_withdrawn_proposal_can_neither_be_signed_nor_imported_again(ledger: Ledger) -> None:
    """Its text is deleted; the id stays, so that the same file adds nothing."""
    bring(ledger, line("t-1", "Ann", output="Ice."))
    seen, file_id = shown(ledger, 0), list_waiting(ledger)[0].file_id
    with ledger.begin() as connection:
        withdraw_proposals(connection, list_waiting(connection, "ann"), "Ann", LATER)
        assert connection.execute(sa.select(proposals.c.output)).scalar_one() is None
    options = {"file_id": file_id, "acknowledged": (), "rules": TWO, "now": LATER}
    (refused,) = sign_proposals(ledger, [seen], Signer("Ann", ["reviewer"]), **options)  # type: ignore[arg-type]
    assert "withdrew" in refused.reason
    entries = list(parse_decision_lines([line("t-1", "Ann", output="Ice.")]))
    (fault,) = import_decisions(ledger, entries, BY_ID.get, by="Eve", authors=AUTHORS, now=NOW).issues
    assert "withdrew" in fault.reason


def test_an_erasure_deletes_the_proposals_of_the_subject(ledger: Ledger) -> None:
    """Their outputs are text of the subject, like the outputs of decisions."""
    bring(ledger, line("t-1", "Ann", output="Ice."))
    ids = SubjectIds(frozenset(), frozenset({REPORT.report_id}), frozenset())
    erasure = record_erasure(ledger, subject_key=REPORT.subject_key, by="officer", reason="Art. 17", ids=ids)
    assert delete_subject_records(ledger, erasure)["ledger proposals"] == 1
    assert list_waiting(ledger) == []
