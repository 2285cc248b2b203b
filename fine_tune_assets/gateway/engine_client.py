"""Hands a chat request to the live engine and its answer back to the caller, whole or as a stream.

Owns the one HTTP client, what happens when the engine went away, and that a stream that breaks says so.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.responses import Response, StreamingResponse

from fine_tune_assets.gateway.errors import ApiError, error_body

READ_TIMEOUT_SECONDS = 900.0
"""The llama.cpp server answers one request at a time: a caller may wait in line."""


class EngineGoneError(Exception):
    """The engine could not be reached, or closed the connection before it answered."""


def open_client() -> httpx.AsyncClient:
    """No connection is kept: the supervisor sees by the open ones which answers are still out."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(READ_TIMEOUT_SECONDS, connect=5.0),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        trust_env=False,
    )


async def ask_engine(
    client: httpx.AsyncClient, url: str, api_key: str, body: dict[str, Any], release_id: str
) -> Response:
    """Raises EngineGoneError if asking again elsewhere is safe, ApiError if the engine refused."""
    request = client.build_request(
        "POST", f"{url}/chat/completions", json=body, headers={"Authorization": f"Bearer {api_key}"}
    )
    try:
        reply = await client.send(request, stream=True)
        if reply.status_code != 200:
            await _refuse(reply)
        if body["stream"]:
            headers = {"x-release-id": release_id, "cache-control": "no-cache"}
            return StreamingResponse(_stream(reply), media_type="text/event-stream", headers=headers)
        content = await reply.aread()
    except httpx.TimeoutException as error:
        raise ApiError(504, "engine_timeout", "The model did not answer in time.") from error
    except httpx.TransportError as error:
        raise EngineGoneError from error
    await reply.aclose()
    return Response(content, media_type="application/json", headers={"x-release-id": release_id})


async def _refuse(reply: httpx.Response) -> None:
    """Turn the engine's error into ours: its own message may repeat what it was asked."""
    content = await reply.aread()
    await reply.aclose()
    try:
        code = json.loads(content)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = None
    if code == "context_length_exceeded":
        raise ApiError(400, code, "The messages and the answer asked for are longer than the model's context.")
    raise ApiError(502, "engine_error", f"The model failed (HTTP {reply.status_code}).")


async def _stream(reply: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in reply.aiter_raw():
            yield chunk
    except httpx.TransportError:
        broken = error_body(502, "stream_broken", "The model went away before the end of this answer. Ask again.")
        yield f"data: {json.dumps(broken)}\n\n".encode()
    finally:
        await reply.aclose()
