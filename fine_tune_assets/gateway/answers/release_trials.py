"""Who is answered by a release on trial: the same callers as long as the trial goes on, and others in the next one.

Owns that choice, and that the release may still be tried. Which release is on trial is in the ledger.
"""

import hmac
from datetime import UTC, datetime

from fine_tune_assets.gateway.callers.callers import Caller, read_ledger
from fine_tune_assets.gateway.requests.request_models import LIVE
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import derive_key
from fine_tune_assets.ledger.serving.targets import Target
from fine_tune_assets.ledger.serving.trials import trial_that_may_ask


class Trials:
    """Shared by all requests of a gateway process."""

    def __init__(self, ledger: Ledger, ledger_key: bytes) -> None:
        self._ledger, self._key = ledger, derive_key(ledger_key, "trials")

    async def target_for(self, caller: Caller, targets: list[Target], model: str, tried: set[str]) -> Target | None:
        """What is on trial, if the caller takes part, names no release, and the gate is open. Added to `tried`: a request is sent
        there once."""
        target = next((target for target in targets if target.is_on_trial), None)
        if target is None or target.deployment_id in tried or model != LIVE:
            return None
        if not takes_part(self._key, target.deployment_id, caller.who, target.trial_percent or 0):
            return None
        tried.add(target.deployment_id)
        trial = await read_ledger(trial_that_may_ask, self._ledger, target.deployment_id, datetime.now(UTC))
        return None if trial is None else target


def takes_part(key: bytes, deployment_id: str, who: str, percent: int) -> bool:
    """By a keyed hash of the key or token and the person that it acts for, so that none sees two releases in turns, and nobody
    can choose a name for the side that they want. Of callers, not of requests: who asks much counts as one."""
    digest = hmac.digest(key, f"{deployment_id} {who}".encode(), "sha256")
    return int.from_bytes(digest[:8], "big") % 100 < percent
