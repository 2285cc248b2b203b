"""Lets a person sign the proposals of a file under their own name: a decision for each, by the rules of a decision at the desk.

Each line is checked separately. A refused line is not recorded, keeps its proposal, and does not stop the others.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from fine_tune_assets.approval.flags import flag_kind
from fine_tune_assets.approval.review_actions import (
    ReviewStandings,
    read_standings,
    submit_decision,
)
from fine_tune_assets.approval.sign_off import (
    DecisionSubmission,
    NotAllowedError,
    ReviewError,
    StaleItemError,
    acknowledgement_code,
    complete_submission,
)
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.people.users import find_enabled_user
from fine_tune_assets.ledger.reviews.proposal_records import Proposal, find_proposal, mark_signed
from fine_tune_assets.ledger.reviews.review_items import (
    AssignedError,
    ReviewItem,
    require_available,
    require_item,
    require_present,
)
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample

ABSENT = "Its draft was removed, or is withheld because of a marked identifier."
_ACTIONS = {"review": Action.REVIEW, "adjudicate": Action.ADJUDICATE}
_DECIDED = ("approved", "rejected")
_AUDITED_CHARACTERS = 300


@dataclass(frozen=True)
class Signer:
    """A signed-in person."""

    name: str
    roles: Collection[str]


@dataclass(frozen=True)
class SignedLine:
    """A proposal as its person saw it."""

    proposal_id: str
    draft: DraftedExample | None
    """None if it may not be shown."""
    version: int
    fingerprint: str
    """The fingerprint that the page showed for signing."""
    flags: tuple[str, ...]
    """The flags of the text that would be approved."""


@dataclass(frozen=True)
class RefusedLine:
    place: str
    example_id: str
    reason: str


def sign_proposals(
    ledger: Ledger,
    lines: Sequence[SignedLine],
    signer: Signer,
    *,
    file_id: str,
    acknowledged: Collection[str],
    rules: ReviewSettings,
    now: datetime,
) -> list[RefusedLine]:
    """Record a decision for each line and return the refused ones."""
    refused = []
    with ledger.begin() as connection:
        for line in lines:
            proposal = find_proposal(connection, line.proposal_id)
            if proposal is None or proposal.file_id != file_id:
                refused.append(RefusedLine("", "", "The file has no such proposal."))
                continue
            try:
                with connection.begin_nested():
                    _sign_line(connection, proposal, line, signer, acknowledged, rules, now)
            except (ReviewError, AssignedError, LedgerError) as error:
                refused.append(RefusedLine(proposal.place, proposal.proposed.example_id, str(error)))
                about = f"proposal {proposal.proposal_id}: {error}"[:_AUDITED_CHARACTERS]
                audit.append(connection, signer.name, "was refused a signature", about)
    return refused


def find_obstacles(
    connection: sa.Connection,
    proposals: Sequence[tuple[Proposal, DraftedExample | None]],
    signer: Signer,
    rules: ReviewSettings,
    now: datetime,
) -> list[str]:
    """For each proposal with its draft: why this person can't sign it now; empty if they can. For at most 500 proposals."""
    standings = read_standings(connection, [draft for _, draft in proposals if draft is not None], rules)
    return [_find_obstacle(proposal, draft, signer, standings, now) for proposal, draft in proposals]


def _find_obstacle(
    proposal: Proposal, draft: DraftedExample | None, signer: Signer, standings: ReviewStandings, now: datetime
) -> str:
    try:
        current = _require_current(proposal, draft, signer)
        item = require_present(standings.items.get(current.example_id), current.example_id)
        _require_free(item, signer, now)
        standings.require_permission(current, complete_submission(make_submission(proposal), current), None)
    except (ReviewError, AssignedError, LedgerError) as error:
        return str(error)
    return ""


def make_submission(proposal: Proposal, acknowledged_kinds: tuple[str, ...] = ()) -> DecisionSubmission:
    proposed = proposal.proposed
    return DecisionSubmission(
        reviewer=proposed.reviewer,
        role=proposed.role,
        decision=proposed.decision,
        output=proposed.output,
        reason_code=proposed.reason_code,
        reason=proposal.reason,
        meaning="",  # the one that belongs to the decision, as the page shows it
        acknowledged_kinds=acknowledged_kinds,
    )


def fingerprint_to_sign(proposal: Proposal) -> str:
    """Of the approved content, or of the content that is rejected."""
    return proposal.proposed.approved_fingerprint or proposal.proposed.fingerprint


def require_signer(connection: sa.Connection, name: str, role: str) -> str:
    """The name of the user who can sign such a decision. Raises ReviewError, which does not repeat the given name."""
    user = find_enabled_user(connection, name)
    if user is None:
        raise ReviewError("its reviewer is not a user of the desk; to list users: `fine-tune users list`")
    if not may(user.roles, _ACTIONS[role]):
        needed = "approver, to adjudicate" if role == "adjudicate" else "reviewer"
        raise ReviewError(
            f"{user.name} does not have the role {needed}; an operator changes it on the desk, on the page Users"
        )
    return user.name


def require_open(item: ReviewItem) -> None:
    """Raise StaleItemError if the example is decided: a proposal must not replace a decision that someone signed."""
    if item.state in _DECIDED:
        raise StaleItemError(
            f"Example {item.example_id} is already {item.state}. To decide again, open it on the desk."
        )


def _sign_line(
    connection: sa.Connection,
    proposal: Proposal,
    line: SignedLine,
    signer: Signer,
    acknowledged: Collection[str],
    rules: ReviewSettings,
    now: datetime,
) -> None:
    draft = _require_current(proposal, line.draft, signer)
    item = require_item(connection, draft.example_id)
    _require_free(item, signer, now)
    if item.version != line.version:
        raise StaleItemError(f"Example {draft.example_id} changed after the page was opened. Open the page again.")
    if line.fingerprint != fingerprint_to_sign(proposal):
        raise StaleItemError(f"Example {draft.example_id} differs from the content that was shown for signing.")
    kinds = _require_flags_acknowledged(proposal, line, acknowledged)
    decision_id = uuid.uuid4().hex
    submit_decision(
        connection,
        draft,
        make_submission(proposal, kinds),
        version=require_item(connection, draft.example_id).version,
        rules=rules,
        author=None,
        now=now,
        decision_id=decision_id,
    )
    mark_signed(connection, proposal, decision_id)


def _require_current(proposal: Proposal, draft: DraftedExample | None, signer: Signer) -> DraftedExample:
    """The draft. Raises an error unless the proposal waits for this person, and its draft is the one that was decided."""
    proposed = proposal.proposed
    if not is_same_person(proposed.reviewer, signer.name):
        raise NotAllowedError(f"Only {proposed.reviewer} can sign the decision on example {proposed.example_id}.")
    if proposal.signed_id is not None:
        raise StaleItemError(f"The decision on example {proposed.example_id} is already signed.")
    if proposal.withdrawn_by is not None:
        raise StaleItemError(f"{proposal.withdrawn_by} withdrew the decision on example {proposed.example_id}.")
    if not may(signer.roles, _ACTIONS[proposed.role]):
        role = "approver" if proposed.role == "adjudicate" else "reviewer"
        raise NotAllowedError(f"{signer.name} does not have the role {role}.")
    if draft is None:
        raise StaleItemError(ABSENT)
    if draft.fingerprint != proposed.fingerprint:
        raise StaleItemError(f"The draft of example {draft.example_id} changed after it was decided.")
    return draft


def _require_free(item: ReviewItem, signer: Signer, now: datetime) -> None:
    """Raise an error if the item is assigned to another person, or decided."""
    require_available(item, signer.name, now)
    require_open(item)


def _require_flags_acknowledged(proposal: Proposal, line: SignedLine, acknowledged: Collection[str]) -> tuple[str, ...]:
    """The kinds of the acknowledged flags. Raises ReviewError unless each flag of an approved text is ticked."""
    if proposal.proposed.decision == "reject":
        return ()
    codes = {acknowledgement_code(line.fingerprint, flag) for flag in line.flags}
    if missing := len(codes - set(acknowledged)):
        raise ReviewError(
            f"{missing} of {len(codes)} flags of example {proposal.proposed.example_id} are not ticked. "
            "Read each flag and tick it."
        )
    return tuple(map(flag_kind, line.flags))
