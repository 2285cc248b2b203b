"""Decisions as the desk submits them, for tests of what follows from one."""

from datetime import UTC, datetime
from typing import Any

from fine_tune_assets.approval.review_actions import submit_decision
from fine_tune_assets.approval.sign_off import DecisionSubmission, Role
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.approval_rows import DraftedExample


def submit(
    ledger: Ledger,
    draft: DraftedExample | dict[str, Any],
    who: str,
    what: str = "approve",
    output: str | None = None,
    role: Role = "review",
) -> str:
    """Submit a decision about a draft that is in the queue, by the rules of the current recipe; returns the item's state."""
    record = DraftedExample.from_row(draft) if isinstance(draft, dict) else draft
    item = find_item(ledger, record.example_id)
    assert item is not None
    code = "style" if what == "reject" else ""
    done = submit_decision(
        ledger,
        record,
        DecisionSubmission(who, role, what, output, code, "", ""),
        version=item.version,
        rules=load_recipe(load_settings().recipe).review,
        author=None,
        now=datetime.now(UTC),
    )
    return done.state
