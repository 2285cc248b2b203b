"""The gate between drafts and training: every way in which it must stay closed."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.approval.approving import approve_examples
from fine_tune_assets.approval.drafting import content_fingerprint, draft_examples
from fine_tune_assets.approval.queue import waiting_drafts
from fine_tune_assets_tests.approval.examples import PLAN, TRUSTED, corrections, decide, drafts, reports

CORRECTED = drafts(authors=("ward-key",))
(CORRECTION,) = [draft for draft in CORRECTED.to_pylist() if draft["source"] == "correction"]
(REPORT,) = drafts().to_pylist()
AUTHORS = {"correction/c1": "ward-key"}


def test_nothing_is_approved_without_a_decision_or_trust() -> None:
    """Default deny."""
    approval = approve_examples(drafts(), [], {})
    assert (approval.approved.num_rows, approval.waiting) == (0, 1)


def test_a_trusted_source_is_recorded_as_who_approved() -> None:
    """An auditor must see that no reviewer read this one."""
    (row,) = approve_examples(drafts(), [], TRUSTED).approved.to_pylist()
    assert (row["approved_by"], row["approval_kind"], row["decision_id"]) == (
        "Experts of the clinic",
        "trusted_source",
        None,
    )


def test_an_expert_approves_the_draft_as_it_is() -> None:
    """The usual case, with the decision that allows it."""
    (row,) = approve_examples(drafts(), [decide(REPORT, "approve")], {}).approved.to_pylist()
    assert (row["approved_by"], row["approval_kind"], row["decision_id"]) == ("reviewer", "expert", "d0")
    assert (row["output"], row["fingerprint"]) == (REPORT["output"], REPORT["fingerprint"])


def test_a_repaired_output_replaces_the_draft_and_gets_its_own_fingerprint() -> None:
    """What was reviewed is what is trained: the fingerprint is of the repaired text."""
    (row,) = approve_examples(drafts(), [decide(REPORT, "approve", output="Ice.")], TRUSTED).approved.to_pylist()
    assert row["output"] == "Ice."
    assert row["fingerprint"] == content_fingerprint(REPORT["instruction"], REPORT["input"], "Ice.")
    assert row["approval_kind"] == "expert"


def test_a_rejection_beats_a_trusted_source() -> None:
    """An expert who says no has read it; the source's name has not."""
    approval = approve_examples(drafts(), [decide(REPORT, "reject")], TRUSTED)
    assert (approval.approved.num_rows, approval.rejected, approval.waiting) == (0, 1, 0)


def test_a_rejection_holds_for_the_same_content_under_another_id() -> None:
    """A copy of the rejected report arrives, and deduplication keeps the copy: its example has another id."""
    decision = replace(decide(REPORT, "reject"), example_id="of the first copy", report_id="b/0")
    approval = approve_examples(drafts(), [decision], TRUSTED)
    assert (approval.approved.num_rows, approval.rejected, approval.stale_decisions) == (0, 1, 0)


def test_after_a_rejection_a_changed_draft_of_the_report_waits_whatever_its_source() -> None:
    """Another scrubber changes one word: that must not undo what an expert said about the report."""
    rejected = replace(decide(REPORT, "reject"), example_id="before", fingerprint="of the text before")
    approval = approve_examples(drafts(), [rejected], TRUSTED)
    assert (approval.approved.num_rows, approval.waiting, approval.stale_decisions) == (0, 1, 1)
    assert waiting_drafts(drafts(), [rejected], TRUSTED).num_rows == 1
    approved_since = decide(REPORT, "approve", minute=1)
    assert approve_examples(drafts(), [rejected, approved_since], TRUSTED).approved.num_rows == 1
    of_another_task = replace(rejected, task="another")
    assert approve_examples(drafts(), [of_another_task], TRUSTED).approved.num_rows == 1


def test_a_rejection_is_remembered_although_another_report_still_has_what_was_rejected() -> None:
    """Two reports drafted the same; the rejected one was revised: it must not come in by the name of its source."""
    text = "FINDINGS\n{}\nPLAN\nRest."
    before = draft_examples(reports(text.format("Sprain."), text.format("Sprain.")), corrections(), [PLAN])
    (first,) = [draft for draft in before.to_pylist() if draft["report_id"] == "b/1"]
    after = draft_examples(reports(text.format("Bruise."), text.format("Sprain.")), corrections(), [PLAN])
    approval = approve_examples(after, [decide(first, "reject")], TRUSTED)
    assert (approval.approved.num_rows, approval.waiting, approval.rejected) == (0, 1, 1)


def test_an_author_cannot_approve_their_correction_through_a_copy_of_it() -> None:
    """The decision was barred where it was made: the same words from somebody else do not let it in."""
    both = drafts(authors=("ward-key", "other-key"))
    authors = {"correction/c1": "ward-key", "correction/c2": "other-key"}
    (own,) = [draft for draft in both.to_pylist() if draft["report_id"] == "correction/c1"]
    approval = approve_examples(both, [decide(own, "approve", reviewer="ward-key")], {}, authors)
    assert (approval.approved.num_rows, approval.barred_decisions) == (0, 1)


def test_an_approval_of_other_content_counts_for_nothing() -> None:
    """The reviewer saw another text: the draft waits again."""
    stale = replace(decide(REPORT, "approve"), fingerprint="of the text before")
    approval = approve_examples(drafts(), [stale], {})
    assert (approval.approved.num_rows, approval.waiting, approval.stale_decisions) == (0, 1, 1)


def test_a_decision_about_a_draft_that_is_gone_is_counted_as_stale() -> None:
    """A report that was withdrawn takes its approval with it."""
    gone = replace(decide(REPORT, "approve"), example_id="gone", fingerprint="of the report that is gone")
    assert approve_examples(drafts(), [gone], {}).stale_decisions == 1


@pytest.mark.parametrize(("last", "approved"), [("approve", 1), ("reject", 0)])
def test_the_latest_decision_wins_in_whatever_order_they_come(last: str, approved: int) -> None:
    """A reviewer may take back a decision; a replayed older one must not undo that."""
    first = decide(REPORT, "reject" if last == "approve" else "approve", minute=0)
    second = decide(REPORT, last, minute=1)
    for decisions in ([first, second], [second, first]):
        assert approve_examples(drafts(), decisions, TRUSTED).approved.num_rows == approved


def test_a_correction_is_never_approved_by_trust_even_if_a_recipe_names_it() -> None:
    """Anyone with a key can send a correction: trusting the kind would let them write the training data."""
    approval = approve_examples(CORRECTED, [], {"correction": "everyone"}, AUTHORS)
    assert (approval.approved.num_rows, approval.waiting) == (0, 2)


@pytest.mark.parametrize("reviewer", ["ward-key", "Ward-Key", " ward-key "])
def test_the_author_of_a_correction_cannot_approve_it(reviewer: str) -> None:
    """Four eyes; writing one's name otherwise makes no second person."""
    decision = decide(CORRECTION, "approve", reviewer=reviewer)
    approval = approve_examples(CORRECTED, [decision], {}, AUTHORS)
    assert (approval.approved.num_rows, approval.barred_decisions) == (0, 1)


def test_the_author_cannot_undo_what_another_decided() -> None:
    """An ignored decision is ignored whole: it does not stand as the latest one either."""
    decisions = [decide(CORRECTION, "reject", 0), decide(CORRECTION, "approve", 1, reviewer="ward-key")]
    assert approve_examples(CORRECTED, decisions, {}, AUTHORS).rejected == 1


def test_another_reviewer_approves_a_correction() -> None:
    """The way in which a correction does reach training."""
    approval = approve_examples(CORRECTED, [decide(CORRECTION, "approve")], {}, AUTHORS)
    assert approval.approved.column("report_id").to_pylist() == ["correction/c1"]


def test_a_correction_whose_author_is_not_known_cannot_be_approved() -> None:
    """Without the author nobody can tell whether the reviewer is the author: the gate stays closed."""
    approval = approve_examples(CORRECTED, [decide(CORRECTION, "approve")], {})
    assert (approval.approved.num_rows, approval.barred_decisions) == (0, 1)


def test_a_repair_that_left_nothing_approves_nothing() -> None:
    """An empty answer would teach the model to be silent."""
    approval = approve_examples(drafts(), [decide(REPORT, "approve", output=" ")], {})
    assert (approval.approved.num_rows, approval.waiting, approval.barred_decisions) == (0, 1, 1)


STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["approve", "reject"]), st.booleans(), st.integers(0, 3)), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, trusts=st.booleans())
def test_every_draft_is_approved_waiting_or_rejected_and_the_queue_agrees(
    steps: list[tuple[int, str, bool, int]], trusts: bool
) -> None:
    """What reviewers see as waiting must be what approval counts as waiting."""
    rows = [CORRECTION, REPORT]
    decisions = [
        replace(decide(rows[which], kind, minute), **({} if is_fresh else {"fingerprint": "old"}))
        for which, kind, is_fresh, minute in steps
    ]
    trusted = TRUSTED if trusts else {}
    approval = approve_examples(CORRECTED, decisions, trusted, AUTHORS)
    assert approval.approved.num_rows + approval.waiting + approval.rejected == CORRECTED.num_rows
    assert waiting_drafts(CORRECTED, decisions, trusted, AUTHORS).num_rows == approval.waiting
    assert approval.stale_decisions == sum(not is_fresh for _, _, is_fresh, _ in steps)
