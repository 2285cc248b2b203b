"""Counts how requests end, a deployment each, and hands the counts to the ledger every second. No text, no caller.

Owns what a gateway process has counted and not handed over yet. What it counted in its last second is lost if it is killed.
"""

import asyncio
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.outcomes import Outcomes, add_outcomes

FLUSH_SECONDS = 1.0


class OutcomeCounter:
    """Used from one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counted: dict[str, Outcomes] = {}

    def add(self, deployment_id: str, outcome: Outcomes) -> None:
        self._counted[deployment_id] = self._counted.get(deployment_id, Outcomes()) + outcome

    async def flush(self) -> None:
        """A ledger that is away gets them the next time."""
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            await run_in_threadpool(add_outcomes, self._ledger, counted, datetime.now(UTC))
        except SQLAlchemyError:
            for deployment_id, outcome in counted.items():
                self.add(deployment_id, outcome)

    async def keep_flushing(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()
