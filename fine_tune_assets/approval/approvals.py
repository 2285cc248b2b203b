"""Decides which drafts are approved: the gate between drafting and training.

An expert's decision counts only for the exact content that the expert signed, in any draft with that content. A rejection
overrides trust, also for content drafted later from the same report. A trusted source approves only drafts without an expert's
decision. Authors can't approve their own corrections. `vote_counts` selects the decisions that count; `review_states` derives the
state.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.drafts import CORRECTION, content_fingerprint
from fine_tune_assets.approval.review_states import WAITING, ReviewStatus, State, resolve_votes
from fine_tune_assets.approval.task_kinds import BY_MODEL
from fine_tune_assets.approval.vote_counts import DraftKeys, count_votes
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import ApprovedExample, DraftedExample
from fine_tune_assets.tables.record_classes import check_table, iter_records, table_from_records

EXPERT = "expert"
TRUSTED_SOURCE = "trusted_source"


class QueuedDraft(DraftKeys):
    """A draft without its texts, for the queue."""

    subject_key: str
    drafted_by: str | None
    flags: tuple[str, ...]
    needs_review: bool | None


@dataclass(frozen=True)
class Approval:
    """The approved examples and the number of drafts in each state."""

    approved: pa.Table
    state_counts: dict[State, int]
    stale_decisions: int
    """Decisions about content that no draft has now. They approve nothing."""
    ineligible_decisions: int
    """Decisions about a correction by its author, or by anyone if the author is unknown, and empty repairs. They do not count."""
    altered_decisions: int
    """Approvals whose signature covers other content, because a row or table was changed, and repairs without a signature.

    They approve nothing.
    """

    @property
    def waiting(self) -> int:
        """Drafts that still need a decision."""
        return sum(self.state_counts.get(state, 0) for state in ("waiting", "second_review", "disagreement"))

    @property
    def rejected(self) -> int:
        return self.state_counts.get("rejected", 0)


@dataclass(frozen=True)
class CountedDecisions:
    """The result of all decisions that count."""

    statuses: dict[str, ReviewStatus]
    """Example id → status; absent without decisions."""
    disputed_ids: frozenset[str]
    """Drafts whose report was last rejected for their task, possibly with other content, and drafts with an unsigned repair."""
    stale: int
    ineligible: int
    altered: int

    def status(self, example_id: str) -> ReviewStatus:
        return self.statuses.get(example_id, WAITING)

    def state(self, example_id: str, is_trusted: bool) -> State:
        """The state of a draft. Trust applies only without an expert's decision and without an earlier rejection of the
        report."""
        state = self.status(example_id).state
        return "trusted" if state == "waiting" and is_trusted and example_id not in self.disputed_ids else state


def approve_examples(
    drafts: pa.Table,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    rules: ReviewSettings,
    authors: Mapping[str, str] | None = None,
) -> Approval:
    """Approve `DraftedExample` rows by experts' decisions and by sources that the recipe trusts.

    `decisions` are the active ones. `authors` maps the `report_id` of a correction's draft to its author (see
    `correction_authors`); a correction without an author can't be approved, because it could be the reviewer's own.
    """
    check_table(drafts, DraftedExample.SCHEMA)
    counted = count_decisions(drafts, decisions, authors or {}, rules)
    approved: list[ApprovedExample] = []
    states: Counter[State] = Counter()
    for draft in iter_records(DraftedExample, drafts):
        state = counted.state(draft.example_id, is_trusted(draft, trusted_sources))
        states[state] += 1
        if state == "approved":
            approved.append(_approve_by_experts(draft, counted.status(draft.example_id)))
        elif state == "trusted":
            approved.append(_approve_by_source(draft, trusted_sources[draft.source]))
    approved.sort(key=lambda example: example.example_id)
    return Approval(
        table_from_records(ApprovedExample, approved), dict(states), counted.stale, counted.ineligible, counted.altered
    )


def count_decisions(
    drafts: pa.Table, decisions: Sequence[Decision], authors: Mapping[str, str], rules: ReviewSettings
) -> CountedDecisions:
    """The status of every draft. Reads texts only of drafts with decisions."""
    decided = pa.array(sorted({decision.fingerprint for decision in decisions}), pa.string())
    decided_drafts = drafts.filter(pc.is_in(drafts.column("fingerprint"), value_set=decided))
    texts: dict[str, list[DraftedExample]] = defaultdict(list)
    for draft in iter_records(DraftedExample, decided_drafts):
        texts[draft.fingerprint].append(draft)
    return count_related_decisions(list(iter_records(DraftKeys, drafts)), texts, decisions, authors, rules)


def count_related_decisions(
    drafts: Sequence[DraftKeys],
    texts: Mapping[str, Sequence[DraftedExample]],
    decisions: Iterable[Decision],
    authors: Mapping[str, str],
    rules: ReviewSettings,
) -> CountedDecisions:
    """The status of some drafts, from the decisions about their content and their reports' current and earlier drafts.

    `texts` maps a fingerprint to the drafts that claim it; without texts, altered drafts can't be detected.
    """
    counted = count_votes(decisions, {draft.example_id: draft for draft in drafts}, texts, authors, rules)
    statuses = {
        draft.example_id: resolve_votes(votes, rules)
        for draft in drafts
        if (votes := counted.select_votes(draft, draft.fingerprint, authors))
    }
    disputed = frozenset(
        draft.example_id
        for draft in drafts
        if (draft.report_id, draft.task) in counted.rejected_report_tasks
        or draft.fingerprint in counted.unsigned_repairs
    )
    present = {draft.fingerprint for draft in drafts}
    stale = sum(len(votes) for content, votes in counted.by_content.items() if content not in present)
    return CountedDecisions(statuses, disputed, stale, counted.ineligible, counted.altered)


def is_trusted(draft: DraftedExample | QueuedDraft, trusted_sources: Mapping[str, str]) -> bool:
    """Whether the recipe trusts the draft's source.

    Never true for corrections, even of a listed source, for model output about a trusted source's report, or for drafts whose
    flags need a reviewer.
    """
    is_by_model = (draft.drafted_by or "").startswith(BY_MODEL)
    # Unknown in tables from before this column existed: the draft waits for review.
    may_need_review = draft.needs_review is not False
    return (
        not is_by_model
        and not may_need_review
        and draft.source != CORRECTION
        and draft.task != CORRECTION
        and draft.source in trusted_sources
    )


def _approve_by_experts(draft: DraftedExample, status: ReviewStatus) -> ApprovedExample:
    decision = status.final_decision
    assert decision is not None
    output = draft.output if decision.output is None else decision.output
    return replace(
        _approve_by_source(draft, ", ".join(status.approvers)),
        output=output,
        approval_kind=EXPERT,
        decision_id=decision.decision_id,
        decision_ids=tuple(vote.decision.decision_id for vote in status.votes),
        fingerprint=content_fingerprint(draft.instruction, draft.input, output),
    )


def _approve_by_source(draft: DraftedExample, who: str) -> ApprovedExample:
    return ApprovedExample(
        example_id=draft.example_id,
        report_id=draft.report_id,
        source=draft.source,
        subject_key=draft.subject_key,
        task=draft.task,
        instruction=draft.instruction,
        input=draft.input,
        output=draft.output,
        approved_by=who,
        approval_kind=TRUSTED_SOURCE,
        decision_id=None,
        decision_ids=None,
        fingerprint=draft.fingerprint,
    )
