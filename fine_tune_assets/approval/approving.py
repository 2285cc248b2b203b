"""Decides which drafts are approved. The gate between what was drafted and what is trained.

Owns the rules: an expert's decision counts only for the exact content that the expert saw, and for that content wherever
it stands; the latest one wins; a rejection beats any trust, also when other content is drafted from the same report
later; a trusted source approves only what no expert decided; nobody approves their own correction. Does not know where
decisions are kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fine_tune_assets.approval.drafting import CORRECTION, content_fingerprint
from fine_tune_assets.approval.task_kinds import BY_MODEL
from fine_tune_assets.core.records import Decision
from fine_tune_assets.core.tables import APPROVED_EXAMPLES, DRAFTED_EXAMPLES, check_table, table_of

EXPERT = "expert"
TRUSTED_SOURCE = "trusted_source"
_BATCH_ROWS = 1024


@dataclass(frozen=True)
class Approval:
    """Every draft is approved, waiting or rejected."""

    approved: pa.Table
    waiting: int
    rejected: int
    stale_decisions: int
    """Decisions about content that no draft has now. They approve nothing."""
    barred_decisions: int
    """Decisions about a correction by its own author, or by anyone while its author is not known, and repairs that
    left nothing. They count for nothing."""


@dataclass(frozen=True)
class CountedDecisions:
    """What is left of all decisions when those that may not count are gone."""

    latest: dict[str, Decision]
    """Example id → the decision that stands."""
    doubted: frozenset[str]
    """Ids of the drafts whose report was rejected for their task when other content was drafted from it."""
    stale: int
    barred: int

    def may_trust(self, draft: Mapping[str, Any], trusted_sources: Mapping[str, str]) -> bool:
        """Whether the source's name is enough: the recipe trusts it, and no expert found fault with the draft before."""
        return draft["example_id"] not in self.doubted and is_trusted(draft, trusted_sources)


def approve_examples(
    drafts: pa.Table,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    authors: Mapping[str, str] | None = None,
) -> Approval:
    """Approve DRAFTED_EXAMPLES by experts' decisions and by sources that the recipe trusts.

    `authors` maps the `report_id` of a correction's draft to its author (`correction_authors` makes it). A correction
    that is not in it can't be approved: without an author nobody can tell whether it is their own.
    """
    check_table(drafts, DRAFTED_EXAMPLES)
    counted = count_decisions(drafts, decisions, authors or {})
    approved: list[dict[str, Any]] = []
    waiting = rejected = 0
    for draft in draft_rows(drafts):
        decision = counted.latest.get(draft["example_id"])
        if decision is not None and decision.decision == "reject":
            rejected += 1
        elif decision is not None:
            approved.append(_by_expert(draft, decision))
        elif counted.may_trust(draft, trusted_sources):
            approved.append(_by_source(draft, trusted_sources[draft["source"]]))
        else:
            waiting += 1
    approved.sort(key=lambda row: row["example_id"])
    return Approval(table_of(approved, APPROVED_EXAMPLES), waiting, rejected, counted.stale, counted.barred)


def count_decisions(drafts: pa.Table, decisions: Iterable[Decision], authors: Mapping[str, str]) -> CountedDecisions:
    """Keep the latest decision about each draft's present content among those that are not barred."""
    rows = list(draft_rows(drafts.select(["example_id", "fingerprint", "report_id", "task", "source"])))
    by_id = {row["example_id"]: row for row in rows}
    by_content: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_content.setdefault(row["fingerprint"], []).append(row)
    latest: dict[str, Decision] = {}
    last_word: dict[tuple[str | None, str | None], str] = {}
    stale = barred = 0
    # Sorting is stable: of two decisions in the same instant, the one that was recorded later stands.
    for decision in sorted(decisions, key=lambda d: d.decided_at):
        same_content = by_content.get(decision.fingerprint, [])
        if _is_barred(by_id.get(decision.example_id), decision.reviewer, authors) or _is_blank(decision.output):
            barred += 1
            continue
        last_word[decision.report_id, decision.task] = decision.decision
        if not same_content:
            stale += 1
        else:
            latest |= {
                row["example_id"]: decision for row in same_content if not _is_barred(row, decision.reviewer, authors)
            }
    doubted = {row["example_id"] for row in rows if last_word.get((row["report_id"], row["task"])) == "reject"}
    return CountedDecisions(latest, frozenset(doubted), stale, barred)


def is_trusted(draft: Mapping[str, Any], trusted_sources: Mapping[str, str]) -> bool:
    """Whether the recipe trusts where the draft comes from.

    A correction can never be trusted, even if it is named, nor what a model wrote about a trusted source's report.
    """
    is_by_model = (draft.get("drafted_by") or "").startswith(BY_MODEL)
    return (
        not is_by_model
        and draft["source"] != CORRECTION
        and draft["task"] != CORRECTION
        and draft["source"] in trusted_sources
    )


def is_same_person(first: str, second: str) -> bool:
    """Whether two names are one person's: case and spaces make no other reviewer."""
    return " ".join(first.casefold().split()) == " ".join(second.casefold().split())


def draft_rows(drafts: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in drafts.to_batches(max_chunksize=_BATCH_ROWS):
        yield from batch.to_pylist()


def _is_barred(draft: Mapping[str, Any] | None, reviewer: str, authors: Mapping[str, str]) -> bool:
    if draft is None:  # the draft that was decided on is gone; others may have its content
        return False
    author = authors.get(draft["report_id"])
    if author is None:
        return bool(draft["source"] == CORRECTION)
    return is_same_person(author, reviewer)


def _is_blank(output: str | None) -> bool:
    return output is not None and not output.strip()


def _by_expert(draft: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    output = draft["output"] if decision.output is None else decision.output
    return {
        **_content(draft),
        "output": output,
        "approved_by": decision.reviewer,
        "approval_kind": EXPERT,
        "decision_id": decision.decision_id,
        "fingerprint": content_fingerprint(draft["instruction"], draft["input"], output),
    }


def _by_source(draft: Mapping[str, Any], who: str) -> dict[str, Any]:
    return {**_content(draft), "approved_by": who, "approval_kind": TRUSTED_SOURCE, "decision_id": None}


def _content(draft: Mapping[str, Any]) -> dict[str, Any]:
    return {name: draft[name] for name in APPROVED_EXAMPLES.names if name in draft}
