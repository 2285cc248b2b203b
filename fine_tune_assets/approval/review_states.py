"""The state machine of review: derives a draft's state from its decisions, as a pure function.

With two reviewers, a draft is decided when the latest decisions of two people agree on the exact text, or a third person
adjudicates. `vote_counts` selects the decisions that count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fine_tune_assets.core.people import person_key
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.recipes.schema import ReviewSettings

State = Literal["waiting", "second_review", "disagreement", "approved", "rejected", "trusted"]
REJECTED = "reject"
"""Outcome of a rejection; the outcome of an approval is the fingerprint of the approved content."""


@dataclass(frozen=True)
class Vote:
    """A decision and its outcome."""

    decision: Decision
    outcome: str

    @property
    def reviewer_key(self) -> str:
        return person_key(self.decision.reviewer)

    @property
    def is_repair(self) -> bool:
        return self.outcome not in (REJECTED, self.decision.fingerprint)


@dataclass(frozen=True)
class ReviewStatus:
    state: State
    final_decision: Decision | None
    """The decision that approves or rejects; None while the draft is open."""
    votes: tuple[Vote, ...]
    """The votes that determine the state, in order."""

    @property
    def reviewer_keys(self) -> tuple[str, ...]:
        """Keys of the people who decided."""
        return tuple(vote.reviewer_key for vote in self.votes)

    @property
    def outcome(self) -> str | None:
        """`reject`, or the fingerprint of the approved content; None while the draft is open."""
        return next((vote.outcome for vote in self.votes if vote.decision is self.final_decision), None)

    @property
    def approvers(self) -> tuple[str, ...]:
        """Names of the people who agree with the outcome, in order."""
        if self.final_decision is None:
            return ()
        return tuple(vote.decision.reviewer for vote in self.votes if vote.outcome == self.outcome)


WAITING = ReviewStatus("waiting", None, ())


def decision_outcome(decision: Decision) -> str:
    """The decision's outcome: `reject`, or the fingerprint of the signed content.

    Raises ValueError for an unsigned repair, which callers must exclude.
    """
    if decision.decision == "reject":
        return REJECTED
    if decision.output is None:
        return decision.fingerprint
    if decision.approved_fingerprint is None:
        raise ValueError(f"Decision {decision.decision_id} is an unsigned repair.")
    return decision.approved_fingerprint


def resolve_votes(votes: Sequence[Vote], rules: ReviewSettings) -> ReviewStatus:
    """The state from these decisions, in order. Never `trusted`, which needs no decision.

    With one reviewer the latest decision counts. If `own_edits` requires a second person, an active repair needs two reviewers.
    """
    if not votes:
        return WAITING
    latest = {vote.reviewer_key: vote for vote in votes}
    has_repair = any(vote.is_repair for vote in latest.values())
    if rules.reviewers == 2 or (rules.own_edits == "second_person" and has_repair):
        return _resolve_two_reviewers(votes, rules)
    return ReviewStatus(_final_state(votes[-1]), votes[-1].decision, (votes[-1],))


def _resolve_two_reviewers(votes: Sequence[Vote], rules: ReviewSettings) -> ReviewStatus:
    """The state with two reviewers. A decision against a ruling reopens the disagreement and includes the adjudicator."""
    reviews: dict[str, Vote] = {}
    ruling: Vote | None = None
    for vote in votes:
        if _is_adjudication(vote, reviews, ruling, rules):
            ruling = vote
            continue
        if ruling is not None and ruling.outcome != vote.outcome:
            reviews[ruling.reviewer_key], ruling = ruling, None
        if ruling is not None and ruling.reviewer_key == vote.reviewer_key:
            continue  # a repetition
        reviews.pop(vote.reviewer_key, None)  # keep the order of the latest decisions
        reviews[vote.reviewer_key] = vote
    counting = (*reviews.values(), *((ruling,) if ruling else ()))
    if ruling is None and len(reviews) < 2:
        return ReviewStatus("second_review", None, counting)
    if ruling is None and len({vote.outcome for vote in counting}) > 1:
        return ReviewStatus("disagreement", None, counting)
    return ReviewStatus(_final_state(counting[-1]), counting[-1].decision, counting)


def _is_adjudication(vote: Vote, reviews: Mapping[str, Vote], ruling: Vote | None, rules: ReviewSettings) -> bool:
    """Whether the vote adjudicates; otherwise it counts as a review.

    It does not adjudicate for a party to the disagreement, without a disagreement, or, if `own_edits` requires a second person,
    with a text that no one else decided on.
    """
    outcomes = {review.outcome for review in reviews.values()}
    if vote.decision.role != "adjudicate" or vote.reviewer_key in reviews or len(outcomes) < 2:
        return False
    if ruling is not None and ruling.reviewer_key != vote.reviewer_key:
        return False
    return rules.own_edits == "allow" or vote.outcome == REJECTED or vote.outcome in outcomes


def _final_state(vote: Vote) -> State:
    return "rejected" if vote.outcome == REJECTED else "approved"
