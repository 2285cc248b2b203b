"""Selects the decisions that count, as votes about the content that they decided.

Excludes decisions by the content's author, empty repairs, and decisions whose signature does not cover what they would approve.
`review_states` derives the state from the votes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fine_tune_assets.approval.drafts import CORRECTION, content_fingerprint
from fine_tune_assets.approval.review_states import ReviewStatus, Vote, decision_outcome, resolve_votes
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.instruction_rows import ProvenanceRow
from fine_tune_assets.tables.record_classes import Record


class DraftKeys(Record):
    """The fields that link decisions to a draft."""

    example_id: str
    fingerprint: str
    report_id: str
    task: str
    source: str


@dataclass(frozen=True)
class CountedVotes:
    """The decisions that count, grouped by what they concern."""

    by_content: dict[str, list[Vote]]
    """Decided content → votes in order."""
    rejected_report_tasks: frozenset[tuple[str | None, str | None]]
    """Report and task whose latest decision was a rejection, whatever the draft was."""
    unsigned_repairs: frozenset[str]
    """Contents with a repair that lacks a valid signature."""
    ineligible: int
    altered: int

    def select_votes(self, row: DraftKeys | ProvenanceRow, content: str, authors: Mapping[str, str]) -> list[Vote]:
        """Votes about a content, except by the author of its correction."""
        found = self.by_content.get(content, [])
        return [vote for vote in found if not _is_ineligible(row, vote.decision.reviewer, authors)]


def count_votes(
    decisions: Iterable[Decision],
    drafts_by_id: Mapping[str, DraftKeys],
    texts: Mapping[str, Sequence[DraftedExample]],
    authors: Mapping[str, str],
    rules: ReviewSettings,
) -> CountedVotes:
    """Select the decisions that count. `drafts_by_id` holds the known drafts by id, `texts` those with texts."""
    votes: dict[str, list[Vote]] = {}
    last_word: dict[tuple[str | None, str | None], str] = {}
    repaired: set[str] = set()
    excluded = altered = 0
    # The sort is stable: of two decisions at the same instant, the one recorded later wins.
    for decision in sorted(decisions, key=lambda d: d.decided_at):
        same = texts.get(decision.fingerprint, ())
        if _is_ineligible(drafts_by_id.get(decision.example_id), decision.reviewer, authors) or _is_blank(
            decision.output
        ):
            excluded += 1
        elif _is_unsigned(decision) or any(_is_altered(decision, draft) for draft in same):
            altered += 1
            if decision.output is not None:
                repaired.add(decision.fingerprint)
        else:
            votes.setdefault(decision.fingerprint, []).append(Vote(decision, decision_outcome(decision)))
            last_word[decision.report_id, decision.task] = decision.fingerprint
    faulted = {key for key, content in last_word.items() if _is_rejected(resolve_votes(votes[content], rules))}
    return CountedVotes(votes, frozenset(faulted), frozenset(repaired), excluded, altered)


def _is_ineligible(draft: DraftKeys | ProvenanceRow | None, reviewer: str, authors: Mapping[str, str]) -> bool:
    if draft is None:  # the decided draft no longer exists, but others may have its content
        return False
    author = authors.get(draft.report_id or "")
    if author is None:
        return draft.source == CORRECTION
    return is_same_person(author, reviewer)


def _is_blank(output: str | None) -> bool:
    return output is not None and not output.strip()


def _is_unsigned(decision: Decision) -> bool:
    """Whether the decision lacks a signature of what it would approve, as far as is visible without the draft."""
    if decision.decision == "reject":
        return False
    if decision.output is None:
        return decision.approved_fingerprint not in (None, decision.fingerprint)
    return decision.approved_fingerprint is None


def _is_altered(decision: Decision, draft: DraftedExample) -> bool:
    """Whether the signature differs from what would be approved now.

    Older approvals without a repair have no signature; the draft's fingerprint binds them.
    """
    if decision.decision == "reject" or decision.approved_fingerprint is None:
        return False
    output = draft.output if decision.output is None else decision.output
    return decision.approved_fingerprint != content_fingerprint(draft.instruction, draft.input, output)


def _is_rejected(standing: ReviewStatus) -> bool:
    """Whether someone rejected it and it was not approved afterwards."""
    return standing.state != "approved" and any(vote.decision.decision == "reject" for vote in standing.votes)
