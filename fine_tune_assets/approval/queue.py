"""What a reviewer still has to see. Owns the queue's rule: neither decided nor approved by a trusted source."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from fine_tune_assets.approval.approving import count_decisions, draft_rows, is_trusted
from fine_tune_assets.core.records import Decision


def waiting_drafts(
    drafts: pa.Table,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    authors: Mapping[str, str] | None = None,
) -> pa.Table:
    """The drafts that `approve_examples` counts as waiting, in the order of `drafts`."""
    decided = count_decisions(drafts, decisions, authors or {}).latest
    waits = [
        draft["example_id"] not in decided and not is_trusted(draft, trusted_sources) for draft in draft_rows(drafts)
    ]
    return drafts.filter(pa.array(waits, pa.bool_()))
