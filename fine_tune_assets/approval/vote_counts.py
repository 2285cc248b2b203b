"""Which decisions count, as votes about the content that they were made about.

Owns what makes a decision count for nothing: its reviewer wrote what is decided on, the repair left nothing, or nobody signed
what it would approve. What the votes amount to is `states`'.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fine_tune_assets.approval.drafts import CORRECTION, content_fingerprint
from fine_tune_assets.approval.states import Standing, Vote, outcome_of, standing_of
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.records import Decision
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import DraftedExample
from fine_tune_assets.tables.instructions import ProvenanceRow
from fine_tune_assets.tables.records import Record


class DraftKeys(Record):
    """What decides which decisions are about a draft."""

    example_id: str
    fingerprint: str
    report_id: str
    task: str
    source: str


@dataclass(frozen=True)
class CountedVotes:
    """The decisions that count, by what they are about."""

    by_content: dict[str, list[Vote]]
    """Content that was decided on → votes in their order."""
    faulted: frozenset[tuple[str | None, str | None]]
    """Report and task of which the last word was a rejection, whatever was drafted of them then."""
    repaired: frozenset[str]
    """Contents that somebody repaired without a signature that holds."""
    barred: int
    altered: int

    def about(self, row: DraftKeys | ProvenanceRow, content: str, authors: Mapping[str, str]) -> list[Vote]:
        """Votes about a content, less those of whoever wrote the correction behind the row."""
        found = self.by_content.get(content, [])
        return [vote for vote in found if not _is_barred(row, vote.decision.reviewer, authors)]


def count_votes(
    decisions: Iterable[Decision],
    by_id: Mapping[str, DraftKeys],
    texts: Mapping[str, Sequence[DraftedExample]],
    authors: Mapping[str, str],
    rules: ReviewSettings,
) -> CountedVotes:
    """Which decisions count. `by_id` holds the drafts that are known by their ids, `texts` those whose texts are at hand."""
    votes: dict[str, list[Vote]] = {}
    last_word: dict[tuple[str | None, str | None], str] = {}
    repaired: set[str] = set()
    barred = altered = 0
    # Sorting is stable: of two decisions in the same instant, the one that was recorded later stands.
    for decision in sorted(decisions, key=lambda d: d.decided_at):
        same = texts.get(decision.fingerprint, ())
        if _is_barred(by_id.get(decision.example_id), decision.reviewer, authors) or _is_blank(decision.output):
            barred += 1
        elif _is_unsigned(decision) or any(_is_altered(decision, draft) for draft in same):
            altered += 1
            if decision.output is not None:
                repaired.add(decision.fingerprint)
        else:
            votes.setdefault(decision.fingerprint, []).append(Vote(decision, outcome_of(decision)))
            last_word[decision.report_id, decision.task] = decision.fingerprint
    faulted = {key for key, content in last_word.items() if _finds_fault(standing_of(votes[content], rules))}
    return CountedVotes(votes, frozenset(faulted), frozenset(repaired), barred, altered)


def _is_barred(draft: DraftKeys | ProvenanceRow | None, reviewer: str, authors: Mapping[str, str]) -> bool:
    if draft is None:  # the draft that was decided on is gone; others may have its content
        return False
    author = authors.get(draft.report_id or "")
    if author is None:
        return draft.source == CORRECTION
    return is_same_person(author, reviewer)


def _is_blank(output: str | None) -> bool:
    return output is not None and not output.strip()


def _is_unsigned(decision: Decision) -> bool:
    """Whether nobody signed what it would approve, as far as that can be told without the draft."""
    if decision.decision == "reject":
        return False
    if decision.output is None:
        return decision.approved_fingerprint not in (None, decision.fingerprint)
    return decision.approved_fingerprint is None


def _is_altered(decision: Decision, draft: DraftedExample) -> bool:
    """Whether the signature is not under what would be approved now. Old approvals of a draft as it is have none, and are
    bound by the draft's own fingerprint."""
    if decision.decision == "reject" or decision.approved_fingerprint is None:
        return False
    output = draft.output if decision.output is None else decision.output
    return decision.approved_fingerprint != content_fingerprint(draft.instruction, draft.input, output)


def _finds_fault(standing: Standing) -> bool:
    """Whether somebody rejected it and it was not approved over that."""
    return standing.state != "approved" and any(vote.decision.decision == "reject" for vote in standing.counting)
