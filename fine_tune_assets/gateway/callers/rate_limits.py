"""Limits requests per minute and tokens per day of a caller, counted in the ledger across all gateway processes.

A process leases 5 % of the request limit at a time, so that most requests need no write. The request limit is exact; tokens of
requests in progress can exceed the daily budget.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool

from fine_tune_assets.gateway.callers.authentication import Caller, read_ledger
from fine_tune_assets.gateway.wire_format import ApiError
from fine_tune_assets.ledger.audit.request_log import count_tokens_used, lease_requests, period_end, period_start
from fine_tune_assets.ledger.database import Ledger


@dataclass
class _Lease:
    slot: datetime
    remaining: int = 0
    """Leased and not used yet."""
    remaining_elsewhere: int = 0
    """Not leased by any process when this lease was taken."""
    is_exhausted: bool = False
    """The requests that can be leased in this minute are used up."""


class RateLimiter:
    """Used from one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._leases: dict[str, _Lease] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def count_request(self, caller: Caller) -> dict[str, str]:
        """Count one request and return the rate limit headers. Raises ApiError with 429 when a limit is used up."""
        now, headers = datetime.now(UTC), dict[str, str]()
        if caller.requests_per_minute is not None:
            headers |= await self._use_request(caller.caller_id, caller.requests_per_minute, now)
        if caller.tokens_per_day is not None:
            headers |= await self._check_tokens(caller.caller_id, caller.tokens_per_day, now)
        return headers

    async def _use_request(self, caller_id: str, limit: int, now: datetime) -> dict[str, str]:
        slot = period_start("requests", now)
        self._drop_before(slot)
        async with self._locks.setdefault(caller_id, asyncio.Lock()):
            lease = self._leases.setdefault(caller_id, _Lease(slot))
            if not lease.remaining and not lease.is_exhausted:
                leased = await run_in_threadpool(lease_requests, self._ledger, caller_id, limit, now)
                lease.remaining, lease.remaining_elsewhere = leased
                lease.is_exhausted = not lease.remaining
            is_refused = not lease.remaining
            lease.remaining -= not is_refused
        seconds = _seconds_until(period_end("requests", now), now)
        headers = _headers("requests", limit, lease.remaining + lease.remaining_elsewhere, seconds)
        if is_refused:
            message = f"This key is limited to {limit} requests per minute. Retry in {seconds} seconds."
            raise ApiError(429, "rate_limit_exceeded", message, {"Retry-After": str(seconds), **headers})
        return headers

    def _drop_before(self, slot: datetime) -> None:
        expired = [caller_id for caller_id, lease in self._leases.items() if lease.slot < slot]
        for caller_id in expired:
            del self._leases[caller_id]
            if caller_id in self._locks and not self._locks[caller_id].locked():
                del self._locks[caller_id]

    async def _check_tokens(self, caller_id: str, limit: int, now: datetime) -> dict[str, str]:
        remaining = limit - await read_ledger(count_tokens_used, self._ledger, caller_id, now)
        seconds = _seconds_until(period_end("tokens", now), now)
        headers = _headers("tokens", limit, max(0, remaining), seconds)
        if remaining <= 0:
            message = f"The daily budget of {limit} tokens is used up. Retry after midnight UTC, or ask the operator for more."
            raise ApiError(429, "token_budget_exceeded", message, {"Retry-After": str(seconds), **headers})
        return headers


def _headers(unit: str, limit: int, remaining: int, seconds: int) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{unit}": str(limit),
        f"x-ratelimit-remaining-{unit}": str(remaining),
        f"x-ratelimit-reset-{unit}": f"{seconds}s",
    }


def _seconds_until(end: datetime, now: datetime) -> int:
    return max(1, -int((now - end).total_seconds() // 1))
