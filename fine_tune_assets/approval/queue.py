"""What the review queue holds: one item a draft, in the state that the gate gives it. Owns making the items."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from fine_tune_assets.approval.approving import CountedDecisions, count_decisions, draft_rows, is_trusted
from fine_tune_assets.core.records import Decision
from fine_tune_assets.ledger.review_rows import NewItem
from fine_tune_assets.recipes.schema import ReviewSettings

_COLUMNS = ["example_id", "fingerprint", "report_id", "patient_key", "task", "source", "flags"]


def queue_items(
    drafts: pa.Table,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    rules: ReviewSettings,
    authors: Mapping[str, str],
) -> list[NewItem]:
    """An item for each draft: what `approve_examples` approves is `approved` or `trusted` here, and nothing else is."""
    counted = count_decisions(drafts, decisions, authors, rules)
    rows = draft_rows(drafts.select(_COLUMNS))
    return [_item(row, counted, is_trusted(row, trusted_sources), authors.get(row["report_id"])) for row in rows]


def flag_kind(flag: str) -> str:
    """What kind of flag it is, without what it quotes of the report."""
    return flag.partition(":")[0].strip()


def _item(draft: Mapping[str, Any], counted: CountedDecisions, trusted: bool, author: str | None) -> NewItem:
    return NewItem(
        **{name: draft[name] for name in _COLUMNS if name != "flags"},
        author=author,
        is_trusted=trusted,
        flag_count=len(draft["flags"]),
        flag_kinds=tuple(sorted({flag_kind(flag) for flag in draft["flags"]})),
        state=counted.state(draft["example_id"], trusted),
        decided_by=counted.standing(draft["example_id"]).people,
    )
