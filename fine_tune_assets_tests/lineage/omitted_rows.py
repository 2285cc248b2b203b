"""For each reason of the account, rows of tables in which one report, draft or example of batch `b` is left out for it."""

from dataclasses import dataclass, field
from typing import Any

from fine_tune_assets.ledger.reviews.review_rows import STATES as STATES
from fine_tune_assets.tables.approval_rows import UndraftedReason, WithheldExampleReason
from fine_tune_assets.tables.dedup_rows import UncomparedReason

Rows = dict[str, list[dict[str, Any]]]
REPORT = {"report_id": "b/1"}
READ: Rows = {"reports": [{**REPORT, "batch": "b", "subject_key": "s"}]}
SCRUBBED: Rows = {**READ, "scrubbed_reports": [REPORT]}
UNIQUE: Rows = {**SCRUBBED, "unique_reports": [REPORT]}
DRAFTED: Rows = {**UNIQUE, "drafted_examples": [{"example_id": "e1", "report_id": "b/1"}]}
APPROVED: Rows = {**DRAFTED, "approved_examples": [{"example_id": "e1"}]}
OPEN_STATES = ("waiting", "second_review", "disagreement", "rejected")
SECTION = "no section: PLAN"


@dataclass(frozen=True)
class Case:
    reason: str
    rows: Rows
    detail: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.reason


CASES = (
    Case("unreadable", {"unreadable_reports": [{"batch": "b", "reason": "no_subject"}]}, "no_subject"),
    Case("not_read", {}, more={"unread_files": {"b": 1}}),
    Case("erased", UNIQUE, more={"erased_subjects": ["s"]}),
    Case("residual_phi", {**READ, "withheld_reports": [{**REPORT, "kind": kind} for kind in ("NAME", "ID")]}),
    Case("unscrubbable", {**READ, "withheld_reports": [{**REPORT, "kind": "NOT_SCRUBBED"}]}),
    Case("not_scrubbed", READ),
    *(
        Case(reason.value, {**SCRUBBED, "uncompared_reports": [{**REPORT, "reason": reason.value}]})
        for reason in UncomparedReason
    ),
    Case("duplicate", {**SCRUBBED, "duplicate_reports": [{"dropped_id": "b/1", "kind": "near"}]}, "near"),
    Case("not_compared", SCRUBBED),
    *(
        Case(
            reason.value,
            {**UNIQUE, "undrafted_reports": [{**REPORT, "reason": reason.value, "detail": SECTION}]},
            SECTION,
        )
        for reason in UndraftedReason
    ),
    Case("not_drafted", UNIQUE),
    *(Case(state, DRAFTED, more={"review_states": {"e1": state}}) for state in OPEN_STATES),
    *(
        Case(reason.value, {**DRAFTED, "withheld_examples": [{"example_id": "e1", "reason": reason.value}]})
        for reason in WithheldExampleReason
    ),
    Case("not_approved", DRAFTED, more={"review_states": {"e1": "approved"}}),
    Case("excluded", APPROVED, "near duplicate in test", {"excluded": {"e1": "near duplicate in test"}}),
    Case("not_in_set", APPROVED),
)
