"""Decides which drafts are approved. The gate between what was drafted and what is trained.

Owns which decisions count: an expert's decision counts only for the exact content that the expert saw, and for that
content wherever it stands; a rejection beats any trust, also when other content is drafted from the same report later; a
trusted source approves only what no expert decided; nobody approves their own correction; what was signed is what is
approved, to the letter. How votes are counted is `vote_counts`', what they amount to is `states`'. Does not know where
decisions are kept.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.drafts import CORRECTION, content_fingerprint
from fine_tune_assets.approval.states import WAITING, Standing, State, standing_of
from fine_tune_assets.approval.task_kinds import BY_MODEL
from fine_tune_assets.approval.vote_counts import DraftKeys, count_votes
from fine_tune_assets.core.records import Decision
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import ApprovedExample, DraftedExample
from fine_tune_assets.tables.records import check_table, records_of, table_from

EXPERT = "expert"
TRUSTED_SOURCE = "trusted_source"


class QueuedDraft(DraftKeys):
    """A draft without its texts, as the queue needs it."""

    patient_key: str
    drafted_by: str | None
    flags: tuple[str, ...]
    needs_review: bool | None


@dataclass(frozen=True)
class Approval:
    """Every draft is approved, open or rejected."""

    approved: pa.Table
    states: dict[State, int]
    stale_decisions: int
    """Decisions about content that no draft has now. They approve nothing."""
    barred_decisions: int
    """Decisions about a correction by its own author, or by anyone while its author is not known, and repairs that
    left nothing. They count for nothing."""
    altered_decisions: int
    """Approvals that were signed for another content than they would approve: a row or a table was changed since. And
    repairs of before signatures were kept: nobody signed the text that they would approve. Neither approves anything."""

    @property
    def waiting(self) -> int:
        """Drafts that still need somebody."""
        return sum(self.states.get(state, 0) for state in ("waiting", "second_review", "disagreement"))

    @property
    def rejected(self) -> int:
        return self.states.get("rejected", 0)


@dataclass(frozen=True)
class CountedDecisions:
    """What is left of all decisions when those that may not count are gone."""

    standings: dict[str, Standing]
    """Example id → what the decisions about it make of it; absent where there are none."""
    doubted: frozenset[str]
    """Ids of the drafts whose report was last rejected for their task, perhaps when other content was drafted from it, and of
    those that somebody repaired without a signature that holds."""
    stale: int
    barred: int
    altered: int

    def standing(self, example_id: str) -> Standing:
        return self.standings.get(example_id, WAITING)

    def state(self, example_id: str, is_trusted: bool) -> State:
        """A source's name is enough only where no expert decided, and none found fault with the report before."""
        state = self.standing(example_id).state
        return "trusted" if state == "waiting" and is_trusted and example_id not in self.doubted else state


def approve_examples(
    drafts: pa.Table,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    rules: ReviewSettings,
    authors: Mapping[str, str] | None = None,
) -> Approval:
    """Approve `DraftedExample` rows by experts' decisions and by sources that the recipe trusts.

    `decisions` are those that were not revoked. `authors` maps the `report_id` of a correction's draft to its author
    (`correction_authors` makes it). A correction that is not in it can't be approved: without an author nobody can tell
    whether it is their own.
    """
    check_table(drafts, DraftedExample.SCHEMA)
    counted = count_decisions(drafts, decisions, authors or {}, rules)
    approved: list[ApprovedExample] = []
    states: Counter[State] = Counter()
    for draft in records_of(DraftedExample, drafts):
        state = counted.state(draft.example_id, is_trusted(draft, trusted_sources))
        states[state] += 1
        if state == "approved":
            approved.append(_by_experts(draft, counted.standing(draft.example_id)))
        elif state == "trusted":
            approved.append(_by_source(draft, trusted_sources[draft.source]))
    approved.sort(key=lambda example: example.example_id)
    return Approval(table_from(ApprovedExample, approved), dict(states), counted.stale, counted.barred, counted.altered)


def count_decisions(
    drafts: pa.Table, decisions: Sequence[Decision], authors: Mapping[str, str], rules: ReviewSettings
) -> CountedDecisions:
    """The standing of every draft. Reads the texts of those alone that somebody decided on."""
    decided = pa.array(sorted({decision.fingerprint for decision in decisions}), pa.string())
    about = drafts.filter(pc.is_in(drafts.column("fingerprint"), value_set=decided))
    texts: dict[str, list[DraftedExample]] = defaultdict(list)
    for draft in records_of(DraftedExample, about):
        texts[draft.fingerprint].append(draft)
    return count_about(list(records_of(DraftKeys, drafts)), texts, decisions, authors, rules)


def count_about(
    drafts: Sequence[DraftKeys],
    texts: Mapping[str, Sequence[DraftedExample]],
    decisions: Iterable[Decision],
    authors: Mapping[str, str],
    rules: ReviewSettings,
) -> CountedDecisions:
    """The standing of some drafts by the decisions about their content, their reports and what those held before.

    `texts` maps a fingerprint to the drafts that say they have it, where their texts are at hand: without them nobody can
    tell whether one was altered.
    """
    counted = count_votes(decisions, {draft.example_id: draft for draft in drafts}, texts, authors, rules)
    standings = {
        draft.example_id: standing_of(own, rules)
        for draft in drafts
        if (own := counted.about(draft, draft.fingerprint, authors))
    }
    doubted = frozenset(
        draft.example_id
        for draft in drafts
        if (draft.report_id, draft.task) in counted.faulted or draft.fingerprint in counted.repaired
    )
    present = {draft.fingerprint for draft in drafts}
    stale = sum(len(about) for content, about in counted.by_content.items() if content not in present)
    return CountedDecisions(standings, doubted, stale, counted.barred, counted.altered)


def is_trusted(draft: DraftedExample | QueuedDraft, trusted_sources: Mapping[str, str]) -> bool:
    """Whether the recipe trusts where the draft comes from.

    A correction can never be trusted, even if it is named, nor what a model wrote about a trusted source's report,
    nor a draft with a flag for which the recipe wants a reviewer.
    """
    is_by_model = (draft.drafted_by or "").startswith(BY_MODEL)
    # Absent in a table of before this was asked: then nobody knows, and it waits.
    is_in_doubt = draft.needs_review is not False
    return (
        not is_by_model
        and not is_in_doubt
        and draft.source != CORRECTION
        and draft.task != CORRECTION
        and draft.source in trusted_sources
    )


def _by_experts(draft: DraftedExample, standing: Standing) -> ApprovedExample:
    decision = standing.settling
    assert decision is not None
    output = draft.output if decision.output is None else decision.output
    return replace(
        _by_source(draft, ", ".join(standing.approvers)),
        output=output,
        approval_kind=EXPERT,
        decision_id=decision.decision_id,
        decision_ids=tuple(vote.decision.decision_id for vote in standing.counting),
        fingerprint=content_fingerprint(draft.instruction, draft.input, output),
    )


def _by_source(draft: DraftedExample, who: str) -> ApprovedExample:
    return ApprovedExample(
        example_id=draft.example_id,
        report_id=draft.report_id,
        source=draft.source,
        patient_key=draft.patient_key,
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
