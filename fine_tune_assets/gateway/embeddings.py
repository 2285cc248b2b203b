"""`/v1/embeddings`: encodes texts as vectors with the bundled sentence encoder.

If the live release answers from documents, or a caller can request embeddings, the encoder is loaded in a thread before the
gateway reports ready. It reads 254 word pieces; longer texts are refused, not truncated.
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
from fine_tune_assets.gateway.requests.request_parsing import MAX_CHARACTERS_PER_TOKEN
from fine_tune_assets.gateway.wire_format import ApiError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import list_keys

if TYPE_CHECKING:
    from fine_tune_assets.embeddings.encoder import Floats

_LOG = logging.getLogger(__name__)
POLL_SECONDS = 2.0
"""A release or key that needs the encoder may be added later."""
_EMBED_SCOPE = "embed"


class EncoderWarmup:
    """Loads the encoder of one gateway process when it is needed."""

    def __init__(self, is_needed: Callable[[], bool], load: Callable[[], None]) -> None:
        self._is_needed, self._load = is_needed, load
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether the encoder is loaded or not needed. Stays true: one slow answer after a later change costs less than
        refusing all callers."""
        return self._is_ready

    async def run(self) -> None:
        """Check every `POLL_SECONDS` until the encoder is loaded."""
        while not await run_in_threadpool(self._step):
            await asyncio.sleep(POLL_SECONDS)

    def _step(self) -> bool:
        """Load the encoder if it is needed; True once it is loaded."""
        try:
            is_needed = self._is_needed()
        except SQLAlchemyError:  # without the ledger no request is answered anyway
            return False
        if is_needed:
            try:
                self._load()
            except Exception as error:  # noqa: BLE001 (loading is retried, and /ready reports it)
                _LOG.warning("The sentence encoder can't be loaded: %s.", type(error).__name__)
                return False
        self._is_ready = True
        return is_needed


def load_encoder() -> None:
    """Load the encoder and encode one text, since the first run is slower."""
    from fine_tune_assets.embeddings.encoder import bundled_encoder

    bundled_encoder().encode(["ready"])


def has_embedding_callers(settings: Settings, ledger: Ledger) -> bool:
    """Whether an API key that is not revoked, or a token by `gateway.oidc_scopes`, can have the scope `embed`."""
    scopes = {entry.rpartition("=")[2] for entry in settings.gateway.oidc_scopes.split()}
    has_tokens = bool(settings.gateway.oidc_issuer) and _EMBED_SCOPE in scopes
    return has_tokens or any(_EMBED_SCOPE in key.scopes for key in list_keys(ledger) if key.revoked_at is None)


class Embedder:
    """Encodes one batch at a time: the encoder is not concurrent."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "embedder")

    async def embed(self, body: EmbeddingRequest) -> dict[str, Any]:
        """Raises ApiError."""
        if body.model != EMBEDDING_MODEL:
            raise ApiError(404, "model_not_found", f"This model is not served. Set model to {EMBEDDING_MODEL!r}.")
        loop, is_base64 = asyncio.get_running_loop(), body.encoding_format == "base64"
        vectors, pieces = await loop.run_in_executor(self._thread, _encode_texts, body.input)
        rows = [_to_base64(vector) if is_base64 else vector.tolist() for vector in vectors]
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        return {
            "object": "list",
            "data": data,
            "model": EMBEDDING_MODEL,
            "usage": {"prompt_tokens": pieces, "total_tokens": pieces},
        }

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _encode_texts(texts: list[str]) -> tuple["Floats", int]:
    from fine_tune_assets.embeddings.encoder import WINDOW_PIECES, bundled_encoder

    encoder = bundled_encoder()
    is_too_long = max(map(len, texts)) > WINDOW_PIECES * MAX_CHARACTERS_PER_TOKEN
    windows = [] if is_too_long else encoder.tokenize(texts)
    if is_too_long or any(len(window) > WINDOW_PIECES for window in windows):
        message = f"An input is longer than the encoder's limit of {WINDOW_PIECES} word pieces. Split it."
        raise ApiError(400, "context_length_exceeded", message)
    return encoder.encode_windows(windows), sum(map(len, windows))


def _to_base64(vector: Any) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
