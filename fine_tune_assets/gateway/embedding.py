"""`/v1/embeddings`: texts to vectors, by the encoder that comes with this project. It is loaded before the first request where
a key may embed (`warming`), else with it, in a thread.

Owns the fields and limits of that route. The encoder reads 254 word pieces of a text: a longer one is refused, not cut in
silence.
"""

import asyncio
import base64
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fine_tune_assets.gateway.errors import ApiError, invalid
from fine_tune_assets.gateway.requests import refuse_unknown

if TYPE_CHECKING:
    from fine_tune_assets.embeddings.encoder import Floats

MODEL = "all-MiniLM-L6-v2"
MOST_TEXTS = 256
DIMENSIONS = 384
FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})


class Embedder:
    """One batch at a time: the encoder takes turns anyway."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "embedder")

    async def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ApiError."""
        texts, is_base64 = _checked(body)
        loop = asyncio.get_running_loop()
        vectors, pieces = await loop.run_in_executor(self._thread, _embedded, texts)
        rows = [_base64(vector) if is_base64 else vector.tolist() for vector in vectors]
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        return {
            "object": "list",
            "data": data,
            "model": MODEL,
            "usage": {"prompt_tokens": pieces, "total_tokens": pieces},
        }

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _checked(body: Mapping[str, Any]) -> tuple[list[str], bool]:
    refuse_unknown(body, FIELDS)
    if body.get("model", MODEL) != MODEL:
        raise ApiError(404, "model_not_found", f"That model is not served. Name {MODEL!r}.")
    if body.get("dimensions") not in (None, DIMENSIONS):
        raise invalid(f"dimensions must be {DIMENSIONS}.")
    form = body.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise invalid("encoding_format must be float or base64.")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= MOST_TEXTS:
        raise invalid(f"input must be a text, or a list of 1 to {MOST_TEXTS}.")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise invalid("Each input must be a text that is not empty; numbers of tokens are not taken.")
    return texts, form == "base64"


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
