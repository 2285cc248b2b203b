"""Loads the sentence encoder before somebody asks: the first question after a start would wait seconds for it.

Owns when it is needed (the live release answers from documents, or somebody may have texts embedded) and whether it is loaded.
All of it happens in a thread: the gateway answers meanwhile, and says that it is not ready.
"""

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.api_keys import list_keys
from fine_tune_assets.ledger.database import Ledger

_LOG = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
"""A release, or a key, that needs it may come later."""
_EMBEDS = "embed"


class Warming:
    """Of one gateway process."""

    def __init__(self, is_needed: Callable[[], bool], load: Callable[[], None]) -> None:
        self._is_needed, self._load = is_needed, load
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        """Nothing that is needed was still to be loaded. Once it was so it stays: to send everybody away for what comes later
        would cost more than one slow answer."""
        return self._is_ready

    async def run(self) -> None:
        """Until it is loaded."""
        while not await run_in_threadpool(self._step):
            await asyncio.sleep(LOOK_SECONDS)

    def _step(self) -> bool:
        """Whether nothing is left to do."""
        try:
            is_needed = self._is_needed()
        except SQLAlchemyError:  # nobody is answered now anyway
            return False
        if is_needed:
            try:
                self._load()
            except Exception as error:  # noqa: BLE001 (whatever it is, it is tried again, and said by /ready)
                _LOG.warning("The sentence encoder can't be loaded: %s.", type(error).__name__)
                return False
        self._is_ready = True
        return is_needed


def load_encoder() -> None:
    """With one text through it: its first run takes longer than the next ones."""
    from fine_tune_assets.embeddings.encoder import bundled_encoder

    bundled_encoder().encode(["ready"])


def may_embed(settings: Settings, ledger: Ledger) -> bool:
    """Whether a key that was not revoked, or the provider's tokens by the setting, may have texts embedded."""
    named = {entry.rpartition("=")[2] for entry in settings.gateway.oidc_scopes.split()}
    has_tokens = bool(settings.gateway.oidc_issuer) and _EMBEDS in named
    return has_tokens or any(_EMBEDS in key.scopes for key in list_keys(ledger) if key.revoked_at is None)
