"""Whether trained examples are still approved: every way in which an approval lapses, and cases in which it must not."""

from dataclasses import replace

import pytest

from fine_tune_assets.approval.approvals import EXPERT, TRUSTED_SOURCE
from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.approval.lapsed_approvals import (
    LAPSE_REASONS,
    UNREVIEWED,
    CurrentDecisions,
    LapseReason,
    find_lapse_reason,
    find_lapsed_approvals,
    find_replay_exclusion,
    read_current_decisions,
    read_decisions_about,
)
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.instructions.set_examples import approved_example
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import corrections, decisions
from fine_tune_assets.ledger.reviews.decision_records import add_decision, revoke_decision
from fine_tune_assets.ledger.serving.release_records import record_release
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import ApprovedExample
from fine_tune_assets.tables.instruction_rows import ProvenanceRow
from fine_tune_assets.tables.record_classes import iter_records
from fine_tune_assets_tests.approval.examples import ONE, START, TWO, approve, decide, drafted, drafts
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict

(REPORT,) = drafted(drafts())
CORRECTED = drafts(authors=("ward-key",))
(CORRECTION,) = [draft for draft in drafted(CORRECTED) if draft.source == "correction"]
OTHER_CONTENT = {"example_id": "later", "fingerprint": "of what was drafted later"}


def record(ledger: Ledger, *made: Decision) -> None:
    with ledger.begin() as connection:
        for decision in made:
            add_decision(connection, decision, "")


def revoke(ledger: Ledger, decision_id: str) -> None:
    with ledger.begin() as connection:
        revoke_decision(connection, decision_id, "chief", "wrong patient", START)


def send_correction(ledger: Ledger, correction_id: str, author: str) -> None:
    """With the id that the drafts of these tests have."""
    verdict = make_verdict("promote")
    record_verdict(ledger, verdict)
    record_release(ledger, make_release(verdict, "r"))
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), b"")
    with ledger.begin() as connection:
        connection.execute(
            corrections.insert().values(
                correction_id=correction_id, release_id="r", author=author, idempotency_key="k", content_hash="h",
                received_at=START, **texts,
            )
        )  # fmt: skip


def now(ledger: Ledger, rules: ReviewSettings = ONE) -> CurrentDecisions:
    return read_current_decisions(ledger, rules)


def why(row: ProvenanceRow, ledger: Ledger, rules: ReviewSettings = ONE) -> LapseReason | None:
    """Why the row lapsed, asserted equal for all decisions and for only those that concern the row."""
    found = find_lapse_reason(row, now(ledger, rules))
    assert find_lapse_reason(row, read_decisions_about(ledger, [row], rules)) == found
    return found


def approved_row(*decisions: Decision, rules: ReviewSettings = ONE, trusts: bool = False) -> ProvenanceRow:
    """A set's row that these decisions, or its source, approved."""
    trusted = {"clinic": "Experts of the clinic"} if trusts else {}
    approved = approve(drafts(), list(decisions), trusted, rules=rules).approved
    (example,) = iter_records(ApprovedExample, approved)
    return approved_example(example, "train", {})


@pytest.mark.parametrize("output", [None, "Ice."])
@pytest.mark.parametrize(
    ("later", "fall"),
    [
        (None, None),
        ("revoked", "revoked"),
        (decide(REPORT, "reject", 1, "Ben"), "rejected"),
        (decide(REPORT, "approve", 1, "Ben", "Heat."), "repaired"),
        (replace(decide(REPORT, "reject", 1, "Ben"), **OTHER_CONTENT), None),
    ],
)
def test_experts_approval_is_valid_until_revoked_or_overruled(
    ledger: Ledger, output: str | None, later: Decision | str | None, fall: str | None
) -> None:
    """Also for a repair, whose set content differs from the decided draft. Decisions on other content don't count."""
    made = decide(REPORT, "approve", 0, "Ann", output)
    row = approved_row(made)
    record(ledger, made, *([later] if isinstance(later, Decision) else []))
    if later == "revoked":
        revoke(ledger, made.decision_id)
    assert why(row, ledger) == fall
    assert find_lapsed_approvals([row], now(ledger)) == ({} if fall is None else {row.example_id: fall})


def test_each_of_two_approvals_must_be_valid_or_replaced(ledger: Ledger) -> None:
    """One person is fewer than required; a third reviewer makes two again."""
    two = [decide(REPORT, "approve", minute, name) for minute, name in enumerate(("Ann", "Ben"))]
    row = approved_row(*two, rules=TWO)
    record(ledger, *two)
    assert why(row, ledger, TWO) is None
    revoke(ledger, "d1")
    assert why(row, ledger, TWO) == "revoked"
    record(ledger, decide(REPORT, "approve", 2, "Cleo"))
    assert why(row, ledger, TWO) is None


def test_open_disagreement_is_not_an_approval(ledger: Ledger) -> None:
    """After two approvals a third person rejects it, so it needs adjudication."""
    two = [decide(REPORT, "approve", minute, name) for minute, name in enumerate(("Ann", "Ben"))]
    record(ledger, *two, decide(REPORT, "reject", 2, "Cleo"))
    assert why(approved_row(*two, rules=TWO), ledger, TWO) == "open"


def test_stricter_rules_apply_to_earlier_approvals(ledger: Ledger) -> None:
    """After requiring two reviewers, a release with single approvals is not acceptable."""
    made = decide(REPORT, "approve", 0, "Ann")
    record(ledger, made)
    assert why(approved_row(made), ledger, TWO) == "open"


def test_approval_missing_from_the_ledger_is_not_valid(ledger: Ledger) -> None:
    """The ledger belongs to another installation or was restored from a backup."""
    assert why(approved_row(decide(REPORT, "approve")), ledger) == "revoked"


@pytest.mark.parametrize(
    ("later", "fall"),
    [
        ([], None),
        ([decide(REPORT, "approve")], None),
        ([decide(REPORT, "reject")], "rejected"),
        ([decide(REPORT, "approve", output="Ice.")], "repaired"),
        ([replace(decide(REPORT, "reject"), **OTHER_CONTENT)], "rejected"),
        ([replace(decide(REPORT, "approve"), **OTHER_CONTENT)], None),
    ],
)
def test_trusted_sources_approval_is_valid_until_an_expert_objects(
    ledger: Ledger, later: list[Decision], fall: str | None
) -> None:
    """Trust can't be revoked like a decision, but an expert's decision overrides it."""
    row = approved_row(trusts=True)
    assert row.approval_kind == TRUSTED_SOURCE
    record(ledger, *later)
    assert why(row, ledger) == fall


@pytest.mark.parametrize(("word", "fall"), [("approve", None), ("reject", "rejected")])
def test_first_review_of_a_trusted_text_lapses_it_only_if_it_objects(
    ledger: Ledger, word: str, fall: str | None
) -> None:
    """With two reviewers it awaits the second one; until then no one has rejected it."""
    record(ledger, decide(REPORT, word))
    assert why(approved_row(trusts=True), ledger, TWO) == fall


def test_general_data_needs_no_approval(ledger: Ledger) -> None:
    row = replace(approved_row(trusts=True), approval_kind=None)
    record(ledger, decide(REPORT, "reject"))
    assert why(row, ledger) is None


def test_author_of_a_correction_cannot_approve_it_here_either(ledger: Ledger) -> None:
    """Authors come from the ledger; approvals of unknown authors' corrections lapse."""
    by_another, own = decide(CORRECTION, "approve", 0, "Ann"), decide(CORRECTION, "approve", 1, "ward-key")
    record(ledger, by_another, own)
    approved = approve(CORRECTED, [by_another], {}, {"correction/c1": "ward-key"}).approved
    (example,) = iter_records(ApprovedExample, approved)
    row = approved_example(example, "train", {})
    assert why(row, ledger) is not None
    send_correction(ledger, "c1", "ward-key")
    assert why(row, ledger) is None
    revoke(ledger, by_another.decision_id)
    assert why(row, ledger) == "revoked"


def test_unreviewed_example_is_never_replayed(ledger: Ledger) -> None:
    """Its source may say something else today."""
    assert find_replay_exclusion(approved_row(trusts=True), now(ledger)) == UNREVIEWED


def test_overruled_example_is_not_replayed(ledger: Ledger) -> None:
    """Revoked, repaired to other content, rejected, or its report rejected after a new draft."""
    made = decide(REPORT, "approve", 0, "Ann", "Ice.")
    row = approved_row(made)
    assert row.fingerprint == content_fingerprint(REPORT.instruction, REPORT.input, "Ice.")
    assert row.approval_kind == EXPERT
    record(ledger, made)
    assert find_replay_exclusion(row, now(ledger)) is None
    record(ledger, replace(decide(REPORT, "reject", 1), **OTHER_CONTENT))
    assert find_replay_exclusion(row, now(ledger)) == LAPSE_REASONS["rejected"]
    revoke(ledger, "d1")
    record(ledger, decide(REPORT, "approve", 2, "Ann", "Heat."))
    assert find_replay_exclusion(row, now(ledger)) == LAPSE_REASONS["repaired"]
    revoke(ledger, "d2")
    revoke(ledger, "d0")
    assert find_replay_exclusion(row, now(ledger)) == LAPSE_REASONS["revoked"]


def test_unsigned_repair_is_not_replayed(ledger: Ledger) -> None:
    """It needs review again, so an earlier set must not bring it back."""
    made = decide(REPORT, "approve", 0, "Ann", "Ice.")
    with ledger.begin() as connection:
        connection.execute(decisions.insert().values({**vars(made), "approved_fingerprint": None, "reason": ""}))
    assert find_replay_exclusion(approved_row(made), now(ledger)) == LAPSE_REASONS["open"]
