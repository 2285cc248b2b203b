"""What the first page knows about the stages."""

from datetime import UTC, datetime

from fine_tune_assets.core.progress import RunningStep
from fine_tune_assets.desk.pipeline import PipelineFacts, StoredTable
from fine_tune_assets.ledger.record_counts import LedgerCounts

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NOTHING = LedgerCounts(0, 0, 0, 0, 0, None)


def facts(records: LedgerCounts = NOTHING, running: tuple[RunningStep, ...] = (), **rows: int) -> PipelineFacts:
    tables = {name: StoredTable(number, NOW) for name, number in rows.items() if name not in ("adapters", "withheld")}
    return PipelineFacts(tables, rows.get("adapters", 0), rows.get("withheld"), records, running)
