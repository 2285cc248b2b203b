"""What the review queue holds: one item a draft, in the state that the gate gives it. Owns making the items."""

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from fine_tune_assets.approval.approving import count_decisions, is_trusted
from fine_tune_assets.approval.flags import kind_of
from fine_tune_assets.approval.states import Standing
from fine_tune_assets.core.records import Decision
from fine_tune_assets.core.tables import rows_of
from fine_tune_assets.ledger.review_rows import NewItem
from fine_tune_assets.recipes.schema import ReviewSettings

_SHOWN = ["example_id", "fingerprint", "report_id", "patient_key", "task", "source"]
_COLUMNS = [*_SHOWN, "needs_review", "flags", "drafted_by"]


def queue_items(
    drafts: pa.Table,
    line: str,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    rules: ReviewSettings,
    authors: Mapping[str, str],
    revoked: Mapping[str, Collection[str]],
) -> list[NewItem]:
    """An item for each draft: what `approve_examples` approves is `approved` or `trusted` here, and nothing else is.

    `decisions` are those that were not revoked, `revoked` maps a content to the keys of those who had one revoked.
    """
    counted = count_decisions(drafts, decisions, authors, rules)
    items = []
    for row in rows_of(drafts.select(_COLUMNS)):
        example_id, trusted = row["example_id"], is_trusted(row, trusted_sources)
        item = NewItem(
            **{name: row[name] for name in _SHOWN},
            line=line,
            author=authors.get(row["report_id"]),
            is_trusted=trusted,
            flag_count=len(row["flags"]),
            flag_kinds=tuple(sorted({kind_of(flag) for flag in row["flags"]})),
            state=counted.state(example_id, trusted),
            decided_by=who_decided(counted.standing(example_id), rules, revoked.get(row["fingerprint"], ())),
        )
        items.append(item)
    return items


def who_decided(standing: Standing, rules: ReviewSettings, revoked: Collection[str]) -> tuple[str, ...]:
    """Keys of those who have no say any more: who decided, and where the second look is blind, who did before."""
    is_blind_look = rules.reviewers == 2 and standing.state == "second_review"
    return (*standing.people, *sorted(set(revoked) - set(standing.people))) if is_blind_look else standing.people
