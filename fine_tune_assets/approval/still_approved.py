"""Whether what a set was made of is still approved: its rows against the decisions of this moment.

Owns that question for rows of `instruction_provenance`, whatever became of their drafts since. The rules are those by which
drafts are approved (`approvals`, `states`). Reads no text: a row's fingerprint is of the content that was approved, and the
signature of a decision is of the content that it approves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from fine_tune_assets.approval.approvals import EXPERT
from fine_tune_assets.approval.drafts import CORRECTION, correction_authors
from fine_tune_assets.approval.states import REJECTED, standing_of
from fine_tune_assets.approval.vote_counts import CountedVotes, count_votes
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.reviews import decided_contents, decisions_about, list_decisions
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.instructions import ProvenanceRow

Fall = Literal["revoked", "rejected", "repaired", "open"]
REASONS: Mapping[Fall, str] = {
    "revoked": "its approval was revoked",
    "rejected": "it was rejected since",
    "repaired": "another text was approved in its place",
    "open": "it waits for its reviewers again",
}
"""Why an approval does not stand any more. Open: they disagree, more of them are asked for, or nobody signed the repair."""
_AUTHORS = ["correction_id", "author"]
UNREVIEWED = "nobody reviewed it: its source was trusted"
"""Why an example is not taught again although its approval stands."""


@dataclass(frozen=True)
class DecidedNow:
    """What the decisions of this moment say."""

    votes: CountedVotes
    standing_ids: frozenset[str]
    """Decisions that were not revoked."""
    contents: Mapping[str, str]
    """Decision id → the content that it is about; of revoked ones too."""
    authors: Mapping[str, str]
    rules: ReviewSettings


def decided_now(ledger: Ledger, corrections: Path, rules: ReviewSettings) -> DecidedNow:
    """Read the ledger, and who wrote which correction from the table of `scrubbed_corrections`, if there is one."""
    authors = _authors(corrections)
    decisions, contents = list_decisions(ledger), decided_contents(ledger)
    ids = frozenset(decision.decision_id for decision in decisions)
    return DecidedNow(count_votes(decisions, {}, {}, authors, rules), ids, contents, authors, rules)


def decided_about(
    ledger: Ledger, rows: Sequence[ProvenanceRow], corrections: Path, rules: ReviewSettings
) -> DecidedNow:
    """The same as far as these rows of `instruction_provenance` go, without reading every other decision: for pages."""
    named = {decision_id for row in rows for decision_id in row.decision_ids or ()}
    reports = {row.report_id for row in rows if row.report_id}
    with ledger.read() as connection:
        contents = decided_contents(connection, named)
        fingerprints = {row.fingerprint for row in rows} | set(contents.values())
        about = decisions_about(connection, fingerprints, reports)
        # What was said of a report's other drafts is weighed by all that was said of their contents, in other reports too.
        decisions = decisions_about(connection, fingerprints | {decision.fingerprint for decision in about}, reports)
    ids = frozenset(decision.decision_id for decision in decisions)
    authors = _authors(corrections) if any(row.source == CORRECTION for row in rows) else {}
    return DecidedNow(count_votes(decisions, {}, {}, authors, rules), ids, contents, authors, rules)


def _authors(corrections: Path) -> dict[str, str]:
    return correction_authors(pq.read_table(corrections, columns=_AUTHORS)) if corrections.is_file() else {}


def fallen_in(rows: Iterable[ProvenanceRow], now: DecidedNow) -> dict[str, Fall]:
    """Id of each row of a set that is not approved any more → why."""
    return {row.example_id: fall for row in rows if (fall := why_not_approved(row, now)) is not None}


def why_not_approved(row: ProvenanceRow, now: DecidedNow) -> Fall | None:
    """Why a row is not approved any more; None while it is, and for general data, which nobody approves.

    An expert's approval stands while the decisions about the draft that was decided on approve exactly this content. What
    came by the name of its source stands until an expert finds fault with it, or with other content of its report.
    """
    if row.approval_kind is None:
        return None
    content = _content_of(row, now)
    standing = standing_of(now.votes.about(row, content, now.authors), now.rules)
    if standing.state in ("approved", "rejected"):
        if standing.outcome == row.fingerprint:
            return None
        return "rejected" if standing.outcome == REJECTED else "repaired"
    if row.approval_kind == EXPERT:
        return "open" if now.standing_ids.issuperset(row.decision_ids) else "revoked"
    if any(vote.outcome == REJECTED for vote in standing.counting) or _is_faulted(row, now):
        return "rejected"
    is_repaired = content in now.votes.repaired or any(vote.outcome != content for vote in standing.counting)
    return "repaired" if is_repaired else None


def why_not_taught_again(row: ProvenanceRow, now: DecidedNow) -> str | None:
    """Why a row of an earlier set must not be taught again, in words; None if it may be.

    Only what an expert approved may, and only while nobody found fault with its report for its task since.
    """
    if row.approval_kind != EXPERT:
        return UNREVIEWED
    fall = why_not_approved(row, now) or ("rejected" if _is_faulted(row, now) else None)
    return REASONS[fall] if fall else None


def _content_of(row: ProvenanceRow, now: DecidedNow) -> str:
    """The content that was decided on: of a repair another one than the row holds."""
    known = (now.contents[made] for made in row.decision_ids if made in now.contents)
    return next(known, row.fingerprint)


def _is_faulted(row: ProvenanceRow, now: DecidedNow) -> bool:
    return row.report_id is not None and (row.report_id, row.task) in now.votes.faulted
