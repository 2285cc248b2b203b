"""Drafts, people and lines of a decision file."""

import json
from datetime import timedelta
from typing import Any

import pytest

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets_tests.approval.examples import START, drafted, drafts
from fine_tune_assets_tests.cli.desk_users import add_user

DRAFTS = drafts(source="elsewhere", authors=("ward-key",))
BY_ID = {draft.example_id: draft for draft in drafted(DRAFTS)}
(CORRECTION,) = [draft for draft in BY_ID.values() if draft.source == "correction"]
(REPORT,) = [draft for draft in BY_ID.values() if draft.source != "correction"]
AUTHORS = {"correction/c1": "ward-key"}
NOW = START + timedelta(days=1)


def line(name: str, reviewer: str, decision: str = "approve", draft: DraftedExample = REPORT, **more: Any) -> str:
    value = {"id": name, "example_id": draft.example_id, "fingerprint": draft.fingerprint}
    return json.dumps({**value, "reviewer": reviewer, "decision": decision, **more})


def facts_of(draft: DraftedExample) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in ("example_id", "fingerprint", "report_id", "task")}


@pytest.fixture(autouse=True)
def people(ledger: Ledger) -> None:
    """Only the names of users with the role can be proposed."""
    for name in ("Ann", "Ben", "Ward-Key"):
        add_user(ledger, name, "reviewer")
    add_user(ledger, "Cleo", "approver")
    add_user(ledger, "Ursula", "user")
