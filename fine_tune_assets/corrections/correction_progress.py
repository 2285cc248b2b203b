"""How far each correction of an author is, for the author: its state and the reason, without any text.

Why a correction was quarantined is for approvers only: it would tell an author how to pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.corrections.quarantine_rules import BLOCKED, PENDING
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.correction_records import AuthoredCorrection, list_authored_corrections
from fine_tune_assets.ledger.reviews.review_items import list_report_items
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem

_REPORT_PREFIX = "correction/"


class CorrectionState(StrEnum):
    RECEIVED = "received"
    NOT_SCRUBBED = "not scrubbed"
    HAS_IDENTIFIERS = "identifiers remain"
    QUARANTINED = "quarantined"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    IN_REVIEW = "in review"
    APPROVED = "approved"


MEANINGS: Mapping[CorrectionState, str] = {
    CorrectionState.RECEIVED: "The next run removes identifiers from it.",
    CorrectionState.NOT_SCRUBBED: "It is not used: removing identifiers from it took too much time or memory. "
    "Each run tries again. If it stays so, send it again, shorter.",
    CorrectionState.HAS_IDENTIFIERS: "It is not used: identifiers remained in it. "
    "Each run tries again. If it stays so, send it again without names, numbers and addresses.",
    CorrectionState.QUARANTINED: "It waits for an approver.",
    CorrectionState.BLOCKED: "It is not used: it cites a document that not everyone may see.",
    CorrectionState.REJECTED: "It is not used: a reviewer or approver rejected it.",
    CorrectionState.ACCEPTED: "The next run makes a draft for review of it.",
    CorrectionState.IN_REVIEW: "It waits for a reviewer.",
    CorrectionState.APPROVED: "It can be in the next training.",
}


@dataclass(frozen=True)
class CorrectionProgress:
    correction_id: str
    release_id: str
    received_at: datetime
    state: CorrectionState

    @property
    def reason(self) -> str:
        """What the state means, and what follows."""
        return MEANINGS[self.state]


def list_progress(layout: Layout, ledger: Ledger, author: str, limit: int) -> list[CorrectionProgress]:
    """The newest corrections of an author, newest first. Raises SealError."""
    sent = list_authored_corrections(ledger, author, limit)
    ids = [one.correction_id for one in sent]
    withheld = _read_column(layout, "withheld_corrections", "has_identifiers")
    quarantine = _read_column(layout, "quarantined_corrections", "state")
    items = {item.report_id: item for item in list_report_items(ledger, [_REPORT_PREFIX + i for i in ids])[::-1]}
    return [
        CorrectionProgress(**vars(one), state=decide_state(one, withheld, quarantine, items.get(_report_id(one))))
        for one in sent
    ]


def decide_state(
    sent: AuthoredCorrection, withheld: Mapping[str, bool], quarantine: Mapping[str, str], item: ReviewItem | None
) -> CorrectionState:
    """`item`: its draft in the queue. Correction id → `withheld`: whether identifiers remained; `quarantine`: its state."""
    if sent.correction_id in withheld:
        return CorrectionState.HAS_IDENTIFIERS if withheld[sent.correction_id] else CorrectionState.NOT_SCRUBBED
    found = quarantine.get(sent.correction_id)
    if found is None:
        return CorrectionState.RECEIVED
    if found in (PENDING, BLOCKED):
        return CorrectionState.QUARANTINED if found == PENDING else CorrectionState.BLOCKED
    if found == "rejected" or (item is not None and item.state == "rejected"):
        return CorrectionState.REJECTED
    if item is None or item.removed_at is not None:
        return CorrectionState.ACCEPTED
    return CorrectionState.APPROVED if item.state in ("approved", "trusted") else CorrectionState.IN_REVIEW


def _report_id(sent: AuthoredCorrection) -> str:
    return f"{_REPORT_PREFIX}{sent.correction_id}"


def _read_column(layout: Layout, table: str, column: str) -> dict[str, Any]:
    """Correction id → value; empty before the first run."""
    path = layout.table(table)
    columns: Sequence[str] = sorted({"correction_id", column})
    rows = pq.read_table(path, columns=columns).to_pylist() if path.is_file() else []
    return {row["correction_id"]: row[column] for row in rows}
