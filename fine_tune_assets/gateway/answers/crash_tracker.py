"""Tracks which requests an engine was answering when it stopped, and refuses those that stop engines.

Requests are known by a keyed hash only. The ledger holds them, so that all gateway processes refuse them, also after a restart.
"""

import hmac
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from fine_tune_assets.gateway.callers.authentication import read_ledger
from fine_tune_assets.gateway.wire_format import ApiError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import derive_key
from fine_tune_assets.ledger.serving.crash_suspects import CrashSuspect, identify_engine, list_refused, record_suspects
from fine_tune_assets.ledger.serving.routing_targets import RoutingTarget

STOPS_ENGINE = "request_stops_engine"
"""Error code."""
_REFRESH_SECONDS = 5.0
_TRANSPORT_FIELDS = frozenset({"stream", "stream_options", "model"})
"""Fields of an engine request that do not change what the engine computes."""


class CrashTracker:
    """Used from one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._key = derive_key(ledger.key, "crash-suspects")
        self._refused: frozenset[str] = frozenset()
        self._read_at: float | None = None
        self._engines: set[str] = set()
        """Addresses for which the list was read: an engine that restarted has a new one."""

    def fingerprint(self, target: RoutingTarget, engine_request: Mapping[str, Any]) -> str:
        """A keyed hash of the request to this release's engine."""
        relevant = {name: value for name, value in engine_request.items() if name not in _TRANSPORT_FIELDS}
        text = json.dumps([target.release_id, relevant], sort_keys=True, separators=(",", ":"))
        return hmac.new(self._key, text.encode(), sha256).hexdigest()

    async def require_harmless(self, target: RoutingTarget, fingerprint: str) -> None:
        """Raises ApiError if an engine stopped because of this request, as far as is known."""
        assert target.engine_url is not None
        is_old = self._read_at is None or time.monotonic() - self._read_at > _REFRESH_SECONDS
        if is_old or target.engine_url not in self._engines:
            self._refused = await read_ledger(list_refused, self._ledger, datetime.now(UTC))
            self._read_at = time.monotonic()
            self._engines = {target.engine_url} if is_old else self._engines | {target.engine_url}
        if fingerprint in self._refused:
            raise ApiError(
                400,
                STOPS_ENGINE,
                "The engine stopped while it answered this request before, so the request is refused. Change it.",
            )

    async def report(self, target: RoutingTarget, fingerprint: str, caller: str) -> None:
        """Record that the engine stopped during this request. Does nothing if the ledger is unreachable."""
        assert target.engine_url is not None
        engine = identify_engine(target.engine_url)
        suspect = CrashSuspect(target.deployment_id, engine, fingerprint, caller, datetime.now(UTC))
        try:
            await run_in_threadpool(record_suspects, self._ledger, [suspect])
        except SQLAlchemyError:
            return
        self._read_at = None
