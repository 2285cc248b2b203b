"""`/v1/embeddings`: texts to vectors, by the encoder that comes with this project.

The encoder is loaded in a thread before the first request, if the live release answers from documents or somebody may have texts
embedded; until then the gateway says that it is not ready. It reads 254 word pieces of a text: a longer one is refused, not cut
in silence.
"""

import asyncio
import base64
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.requests.request_models import EMBEDDING_MODEL, EmbeddingRequest
from fine_tune_assets.gateway.wire_format import ApiError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import list_keys

if TYPE_CHECKING:
    from fine_tune_assets.embeddings.encoder import Floats

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


class Embedder:
    """One batch at a time: the encoder takes turns anyway."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "embedder")

    async def answer(self, body: EmbeddingRequest) -> dict[str, Any]:
        """Raises ApiError."""
        if body.model != EMBEDDING_MODEL:
            raise ApiError(404, "model_not_found", f"That model is not served. Name {EMBEDDING_MODEL!r}.")
        loop, is_base64 = asyncio.get_running_loop(), body.encoding_format == "base64"
        vectors, pieces = await loop.run_in_executor(self._thread, _embedded, body.input)
        rows = [_base64(vector) if is_base64 else vector.tolist() for vector in vectors]
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        return {
            "object": "list",
            "data": data,
            "model": EMBEDDING_MODEL,
            "usage": {"prompt_tokens": pieces, "total_tokens": pieces},
        }

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _embedded(texts: list[str]) -> tuple["Floats", int]:
    from fine_tune_assets.embeddings.encoder import WINDOW_PIECES, bundled_encoder

    encoder = bundled_encoder()
    windows = encoder.pieces(texts)
    if any(len(window) > WINDOW_PIECES for window in windows):
        message = (
            f"An input is longer than {WINDOW_PIECES} word pieces, which is all that the encoder reads. Cut it up."
        )
        raise ApiError(400, "context_length_exceeded", message)
    return encoder.encode_pieces(windows), sum(map(len, windows))


def _base64(vector: Any) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
