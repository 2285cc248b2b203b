"""Counts request outcomes per deployment and writes them to the ledger every second. No text, no caller.

A process that is killed loses the counts of its last second.
"""

import asyncio
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.request_outcomes import RequestOutcomes, add_outcomes

FLUSH_SECONDS = 1.0


class OutcomeCounter:
    """Used from one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._pending: dict[str, RequestOutcomes] = {}

    def add(self, deployment_id: str, outcome: RequestOutcomes) -> None:
        self._pending[deployment_id] = self._pending.get(deployment_id, RequestOutcomes()) + outcome

    async def flush(self) -> None:
        """Write the pending counts. If the ledger is unreachable, they stay pending."""
        counts, self._pending = self._pending, {}
        if not counts:
            return
        try:
            await run_in_threadpool(add_outcomes, self._ledger, counts, datetime.now(UTC))
        except SQLAlchemyError:
            for deployment_id, outcome in counts.items():
                self.add(deployment_id, outcome)

    async def flush_forever(self) -> None:
        """Flush every second until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()
