"""Lets reviewers undo their last signature for some seconds: a revocation with a fixed reason.

The page after a decision offers it. A bulk signature is undone as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.reviews.decision_records import DecisionRecord, list_newest_records

OFFER_SECONDS = 10
"""Seconds for which the page offers to undo."""
LIMIT_SECONDS = 30
"""Seconds after which the server refuses to undo: slower readers and late requests have some more time than the page shows."""
REASON = f"Undone within {LIMIT_SECONDS} seconds"
"""Reason of the revocation."""
FILTER_PREFIX = "filter_"
_OFFERED_NOTICES = frozenset({"approved", "rejected"})
_NEWEST_RECORDS = 60
_NOT_IN_FILTER = frozenset({"notice", "after", "after_state"})


@dataclass(frozen=True)
class UndoOffer:
    """The viewer's last signature."""

    decision: str
    is_repaired: bool
    task: str
    decision_ids: tuple[str, ...]
    seconds: int
    filter_fields: dict[str, str]
    """The filter of the queue, as hidden fields."""


def find_undo_offer(desk: Desk, context: RequestContext) -> UndoOffer | None:
    """The signature that the page offers to undo: the viewer's last one, if it is new enough."""
    if context.session is None or context.query_param("notice") not in _OFFERED_NOTICES:
        return None
    signed = _find_last_signature(
        list_newest_records(desk.ledger, _NEWEST_RECORDS),
        context.user.name,
        context.now - timedelta(seconds=OFFER_SECONDS),
    )
    if not signed:
        return None
    first = signed[0].decision
    left = OFFER_SECONDS - int((context.now - first.decided_at).total_seconds())
    ids = tuple(record.decision.decision_id for record in signed)
    return UndoOffer(first.decision, first.output is not None, first.task or "", ids, left, _carry_filter(context))


def may_undo(record: DecisionRecord, viewer: str, now: datetime) -> bool:
    """Whether the viewer signed this review so recently that it needs no reason to take it back."""
    decision = record.decision
    is_theirs = is_same_person(decision.reviewer, viewer) and decision.role == "review"
    return is_theirs and now - decision.decided_at <= timedelta(seconds=LIMIT_SECONDS)


def _find_last_signature(newest: Sequence[DecisionRecord], viewer: str, since: datetime) -> list[DecisionRecord]:
    """The viewer's newest decisions; several if one signature covers them, which gives them the same time."""
    own = [
        record
        for record in newest
        if record.decision.decided_at >= since
        and record.decision.role == "review"
        and is_same_person(record.decision.reviewer, viewer)
    ]
    last = [record for record in own if record.decision.decided_at == own[0].decision.decided_at]
    return [] if any(record.is_revoked for record in last) else last


def _carry_filter(context: RequestContext) -> dict[str, str]:
    """The filter in the address; `queue_pages` ignores fields that it does not know."""
    fields = context.request.query_params.items()
    return {f"{FILTER_PREFIX}{name}": value for name, value in fields if name not in _NOT_IN_FILTER}
