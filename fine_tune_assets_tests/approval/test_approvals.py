"""The gate between drafts and training: every way in which it must stay closed."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.approval.drafts import content_fingerprint, draft_examples
from fine_tune_assets.approval.review_actions import build_queue_items
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets_tests.approval.examples import (
    ONE,
    PLAN,
    TRUSTED,
    TWO,
    approve,
    corrections,
    decide,
    drafted,
    drafts,
    reports,
)
from fine_tune_assets_tests.clinical_domain import PACK

CORRECTED = drafts(authors=("ward-key",))
(CORRECTION,) = [draft for draft in drafted(CORRECTED) if draft.source == "correction"]
(REPORT,) = drafted(drafts())
AUTHORS = {"correction/c1": "ward-key"}


def test_nothing_is_approved_without_a_decision_or_trust() -> None:
    """Default deny."""
    approval = approve(drafts(), [], {})
    assert (approval.approved.num_rows, approval.waiting) == (0, 1)


def test_trusted_source_is_recorded_as_approver() -> None:
    """An auditor must see that no reviewer read this example."""
    (row,) = approve(drafts(), [], TRUSTED).approved.to_pylist()
    assert (row["approved_by"], row["approval_kind"], row["decision_id"]) == (
        "Experts of the clinic",
        "trusted_source",
        None,
    )


def test_expert_approves_the_draft_as_it_is() -> None:
    """The usual case, with the decision that allows it."""
    (row,) = approve(drafts(), [decide(REPORT, "approve")], {}).approved.to_pylist()
    assert (row["approved_by"], row["approval_kind"], row["decision_id"]) == ("reviewer", "expert", "d0")
    assert (row["output"], row["fingerprint"]) == (REPORT.output, REPORT.fingerprint)


def test_repaired_output_replaces_the_draft_with_a_new_fingerprint() -> None:
    """The reviewed text is trained on, so the fingerprint covers the repair."""
    (row,) = approve(drafts(), [decide(REPORT, "approve", output="Ice.")], TRUSTED).approved.to_pylist()
    assert row["output"] == "Ice."
    assert row["fingerprint"] == content_fingerprint(REPORT.instruction, REPORT.input, "Ice.")
    assert row["approval_kind"] == "expert"


def test_rejection_overrides_a_trusted_source() -> None:
    """The expert has read the draft; the source's name has not."""
    approval = approve(drafts(), [decide(REPORT, "reject")], TRUSTED)
    assert (approval.approved.num_rows, approval.rejected, approval.waiting) == (0, 1, 0)


def test_rejection_applies_to_the_same_content_under_another_id() -> None:
    """If deduplication keeps a copy of a rejected report, its example has another id."""
    decision = replace(decide(REPORT, "reject"), example_id="of the first copy", report_id="b/0")
    approval = approve(drafts(), [decision], TRUSTED)
    assert (approval.approved.num_rows, approval.rejected, approval.stale_decisions) == (0, 1, 0)


def test_changed_draft_of_a_rejected_report_waits_whatever_its_source() -> None:
    """A scrubber update that changes one word must not undo a rejection."""
    rejected = replace(decide(REPORT, "reject"), example_id="before", fingerprint="of the text before")
    approval = approve(drafts(), [rejected], TRUSTED)
    assert (approval.approved.num_rows, approval.waiting, approval.stale_decisions) == (0, 1, 1)
    (item,) = build_queue_items(drafts(), "a-line", [rejected], TRUSTED, ONE, {}, {})
    assert (item.state, item.is_trusted) == ("waiting", True)
    approved_since = decide(REPORT, "approve", minute=1)
    assert approve(drafts(), [rejected, approved_since], TRUSTED).approved.num_rows == 1
    of_another_task = replace(rejected, task="another")
    assert approve(drafts(), [of_another_task], TRUSTED).approved.num_rows == 1


def test_rejection_is_remembered_after_the_rejected_report_changed() -> None:
    """Two reports had the same draft; the revised one must not be approved by trust in its source."""
    text = "FINDINGS\n{}\nPLAN\nRest."
    before = draft_examples(reports(text.format("Sprain."), text.format("Sprain.")), corrections(), [PLAN], pack=PACK)
    (first,) = [draft for draft in drafted(before) if draft.report_id == "b/1"]
    after = draft_examples(reports(text.format("Bruise."), text.format("Sprain.")), corrections(), [PLAN], pack=PACK)
    approval = approve(after, [decide(first, "reject")], TRUSTED)
    assert (approval.approved.num_rows, approval.waiting, approval.rejected) == (0, 1, 1)


def test_author_cannot_approve_their_correction_through_a_copy() -> None:
    """The author's decision does not count, even if another source drafts the same text."""
    both = drafts(authors=("ward-key", "other-key"))
    authors = {"correction/c1": "ward-key", "correction/c2": "other-key"}
    (own,) = [draft for draft in drafted(both) if draft.report_id == "correction/c1"]
    approval = approve(both, [decide(own, "approve", reviewer="ward-key")], {}, authors)
    assert (approval.approved.num_rows, approval.ineligible_decisions) == (0, 1)


def test_approval_of_other_content_does_not_count() -> None:
    """The reviewer saw another text, so the draft needs review again."""
    stale = replace(decide(REPORT, "approve"), fingerprint="of the text before")
    approval = approve(drafts(), [stale], {})
    assert (approval.approved.num_rows, approval.waiting, approval.stale_decisions) == (0, 1, 1)


def test_decision_about_a_removed_draft_is_counted_as_stale() -> None:
    """Withdrawing a report withdraws its approval."""
    stale = replace(decide(REPORT, "approve"), example_id="gone", fingerprint="of the removed report")
    assert approve(drafts(), [stale], {}).stale_decisions == 1


@pytest.mark.parametrize(("last", "approved"), [("approve", 1), ("reject", 0)])
def test_latest_decision_wins_in_any_order_of_arrival(last: str, approved: int) -> None:
    """A reviewer may revise a decision; replaying an older one must not undo that."""
    first = decide(REPORT, "reject" if last == "approve" else "approve", minute=0)
    second = decide(REPORT, last, minute=1)
    for decisions in ([first, second], [second, first]):
        assert approve(drafts(), decisions, TRUSTED).approved.num_rows == approved


def test_correction_is_never_trusted_even_if_the_recipe_lists_it() -> None:
    """Anyone with a key can send a correction; trust would let them write the training data."""
    approval = approve(CORRECTED, [], {"correction": "everyone"}, AUTHORS)
    assert (approval.approved.num_rows, approval.waiting) == (0, 2)


@pytest.mark.parametrize("reviewer", ["ward-key", "Ward-Key", " ward-key "])
def test_author_of_a_correction_cannot_approve_it(reviewer: str) -> None:
    """Spelling variants of a name are the same person."""
    decision = decide(CORRECTION, "approve", reviewer=reviewer)
    approval = approve(CORRECTED, [decision], {}, AUTHORS)
    assert (approval.approved.num_rows, approval.ineligible_decisions) == (0, 1)


def test_author_cannot_override_another_reviewer() -> None:
    """An ineligible decision does not count as the latest either."""
    decisions = [decide(CORRECTION, "reject", 0), decide(CORRECTION, "approve", 1, reviewer="ward-key")]
    assert approve(CORRECTED, decisions, {}, AUTHORS).rejected == 1


def test_another_reviewer_approves_a_correction() -> None:
    """The way a correction reaches training."""
    approval = approve(CORRECTED, [decide(CORRECTION, "approve")], {}, AUTHORS)
    assert approval.approved.column("report_id").to_pylist() == ["correction/c1"]


def test_correction_of_an_unknown_author_cannot_be_approved() -> None:
    """Without the author, the reviewer might be the author, so the gate stays closed."""
    approval = approve(CORRECTED, [decide(CORRECTION, "approve")], {})
    assert (approval.approved.num_rows, approval.ineligible_decisions) == (0, 1)


def test_empty_repair_approves_nothing() -> None:
    """An empty answer would teach the model to be silent."""
    approval = approve(drafts(), [decide(REPORT, "approve", output=" ")], {})
    assert (approval.approved.num_rows, approval.waiting, approval.ineligible_decisions) == (0, 1, 1)


def test_approval_signed_for_another_text_is_counted_but_approves_nothing() -> None:
    """A row of the ledger or the drafts was changed after the signature."""
    repaired = replace(decide(REPORT, "approve", output="Ice."), approved_fingerprint="of something else")
    approval = approve(drafts(), [repaired], {})
    assert (approval.approved.num_rows, approval.waiting, approval.altered_decisions) == (0, 1, 1)
    signed = replace(decide(REPORT, "approve"), approved_fingerprint=REPORT.fingerprint)
    assert approve(drafts(), [signed], {}).approved.num_rows == 1
    rewritten = table_from_records(DraftedExample, [replace(REPORT, output="Run.")])
    assert (approve(rewritten, [signed], {}).approved.num_rows, approve(rewritten, [signed], {}).waiting) == (0, 1)


def test_unsigned_repair_needs_review_again() -> None:
    """The approved text is unknown, because the draft may have changed since. Old rejections stay valid."""
    old = replace(decide(REPORT, "approve", output="Ice."), approved_fingerprint=None)
    approval = approve(drafts(), [old], {})
    assert (approval.approved.num_rows, approval.waiting, approval.altered_decisions) == (0, 1, 1)
    (item,) = build_queue_items(drafts(), "a-line", [old], {}, ONE, {}, {})
    assert (item.state, item.decided_by) == ("waiting", ())
    assert approve(drafts(), [old], TRUSTED).waiting == 1, (
        "Trust in the source must not approve what an expert repaired."
    )
    signed = decide(REPORT, "approve", minute=1, output="Ice.")
    assert approve(drafts(), [old, signed], {}).approved.column("output").to_pylist() == ["Ice."]
    assert approve(drafts(), [decide(REPORT, "reject")], TRUSTED).rejected == 1


def test_wrong_signature_does_not_count_even_without_the_text() -> None:
    """The queue counts decisions about contents that no current draft has, without their text."""
    stale = replace(decide(REPORT, "approve"), fingerprint="gone", approved_fingerprint="of something else")
    assert approve(drafts(), [stale], {}).altered_decisions == 1


def test_approval_by_two_names_both_and_every_decision() -> None:
    """An auditor must find both signatures."""
    two = [decide(REPORT, "approve", 0, "Ann"), decide(REPORT, "approve", 1, "Ben")]
    assert approve(drafts(), two[:1], TRUSTED, rules=TWO).state_counts == {"second_review": 1}
    (row,) = approve(drafts(), two, {}, rules=TWO).approved.to_pylist()
    assert (row["approved_by"], row["decision_id"], row["decision_ids"]) == ("Ann, Ben", "d1", ["d0", "d1"])


def test_adjudicated_approval_names_its_supporters() -> None:
    """The person who rejected it did not approve it; their decision stays on record."""
    decisions = [decide(REPORT, "approve", 0, "Ann"), decide(REPORT, "reject", 1, "Ben")]
    assert approve(drafts(), decisions, {}, rules=TWO).state_counts == {"disagreement": 1}
    ruling = replace(decide(REPORT, "approve", 2, "Cleo"), role="adjudicate")
    (row,) = approve(drafts(), [*decisions, ruling], {}, rules=TWO).approved.to_pylist()
    assert (row["approved_by"], row["decision_ids"]) == ("Ann, Cleo", ["d0", "d1", "d2"])


def test_author_is_not_a_second_reviewer_of_their_correction() -> None:
    """One other person and the author are not two reviewers."""
    decisions = [decide(CORRECTION, "approve", 0, "Ann"), decide(CORRECTION, "approve", 1, "ward-key")]
    approval = approve(CORRECTED, decisions, {}, AUTHORS, rules=TWO)
    assert (approval.state_counts, approval.ineligible_decisions) == ({"second_review": 1, "waiting": 1}, 1)


def test_open_disagreement_over_older_content_blocks_trust() -> None:
    """One of two rejected it, so other content of the report must not be approved by trust."""
    before = {"example_id": "before", "fingerprint": "of the text before"}
    decisions = [
        replace(decide(REPORT, "reject", 0, "Ann"), **before),
        replace(decide(REPORT, "approve", 1, "Ben"), **before),
    ]
    assert approve(drafts(), decisions, TRUSTED, rules=TWO).state_counts == {"waiting": 1}
    ruling = replace(decide(REPORT, "approve", 2, "Cleo"), role="adjudicate", **before)
    assert approve(drafts(), [*decisions, ruling], TRUSTED, rules=TWO).state_counts == {"trusted": 1}


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["approve", "reject"]),
        st.booleans(),
        st.integers(0, 3),
        st.sampled_from(["Ann", "Ben", "Cleo", "ward-key"]),
        st.sampled_from([None, "Ice.", "Heat."]),
        st.sampled_from(["review", "review", "adjudicate"]),
        st.booleans(),
    ),
    max_size=9,
)
RULES = st.builds(
    lambda reviewers, own_edits: replace(ONE, reviewers=reviewers, own_edits=own_edits),
    st.sampled_from([1, 2]),
    st.sampled_from(["allow", "second_person"]),
)


def _decisions(steps: list[Any]) -> list[Decision]:
    made = []
    for number, (which, kind, is_fresh, minute, who, output, role, is_signed) in enumerate(steps):
        draft = [CORRECTION, REPORT][which]
        decision = decide(draft, kind, minute, who, output if kind == "approve" else None)
        changes: dict[str, Any] = {"decision_id": f"d{number}", "role": role}
        if not is_fresh:
            changes["fingerprint"] = "old"
        elif not is_signed and kind == "approve":
            changes["approved_fingerprint"] = "of something else"
        made.append(replace(decision, **changes))
    return made


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, trusts=st.booleans(), rules=RULES)
def test_queue_shows_the_decisions_of_the_gate(steps: list[Any], trusts: bool, rules: ReviewSettings) -> None:
    """The reviewers' view and the training data must never differ, for any decisions and rules."""
    decisions, trusted = _decisions(steps), TRUSTED if trusts else {}
    approval = approve(CORRECTED, decisions, trusted, AUTHORS, rules)
    states = {
        item.example_id: item.state
        for item in build_queue_items(CORRECTED, "a-line", decisions, trusted, rules, AUTHORS, {})
    }
    assert dict(Counter(states.values())) == approval.state_counts
    shown = {key for key, state in states.items() if state in ("approved", "trusted")}
    assert shown == set(approval.approved.column("example_id").to_pylist())
    assert approval.approved.num_rows + approval.waiting + approval.rejected == CORRECTED.num_rows


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, rules=RULES)
def test_nothing_is_approved_by_fewer_people_than_required(steps: list[Any], rules: ReviewSettings) -> None:
    """Requires two different people who are not the author."""
    decisions = {decision.decision_id: decision for decision in _decisions(steps)}
    drafted = {draft.example_id: draft.output for draft in (CORRECTION, REPORT)}
    for row in approve(CORRECTED, list(decisions.values()), {}, AUTHORS, rules).approved.to_pylist():
        counted = [decisions[key] for key in row["decision_ids"]]
        people = {decision.reviewer for decision in counted if decision.decision == "approve"}
        is_own_text = row["output"] not in (CORRECTION.output, REPORT.output) and rules.own_edits != "allow"
        assert len(people) >= (2 if rules.reviewers == 2 or is_own_text else 1)
        assert row["approved_by"].split(", ") == [
            d.reviewer
            for d in counted
            if d.decision == "approve" and (d.output or drafted[row["example_id"]]) == row["output"]
        ]
        if row["report_id"] == "correction/c1":
            assert "ward-key" not in people
