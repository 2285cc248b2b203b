"""Cancels the work on an answer when its caller leaves before the answer begins; a stream ends through Starlette itself."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fine_tune_assets.gateway.wire_format import ApiError

_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for such requests. It appears only in the request log."""


async def cancel_on_disconnect(request: Request, answer: Coroutine[Any, Any, Response]) -> Response:
    """The answer, unless the caller disconnects first: then it is cancelled, and ApiError raised. The body was read before."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ApiError(_CLIENT_CLOSED_REQUEST, "client_disconnected", "The caller disconnected.")
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
