"""Records one signature for several identical cases: a decision for each of them, in one transaction.

Each case is checked like a single decision, and by the fingerprint of its own content. A refused case does not stop the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.approval.drafts import content_fingerprint, identical_case_key
from fine_tune_assets.approval.flags import flag_kind
from fine_tune_assets.approval.review_actions import submit_decision
from fine_tune_assets.approval.sign_off import DecisionSubmission, ReviewError, StaleItemError, complete_submission
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import UnknownRecordError
from fine_tune_assets.ledger.reviews.review_items import AssignedError, require_item
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample

MAX_CASES = 20
"""Maximum number of cases in one signature: few enough to read each of them."""


@dataclass(frozen=True)
class SignedCase:
    """A case as the reviewer saw it."""

    draft: DraftedExample
    version: int
    fingerprint: str
    """The fingerprint that the page showed for signing."""


@dataclass(frozen=True)
class RefusedCase:
    example_id: str
    reason: str


def submit_case_decisions(
    ledger: Ledger,
    cases: Sequence[SignedCase],
    submission: DecisionSubmission,
    *,
    case_key: str,
    rules: ReviewSettings,
    now: datetime,
) -> list[RefusedCase]:
    """Record the decision on each case and return the refused ones.

    The caller has checked that an approval acknowledges the flags. Raises ReviewError without recording anything if there are
    too many cases, or if the submission itself is invalid.
    """
    if len(cases) > MAX_CASES:
        raise ReviewError(f"One signature covers at most {MAX_CASES} cases. Nothing was recorded.")
    for case in cases[:1]:
        complete_submission(submission, case.draft)
    refused = []
    with ledger.begin() as connection:
        for case in cases:
            try:
                _require_signed_case(case, case_key)
                _require_waiting(connection, case.draft.example_id)
                word = _acknowledge_flags(submission, case.draft)
                submit_decision(connection, case.draft, word, version=case.version, rules=rules, author=None, now=now)
            # These errors are raised before anything of the case is written.
            except (ReviewError, AssignedError, UnknownRecordError) as error:
                refused.append(RefusedCase(case.draft.example_id, str(error)))
    return refused


def _acknowledge_flags(submission: DecisionSubmission, draft: DraftedExample) -> DecisionSubmission:
    if submission.decision == "reject":
        return submission
    return replace(submission, acknowledged_kinds=tuple(map(flag_kind, draft.flags)))


def _require_signed_case(case: SignedCase, case_key: str) -> None:
    draft = case.draft
    if not case_key or case_key_of(draft) != case_key:
        raise ReviewError(f"Example {draft.example_id} is not one of these identical cases.")
    if content_fingerprint(draft.instruction, draft.input, draft.output) != case.fingerprint:
        raise StaleItemError(f"Example {draft.example_id} differs from the content that was shown for signing.")


def _require_waiting(connection: sa.Connection, example_id: str) -> None:
    """Cases are offered for a first review only."""
    if require_item(connection, example_id).state != "waiting":
        raise StaleItemError(f"Example {example_id} no longer waits for a first review.")


def case_key_of(draft: DraftedExample) -> str:
    return identical_case_key(draft.task, draft.source, draft.instruction, draft.output, draft.flags)
