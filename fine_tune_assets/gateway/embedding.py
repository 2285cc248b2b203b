"""`/v1/embeddings`: texts to vectors, by the encoder that comes with this project. It is loaded before the first request where
a key may embed (`warming`), else with it, in a thread.

The encoder reads 254 word pieces of a text: a longer one is refused, not cut in
silence.
"""

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fine_tune_assets.gateway.errors import ApiError
from fine_tune_assets.gateway.request_models import EMBEDDING_MODEL, EmbeddingRequest

if TYPE_CHECKING:
    from fine_tune_assets.embeddings.encoder import Floats


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
