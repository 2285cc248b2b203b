"""How much a caller may use: requests a minute and tokens a day, counted in the ledger for all gateway processes together.

Owns a process's share of the requests of this minute. It takes a twentieth of the limit at a time, so that most requests write
nothing for it. Requests are never more than the limit; of tokens, those of requests that are under way come on top.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool

from fine_tune_assets.gateway.callers.callers import Caller, read_ledger
from fine_tune_assets.gateway.wire_format import ApiError
from fine_tune_assets.ledger.audit.requests import lease_requests, slot_end, slot_of, tokens_used
from fine_tune_assets.ledger.database import Ledger


@dataclass
class _Share:
    slot: datetime
    own: int = 0
    """Taken and not used yet."""
    elsewhere: int = 0
    """Left for anybody when it was taken."""
    is_spent: bool = False
    """All are taken: nobody need ask again in this minute."""


class Limits:
    """Used from one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._shares: dict[str, _Share] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def take(self, caller: Caller) -> dict[str, str]:
        """Count one request. What is left, as headers. Raises ApiError with 429 when nothing is."""
        now, headers = datetime.now(UTC), dict[str, str]()
        if caller.requests_per_minute is not None:
            headers |= await self._take_request(caller.caller_id, caller.requests_per_minute, now)
        if caller.tokens_per_day is not None:
            headers |= await self._check_tokens(caller.caller_id, caller.tokens_per_day, now)
        return headers

    async def _take_request(self, caller_id: str, limit: int, now: datetime) -> dict[str, str]:
        slot = slot_of("requests", now)
        self._forget_before(slot)
        async with self._locks.setdefault(caller_id, asyncio.Lock()):
            share = self._shares.setdefault(caller_id, _Share(slot))
            if not share.own and not share.is_spent:
                taken = await run_in_threadpool(lease_requests, self._ledger, caller_id, limit, now)
                share.own, share.elsewhere = taken
                share.is_spent = not share.own
            is_refused = not share.own
            share.own -= not is_refused
        seconds = _seconds_to(slot_end("requests", now), now)
        headers = _headers("requests", limit, share.own + share.elsewhere, seconds)
        if is_refused:
            message = f"This key may send {limit} requests a minute. Ask again when the minute is over."
            raise ApiError(429, "rate_limit_exceeded", message, {"Retry-After": str(seconds), **headers})
        return headers

    def _forget_before(self, slot: datetime) -> None:
        old = [caller_id for caller_id, share in self._shares.items() if share.slot < slot]
        for caller_id in old:
            del self._shares[caller_id]
            if caller_id in self._locks and not self._locks[caller_id].locked():
                del self._locks[caller_id]

    async def _check_tokens(self, caller_id: str, limit: int, now: datetime) -> dict[str, str]:
        left = limit - await read_ledger(tokens_used, self._ledger, caller_id, now)
        seconds = _seconds_to(slot_end("tokens", now), now)
        headers = _headers("tokens", limit, max(0, left), seconds)
        if left <= 0:
            message = (
                f"This key's {limit} tokens of today are used up. Ask again tomorrow (UTC), or the operator for more."
            )
            raise ApiError(429, "token_budget_exceeded", message, {"Retry-After": str(seconds), **headers})
        return headers


def _headers(what: str, limit: int, left: int, seconds: int) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": str(limit),
        f"x-ratelimit-remaining-{what}": str(left),
        f"x-ratelimit-reset-{what}": f"{seconds}s",
    }


def _seconds_to(end: datetime, now: datetime) -> int:
    return max(1, -int((now - end).total_seconds() // 1))
