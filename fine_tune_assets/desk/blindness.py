"""What is kept from whoever may still decide on an item: how others did, until it is settled.

Owns which visit that is and which examples it concerns. That somebody decided, and when, is no secret: two people meet at one
item. Auditors and operators who decide on nothing see everything.
"""

from collections.abc import Collection

from fine_tune_assets.approval.review_history import hidden_states, reviews_blind
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.review_items import examples_in_states

_DECIDE = frozenset({"reviewer", "approver"})


def may_see_all(visit: Visit) -> bool:
    return not _DECIDE & visit.who.roles


def may_settle(visit: Visit) -> bool:
    return "approver" in visit.who.roles


def examples_to_hide(desk: Desk, visit: Visit, example_ids: Collection[str]) -> frozenset[str]:
    """Those of the examples of which this visit may not learn how they were decided."""
    if may_see_all(visit) or not example_ids or not reviews_blind(desk.rules()):
        return frozenset()
    return examples_in_states(desk.ledger, example_ids, hidden_states(may_settle=may_settle(visit)))
