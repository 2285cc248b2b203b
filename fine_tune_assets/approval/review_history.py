"""What was decided about an example before, and what of it a viewer may know: a second look is blind to the first.

Owns the lines of the history and what is hidden of them.
"""

from dataclasses import dataclass
from datetime import datetime

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.review_items import REVIEW_STATES, find_item
from fine_tune_assets.ledger.reviews.review_rows import OPEN_STATES
from fine_tune_assets.ledger.reviews.reviews import DecisionRecord, decisions_about, list_records
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import DraftedExample


@dataclass(frozen=True)
class DecisionLine:
    """One decision about an example, as its history shows it."""

    decision_id: str
    reviewer: str
    role: str
    decision: str
    output: str | None
    """The output as repaired."""
    meaning: str
    reason_code: str
    reason: str
    decided_at: datetime
    approved_fingerprint: str | None
    revoked_by: str | None
    revoked_at: datetime | None
    revoked_because: str | None


def history(
    ledger: Ledger, example_id: str, *, viewer: str, may_see_all: bool, is_blind: bool = True, may_settle: bool = True
) -> list[DecisionLine]:
    """The decisions about the example's content, revoked ones too, in their order.

    In the states that `hidden_states` names the others' words are hidden from everybody but their own reviewer, unless they
    may see all or the recipe is not blind (`reviews_blind` says so). Who may see all must not give the second look.
    """
    with ledger.read() as connection:
        item = find_item(connection, example_id)
        if item is None:
            return []
        lines = [_line_of(record) for record in list_records(connection, item.fingerprint)]
    if is_blind and not may_see_all and item.state in hidden_states(may_settle=may_settle):
        return [line for line in lines if is_same_person(line.reviewer, viewer)]
    return lines


def hidden_states(*, may_settle: bool) -> tuple[str, ...]:
    """States of an item in which nobody who may still decide on it learns how others did. Who settles a disagreement sees both;
    for anybody else it may become a second look again, if one of the two takes their word back."""
    return REVIEW_STATES if may_settle else OPEN_STATES


def reviews_blind(rules: ReviewSettings) -> bool:
    """Whether a second look is given without knowing the first. With one reviewer a second person is asked only about a
    repair, which they have to see."""
    return rules.reviewers == 2


def output_to_review(ledger: Ledger, draft: DraftedExample, rules: ReviewSettings) -> str:
    """The output that a reviewer is shown first: the draft's, or the repair that a second person is asked about."""
    if reviews_blind(rules):
        return draft.output
    with ledger.read() as connection:
        made = decisions_about(connection, [draft.fingerprint])
    item_is_repaired = made and made[-1].decision == "approve" and made[-1].output is not None
    return str(made[-1].output if item_is_repaired else draft.output)


def _line_of(record: DecisionRecord) -> DecisionLine:
    values = {**vars(record), **vars(record.decision)}
    return DecisionLine(**{name: values[name] for name in DecisionLine.__dataclass_fields__})
