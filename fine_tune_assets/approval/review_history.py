"""The decision history of an example, restricted to what a viewer may know: a second review is blind to the first."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.decision_records import DecisionRecord, list_decision_records, list_decisions_about
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.ledger.reviews.review_rows import OPEN_STATES, REVIEW_STATES
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample


@dataclass(frozen=True)
class DecisionEntry:
    """One decision in the history of an example."""

    decision_id: str
    reviewer: str
    role: str
    decision: str
    output: str | None
    """The repaired output."""
    meaning: str
    reason_code: str
    reason: str
    decided_at: datetime
    approved_fingerprint: str | None
    revoked_by: str | None
    revoked_at: datetime | None
    revocation_reason: str | None


def list_history(
    ledger: Ledger,
    example_id: str,
    *,
    viewer: str,
    can_see_all: bool,
    is_blind: bool = True,
    can_adjudicate: bool = True,
) -> list[DecisionEntry]:
    """Decisions about the example's content in order, including revoked ones.

    In the states of `blind_states` and in `trusted`, only the reviewer sees their own decision, unless the viewer may see all
    or the recipe is not blind (see `is_blind_review`). A viewer who may see all must not give the second review.
    """
    with ledger.read() as connection:
        item = find_item(connection, example_id)
        if item is None:
            return []
        lines = [_entry_of(record) for record in list_decision_records(connection, item.fingerprint)]
    # A trusted draft can have revoked decisions, and anyone may give the first of two independent ones again.
    blind = ("trusted", *blind_states(can_adjudicate=can_adjudicate))
    if is_blind and not can_see_all and item.state in blind:
        return [line for line in lines if is_same_person(line.reviewer, viewer)]
    return lines


def blind_states(*, can_adjudicate: bool) -> tuple[str, ...]:
    """States in which a person who may still decide must not see other decisions.

    An adjudicator sees both decisions. For others a disagreement counts too: after a revocation it becomes a second review.
    """
    return REVIEW_STATES if can_adjudicate else OPEN_STATES


def is_blind_review(rules: ReviewSettings) -> bool:
    """Whether a second review is blind. With one reviewer, a second person only reviews repairs, which they have to see."""
    return rules.reviewers == 2


def find_output_to_review(ledger: Ledger, draft: DraftedExample, rules: ReviewSettings) -> str:
    """The output to show to a reviewer: the draft's, or the repair that needs a second person."""
    if is_blind_review(rules):
        return draft.output
    with ledger.read() as connection:
        decisions = list_decisions_about(connection, [draft.fingerprint])
    item_is_repaired = decisions and decisions[-1].decision == "approve" and decisions[-1].output is not None
    return str(decisions[-1].output if item_is_repaired else draft.output)


def list_approved_outputs(draft: DraftedExample, history: Iterable[DecisionEntry]) -> dict[str, str]:
    """Fingerprint of approved content → its output, for the decisions that were not revoked."""
    return {
        entry.approved_fingerprint: draft.output if entry.output is None else entry.output
        for entry in history
        if entry.approved_fingerprint is not None and entry.revoked_at is None
    }


def _entry_of(record: DecisionRecord) -> DecisionEntry:
    values = {**vars(record), **vars(record.decision)}
    return DecisionEntry(**{name: values[name] for name in DecisionEntry.__dataclass_fields__})
