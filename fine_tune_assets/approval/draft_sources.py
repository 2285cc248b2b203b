"""Selects the drafts that the verifier has to check, and records what it found. Calls no model.

A draft that passed is not checked again: another verifier must not withdraw what an expert approved. A draft that a verifier
dropped is checked again by the next one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa

from fine_tune_assets.approval.task_kinds import DraftRequest
from fine_tune_assets.tables.approval_rows import CheckableDraft, DraftCheck, ModelDraft
from fine_tune_assets.tables.record_classes import iter_records, table_from_records

DraftKey = tuple[str, int]


def select_unchecked(requests: Iterable[DraftRequest], written: pa.Table, checked_by: str) -> list[CheckableDraft]:
    """Drafts of these requests without a check, and those that another verifier or threshold dropped."""
    by_fingerprint = {request.request_fingerprint: request for request in requests}
    return [
        CheckableDraft(
            request_fingerprint=draft.request_fingerprint,
            number=draft.number,
            question=draft.instruction if draft.number else "",
            input=by_fingerprint[draft.request_fingerprint].input,
            output=draft.output,
        )
        for draft in iter_records(ModelDraft, written)
        if draft.request_fingerprint in by_fingerprint and _needs_check(draft, checked_by)
    ]


def record_checks(written: pa.Table, checks: Sequence[DraftCheck]) -> pa.Table:
    """The `ModelDraft` rows with the results of their checks."""
    found: dict[DraftKey, DraftCheck] = {(check.request_fingerprint, check.number): check for check in checks}

    def apply(draft: ModelDraft) -> ModelDraft:
        check = found.get((draft.request_fingerprint, draft.number))
        if check is None:
            return draft
        return replace(draft, sources=check.sources, checked_by=check.checked_by, dropped=check.dropped)

    return table_from_records(ModelDraft, map(apply, iter_records(ModelDraft, written)))


def count_unchecked(written: pa.Table) -> int:
    return sum(draft.checked_by is None and draft.dropped is None for draft in iter_records(ModelDraft, written))


def count_dropped(written: pa.Table) -> Counter[str]:
    """Reason → drafts."""
    return Counter(reason for reason in written.column("dropped").to_pylist() if reason is not None)


def _needs_check(draft: ModelDraft, checked_by: str) -> bool:
    return (
        draft.dropped is None
        if draft.checked_by is None
        else draft.dropped is not None and draft.checked_by != checked_by
    )
