"""Checks whether the examples of a stored set are still approved, by the current decisions.

Works on rows of `instruction_provenance`, with the rules of `approvals` and `review_states`. Reads no text: fingerprints bind
rows and signatures to the approved content.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fine_tune_assets.approval.approvals import EXPERT
from fine_tune_assets.approval.drafts import CORRECTION, correction_report_id
from fine_tune_assets.approval.review_states import REJECTED, resolve_votes
from fine_tune_assets.approval.vote_counts import CountedVotes, count_votes
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.correction_records import list_correction_authors
from fine_tune_assets.ledger.reviews.decision_records import (
    list_decided_contents,
    list_decisions,
    list_decisions_about,
)
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.instruction_rows import ProvenanceRow

LapseReason = Literal["revoked", "rejected", "repaired", "open"]
LAPSE_REASONS: Mapping[LapseReason, str] = {
    "revoked": "its approval was revoked",
    "rejected": "it was rejected after its approval",
    "repaired": "another text was approved instead",
    "open": "it needs review again",
}
"""Why an approval lapsed. `open`: reviewers disagree, more reviews are required, or the repair is unsigned."""
UNREVIEWED = "its source was trusted, but no one reviewed it"
"""Why an example is not replayed although its approval is valid."""


@dataclass(frozen=True)
class CurrentDecisions:
    """The current decisions."""

    votes: CountedVotes
    active_ids: frozenset[str]
    """Ids of decisions that were not revoked."""
    content_fingerprints: Mapping[str, str]
    """Decision id → fingerprint of the decided content, including revoked decisions."""
    authors: Mapping[str, str]
    rules: ReviewSettings


def read_current_decisions(ledger: Ledger, rules: ReviewSettings) -> CurrentDecisions:
    """All decisions of the ledger. Raises SealError."""
    authors = _read_authors(ledger)
    decisions, contents = list_decisions(ledger), list_decided_contents(ledger)
    ids = frozenset(decision.decision_id for decision in decisions)
    votes = count_votes(decisions, {}, {}, authors, rules)
    return CurrentDecisions(votes, ids, contents, authors, rules)


def read_decisions_about(ledger: Ledger, rows: Sequence[ProvenanceRow], rules: ReviewSettings) -> CurrentDecisions:
    """Read only the decisions that concern these rows of `instruction_provenance`: faster, for pages."""
    named = {decision_id for row in rows for decision_id in row.decision_ids or ()}
    reports = {row.report_id for row in rows if row.report_id}
    with ledger.read() as connection:
        contents = list_decided_contents(connection, named)
        fingerprints = {row.fingerprint for row in rows} | set(contents.values())
        about = list_decisions_about(connection, fingerprints, reports)
        # Decisions about a report's other drafts depend on all decisions about their contents, including in other reports.
        decisions = list_decisions_about(
            connection, fingerprints | {decision.fingerprint for decision in about}, reports
        )
    ids = frozenset(decision.decision_id for decision in decisions)
    authors = _read_authors(ledger) if any(row.source == CORRECTION for row in rows) else {}
    votes = count_votes(decisions, {}, {}, authors, rules)
    return CurrentDecisions(votes, ids, contents, authors, rules)


def _read_authors(ledger: Ledger) -> dict[str, str]:
    """`report_id` of a correction's draft → author of the correction, who can't approve it."""
    return {correction_report_id(name): author for name, author in list_correction_authors(ledger).items()}


def find_lapsed_approvals(rows: Iterable[ProvenanceRow], current: CurrentDecisions) -> dict[str, LapseReason]:
    """Id of each lapsed row of a set → reason."""
    return {row.example_id: reason for row in rows if (reason := find_lapse_reason(row, current)) is not None}


def find_lapse_reason(row: ProvenanceRow, current: CurrentDecisions) -> LapseReason | None:
    """Why a row's approval lapsed; None while it is valid, and for general data, which needs no approval.

    An expert's approval is valid while the decisions about its draft approve exactly this content. A trusted source's approval is
    valid until an expert rejects or repairs it, or rejects other content of its report.
    """
    if row.approval_kind is None:
        return None
    content = _decided_content(row, current)
    status = resolve_votes(current.votes.select_votes(row, content, current.authors), current.rules)
    if status.state in ("approved", "rejected"):
        if status.outcome == row.fingerprint:
            return None
        return "rejected" if status.outcome == REJECTED else "repaired"
    if row.approval_kind == EXPERT:
        return "open" if current.active_ids.issuperset(row.decision_ids) else "revoked"
    if any(vote.outcome == REJECTED for vote in status.votes) or _is_report_rejected(row, current):
        return "rejected"
    is_repaired = content in current.votes.unsigned_repairs or any(vote.outcome != content for vote in status.votes)
    return "repaired" if is_repaired else None


def find_replay_exclusion(row: ProvenanceRow, current: CurrentDecisions) -> str | None:
    """Why a row of an earlier set must not be replayed; None if it may be.

    Only examples that an expert approved may be replayed, and only if their report was not rejected for their task since.
    """
    if row.approval_kind != EXPERT:
        return UNREVIEWED
    reason = find_lapse_reason(row, current) or ("rejected" if _is_report_rejected(row, current) else None)
    return LAPSE_REASONS[reason] if reason else None


def _decided_content(row: ProvenanceRow, current: CurrentDecisions) -> str:
    """The decided content: for a repair it differs from the row's content."""
    known = (current.content_fingerprints[i] for i in row.decision_ids if i in current.content_fingerprints)
    return next(known, row.fingerprint)


def _is_report_rejected(row: ProvenanceRow, current: CurrentDecisions) -> bool:
    return row.report_id is not None and (row.report_id, row.task) in current.votes.rejected_report_tasks
