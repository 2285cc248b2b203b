"""What a reviewer still has to see. Owns the queue's rule: neither decided nor approved by a trusted source."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from fine_tune_assets.approval.approving import count_decisions, draft_rows
from fine_tune_assets.core.records import Decision


def waiting_drafts(
    drafts: pa.Table,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    authors: Mapping[str, str] | None = None,
) -> pa.Table:
    """The drafts that `approve_examples` counts as waiting, in the order of `drafts`."""
    counted = count_decisions(drafts, decisions, authors or {})
    waits = [
        draft["example_id"] not in counted.latest and not counted.may_trust(draft, trusted_sources)
        for draft in draft_rows(drafts)
    ]
    return drafts.filter(pa.array(waits, pa.bool_()))
