"""Whether what was trained on is still approved: every way in which an approval falls, and what must not make it fall."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.approval.approvals import EXPERT, TRUSTED_SOURCE
from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.approval.still_approved import (
    REASONS,
    UNREVIEWED,
    DecidedNow,
    Fall,
    decided_about,
    decided_now,
    fallen_in,
    why_not_approved,
    why_not_taught_again,
)
from fine_tune_assets.core.records import Decision
from fine_tune_assets.instructions.set_examples import approved_example
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.reviews import add_decision, revoke_decision
from fine_tune_assets.ledger.schema import decisions
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import ApprovedExample
from fine_tune_assets.tables.instructions import ProvenanceRow
from fine_tune_assets.tables.records import records_of
from fine_tune_assets_tests.approval.examples import ONE, START, TWO, approve, corrections, decide, drafted, drafts

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


def now(ledger: Ledger, rules: ReviewSettings = ONE, corrections_file: Path = Path("none")) -> DecidedNow:
    return decided_now(ledger, corrections_file, rules)


def why(
    row: ProvenanceRow, ledger: Ledger, rules: ReviewSettings = ONE, corrections_file: Path = Path("none")
) -> Fall | None:
    """Asked of all decisions, and as a page does of those that concern the row: the same in every case below."""
    found = why_not_approved(row, now(ledger, rules, corrections_file))
    assert why_not_approved(row, decided_about(ledger, [row], corrections_file, rules)) == found
    return found


def approved_row(*decisions: Decision, rules: ReviewSettings = ONE, trusts: bool = False) -> ProvenanceRow:
    """How a set keeps what these decisions, or its source, approved."""
    trusted = {"clinic": "Experts of the clinic"} if trusts else {}
    approved = approve(drafts(), list(decisions), trusted, rules=rules).approved
    (example,) = records_of(ApprovedExample, approved)
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
def test_an_experts_approval_stands_until_it_is_taken_back_or_overruled(
    ledger: Ledger, output: str | None, later: Decision | str | None, fall: str | None
) -> None:
    """Also a repair: its set holds another content than was decided on. What is said of other content is no word on this one."""
    made = decide(REPORT, "approve", 0, "Ann", output)
    row = approved_row(made)
    record(ledger, made, *([later] if isinstance(later, Decision) else []))
    if later == "revoked":
        revoke(ledger, made.decision_id)
    assert why(row, ledger) == fall
    assert fallen_in([row], now(ledger)) == ({} if fall is None else {row.example_id: fall})


def test_of_two_approvals_both_must_stand_or_be_replaced(ledger: Ledger) -> None:
    """One person is fewer than the recipe asks for; a third one who reads it makes two again."""
    two = [decide(REPORT, "approve", minute, name) for minute, name in enumerate(("Ann", "Ben"))]
    row = approved_row(*two, rules=TWO)
    record(ledger, *two)
    assert why(row, ledger, TWO) is None
    revoke(ledger, "d1")
    assert why(row, ledger, TWO) == "revoked"
    record(ledger, decide(REPORT, "approve", 2, "Cleo"))
    assert why(row, ledger, TWO) is None


def test_an_open_disagreement_is_no_approval(ledger: Ledger) -> None:
    """Two approved it and a third one rejects it: somebody has to settle that first."""
    two = [decide(REPORT, "approve", minute, name) for minute, name in enumerate(("Ann", "Ben"))]
    record(ledger, *two, decide(REPORT, "reject", 2, "Cleo"))
    assert why(approved_row(*two, rules=TWO), ledger, TWO) == "open"


def test_rules_that_ask_for_more_hold_for_what_was_approved_before(ledger: Ledger) -> None:
    """Who asks for two people from now on does not want a release that one has seen."""
    made = decide(REPORT, "approve", 0, "Ann")
    record(ledger, made)
    assert why(approved_row(made), ledger, TWO) == "open"


def test_an_approval_that_is_not_in_the_ledger_does_not_stand(ledger: Ledger) -> None:
    """Another installation's ledger, or one that was put back from before."""
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
def test_what_a_trusted_source_wrote_stands_until_an_expert_finds_fault(
    ledger: Ledger, later: list[Decision], fall: str | None
) -> None:
    """The name of a source is no decision that could be revoked, but an expert's word beats it."""
    row = approved_row(trusts=True)
    assert row.approval_kind == TRUSTED_SOURCE
    record(ledger, *later)
    assert why(row, ledger) == fall


@pytest.mark.parametrize(("word", "fall"), [("approve", None), ("reject", "rejected")])
def test_a_first_look_at_a_trusted_text_is_fault_only_if_it_finds_one(
    ledger: Ledger, word: str, fall: str | None
) -> None:
    """Under the rule of two it waits for the second one; until then nobody said that it must not be trained on."""
    record(ledger, decide(REPORT, word))
    assert why(approved_row(trusts=True), ledger, TWO) == fall


def test_general_data_is_nobodys_approval(ledger: Ledger) -> None:
    row = replace(approved_row(trusts=True), approval_kind=None)
    record(ledger, decide(REPORT, "reject"))
    assert why(row, ledger) is None


def test_the_author_of_a_correction_approves_nothing_here_either(ledger: Ledger, tmp_path: Path) -> None:
    """Who wrote it is read from the table of corrections; where nobody knows, nothing stands."""
    path = tmp_path / "corrections.parquet"
    pq.write_table(corrections("ward-key"), path)
    by_another, own = decide(CORRECTION, "approve", 0, "Ann"), decide(CORRECTION, "approve", 1, "ward-key")
    record(ledger, by_another, own)
    approved = approve(CORRECTED, [by_another], {}, {"correction/c1": "ward-key"}).approved
    (example,) = records_of(ApprovedExample, approved)
    row = approved_example(example, "train", {})
    assert why(row, ledger, corrections_file=path) is None
    assert why(row, ledger) is not None
    revoke(ledger, by_another.decision_id)
    assert why(row, ledger, corrections_file=path) == "revoked"


def test_what_nobody_reviewed_is_never_taught_again(ledger: Ledger) -> None:
    """A set would name it beside reviewed examples, although the source may say something else today."""
    assert why_not_taught_again(approved_row(trusts=True), now(ledger)) == UNREVIEWED


def test_what_was_overruled_is_not_taught_again_whatever_way_it_was_overruled(ledger: Ledger) -> None:
    """Revoked, repaired to something else, rejected; or its report was rejected after it was drafted anew."""
    made = decide(REPORT, "approve", 0, "Ann", "Ice.")
    row = approved_row(made)
    assert row.fingerprint == content_fingerprint(REPORT.instruction, REPORT.input, "Ice.")
    assert row.approval_kind == EXPERT
    record(ledger, made)
    assert why_not_taught_again(row, now(ledger)) is None
    record(ledger, replace(decide(REPORT, "reject", 1), **OTHER_CONTENT))
    assert why_not_taught_again(row, now(ledger)) == REASONS["rejected"]
    revoke(ledger, "d1")
    record(ledger, decide(REPORT, "approve", 2, "Ann", "Heat."))
    assert why_not_taught_again(row, now(ledger)) == REASONS["repaired"]
    revoke(ledger, "d2")
    revoke(ledger, "d0")
    assert why_not_taught_again(row, now(ledger)) == REASONS["revoked"]


def test_an_old_repair_that_nobody_signed_is_not_taught_again(ledger: Ledger) -> None:
    """It goes back to review, so a set of then must not bring it in by the other door."""
    made = decide(REPORT, "approve", 0, "Ann", "Ice.")
    with ledger.begin() as connection:
        connection.execute(decisions.insert().values({**vars(made), "approved_fingerprint": None, "reason": ""}))
    assert why_not_taught_again(approved_row(made), now(ledger)) == REASONS["open"]
