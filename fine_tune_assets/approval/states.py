"""What the decisions about one draft make of it: the state machine of review, as a pure function.

Owns the rule of two: two people whose latest words agree on the decision and on the very text, or a third one who settles
it. Takes decisions that count, about one content, in their order; which of them count is `approvals`'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fine_tune_assets.core.people import person_key
from fine_tune_assets.core.records import Decision
from fine_tune_assets.recipes.schema import ReviewSettings

State = Literal["waiting", "second_review", "disagreement", "approved", "rejected", "trusted"]
REJECTED = "reject"
"""The outcome of a rejection; that of an approval is the fingerprint of what it approves."""


@dataclass(frozen=True)
class Vote:
    """A decision, and what it would make of the draft."""

    decision: Decision
    outcome: str

    @property
    def person(self) -> str:
        return person_key(self.decision.reviewer)

    @property
    def is_repair(self) -> bool:
        return self.outcome not in (REJECTED, self.decision.fingerprint)


@dataclass(frozen=True)
class Standing:
    state: State
    settling: Decision | None
    """The decision that approves or rejects; None while the draft is open."""
    counting: tuple[Vote, ...]
    """Those that the state rests on, in their order."""

    @property
    def people(self) -> tuple[str, ...]:
        """Keys of those who decided."""
        return tuple(vote.person for vote in self.counting)

    @property
    def outcome(self) -> str | None:
        """What was settled: `reject`, or the fingerprint of what is approved; None while the draft is open."""
        return next((vote.outcome for vote in self.counting if vote.decision is self.settling), None)

    @property
    def approvers(self) -> tuple[str, ...]:
        """Names of those who stand behind the outcome, in their order."""
        if self.settling is None:
            return ()
        return tuple(vote.decision.reviewer for vote in self.counting if vote.outcome == self.outcome)


WAITING = Standing("waiting", None, ())


def outcome_of(decision: Decision) -> str:
    """What the decision makes of its draft: `reject`, or the fingerprint of the content that was signed. No repair may come
    here that nobody signed."""
    if decision.decision == "reject":
        return REJECTED
    if decision.output is None:
        return decision.fingerprint
    if decision.approved_fingerprint is None:
        raise ValueError(f"Decision {decision.decision_id} is a repair that nobody signed.")
    return decision.approved_fingerprint


def standing_of(votes: Sequence[Vote], rules: ReviewSettings) -> Standing:
    """The state that these decisions, in their order, make. `trusted` is not among them: it needs no decision.

    With one reviewer the latest word stands. Where `own_edits` asks for a second person, a repair that still is somebody's
    latest word puts its draft under the rule of two.
    """
    if not votes:
        return WAITING
    latest = {vote.person: vote for vote in votes}
    has_repair = any(vote.is_repair for vote in latest.values())
    if rules.reviewers == 2 or (rules.own_edits == "second_person" and has_repair):
        return _by_two(votes, rules)
    return Standing(_state_of(votes[-1]), votes[-1].decision, (votes[-1],))


def _by_two(votes: Sequence[Vote], rules: ReviewSettings) -> Standing:
    """Whoever contradicts a ruling opens the disagreement again, and who ruled is then one of those who disagree."""
    reviews: dict[str, Vote] = {}
    ruling: Vote | None = None
    for vote in votes:
        if _is_ruling(vote, reviews, ruling, rules):
            ruling = vote
            continue
        if ruling is not None and ruling.outcome != vote.outcome:
            reviews[ruling.person], ruling = ruling, None
        if ruling is not None and ruling.person == vote.person:
            continue  # said once more
        reviews.pop(vote.person, None)  # so that the order is that of the latest words
        reviews[vote.person] = vote
    counting = (*reviews.values(), *((ruling,) if ruling else ()))
    if ruling is None and len(reviews) < 2:
        return Standing("second_review", None, counting)
    if ruling is None and len({vote.outcome for vote in counting}) > 1:
        return Standing("disagreement", None, counting)
    return Standing(_state_of(counting[-1]), counting[-1].decision, counting)


def _is_ruling(vote: Vote, reviews: Mapping[str, Vote], ruling: Vote | None, rules: ReviewSettings) -> bool:
    """Whether it settles. An adjudication by one of those who disagree, or where nothing is to settle, is one more review;
    and so is, where `own_edits` asks for a second person, one with a text that nobody else decided on."""
    outcomes = {review.outcome for review in reviews.values()}
    if vote.decision.role != "adjudicate" or vote.person in reviews or len(outcomes) < 2:
        return False
    if ruling is not None and ruling.person != vote.person:
        return False
    return rules.own_edits == "allow" or vote.outcome == REJECTED or vote.outcome in outcomes


def _state_of(vote: Vote) -> State:
    return "rejected" if vote.outcome == REJECTED else "approved"
