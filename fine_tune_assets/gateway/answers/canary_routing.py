"""Selects the callers that a canary release answers.

A canary release keeps the same callers until it ends; the next one gets a different selection.
"""

import hmac
from datetime import UTC, datetime

from fine_tune_assets.gateway.callers.authentication import Caller, read_ledger
from fine_tune_assets.gateway.requests.request_models import LIVE_MODEL
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import derive_key
from fine_tune_assets.ledger.serving.canary_records import find_routable_canary
from fine_tune_assets.ledger.serving.routing_targets import RoutingTarget


class CanaryRouter:
    """Shared by all requests of one gateway process."""

    def __init__(self, ledger: Ledger, ledger_key: bytes) -> None:
        self._ledger, self._key = ledger, derive_key(ledger_key, "trials")

    async def pick_target(
        self, caller: Caller, targets: list[RoutingTarget], model: str, attempted: set[str]
    ) -> RoutingTarget | None:
        """The canary release, if it takes this caller, the caller names no release, and its gate is open.

        Adds the deployment to `attempted`: each request tries the canary release once.
        """
        target = next((target for target in targets if target.is_canary), None)
        if target is None or target.deployment_id in attempted or model != LIVE_MODEL:
            return None
        if not is_in_canary(self._key, target.deployment_id, caller.principal, target.canary_percent or 0):
            return None
        attempted.add(target.deployment_id)
        canary = await read_ledger(find_routable_canary, self._ledger, target.deployment_id, datetime.now(UTC))
        return None if canary is None else target


def is_in_canary(key: bytes, deployment_id: str, principal: str, percent: int) -> bool:
    """Whether a keyed hash of the principal falls into the first `percent` of 100.

    A caller never alternates between two releases. A key that acts for people can find out by trial which names get which
    release, but not predict it, and the decision counts its requests as those of one key. The share is of callers, not of
    requests.
    """
    digest = hmac.digest(key, f"{deployment_id} {principal}".encode(), "sha256")
    return int.from_bytes(digest[:8], "big") % 100 < percent
