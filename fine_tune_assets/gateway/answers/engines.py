"""The engines that may be asked now: their clients and keys, and which of them a request goes to.

Owns that a key or a client of an engine that serves no more is not kept.
"""

from typing import Any

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.answers.engine_client import Answer, EngineClients, ask_engine
from fine_tune_assets.gateway.requests.request_models import LIVE
from fine_tune_assets.gateway.wire_format import unavailable
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.serving.deployments import open_engine_key
from fine_tune_assets.ledger.serving.targets import Target

BEING_STARTED = "The model is being started again. Ask again in a moment."


class Engines:
    """Of one gateway process."""

    def __init__(self, settings: Settings) -> None:
        self._key = read_or_create_key(settings.layout.keys, KEY_NAME)
        self._clients = EngineClients(settings.gateway.timeout_seconds)
        self._opened: dict[tuple[str, bytes | None], str] = {}

    async def close(self) -> None:
        await self._clients.close()

    @property
    def urls(self) -> set[str]:
        """Addresses that it has a client for."""
        return self._clients.urls

    @property
    def holds_keys_of(self) -> set[str]:
        """Deployments whose engine's key it holds."""
        return {deployment_id for deployment_id, _ in self._opened}

    def forget_all_but(self, targets: list[Target]) -> None:
        """Of engines that are asked nothing any more. An answer that is under way holds its own."""
        self._clients.forget_all_but({target.engine_url for target in targets})
        known = {(target.deployment_id, target.engine_key) for target in targets}
        self._opened = {name: key for name, key in self._opened.items() if name in known}

    async def ask(self, target: Target, asked: dict[str, Any], path: str) -> Answer:
        """Raises EngineGoneError, ApiError."""
        assert target.engine_url is not None
        return await ask_engine(self._clients.client(target.engine_url), self._key_of(target), asked, path)

    def _key_of(self, target: Target) -> str:
        name = (target.deployment_id, target.engine_key)
        try:
            if name not in self._opened:
                self._opened[name] = open_engine_key(self._key, target.deployment_id, target.engine_key)
            return self._opened[name]
        except LedgerError as error:
            raise unavailable("The live engine's key can't be read. Start the supervisor again.") from error


def chosen(targets: list[Target], model: str, failed: set[str]) -> Target:
    """The live one; if that is away or has just failed, what served before, unless the caller named the release. If all
    failed, the live one again: it may have been started again, or the switch have come in between. Raises ApiError."""
    live = live_of(targets)
    others = targets[1:] if model == LIVE else []
    fit = [target for target in (live, *others) if target.engine_url is not None and not target.is_on_trial]
    fresh = [target for target in fit if target.deployment_id not in failed]
    if not fit:
        raise unavailable(BEING_STARTED)
    return (fresh or fit)[0]


def live_of(targets: list[Target]) -> Target:
    """Raises ApiError."""
    if not targets or not targets[0].is_live:
        raise unavailable("No release is live. `fine-tune status` tells why.")
    return targets[0]
