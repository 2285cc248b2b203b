"""Runs requests that hash passwords in a thread of their own, so that neither hashing nor waiting delays other pages.

A hash uses several cores and 64 MiB, so one runs at a time. A full queue refuses further requests at once.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from starlette.responses import PlainTextResponse, Response

MAX_OPEN = 16
"""Requests that run or wait; the last one waits about two seconds."""
MIN_REFUSAL_SECONDS = 0.6
"""Minimum duration of a failed sign-in, so that its timing does not reveal whether a name exists."""
QUEUE_FULL = PlainTextResponse(
    "Too many people sign in or change passwords at the same time. Go back and try again in a few seconds.\n",
    429,
    {"retry-after": "3"},
)


class HashQueue:
    """Used from one event loop."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "passwords")
        self._open = 0

    @property
    def is_full(self) -> bool:
        return self._open >= MAX_OPEN

    async def run(self, handle: Callable[[], Response]) -> Response:
        """The response of `handle`, or one with status 429."""
        if self.is_full:
            return QUEUE_FULL
        began = time.monotonic()
        self._open += 1
        try:
            running = asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, handle)
            response = await running
        finally:
            self._open -= 1
        if response.status_code == 401:
            await asyncio.sleep(max(0.0, MIN_REFUSAL_SECONDS - (time.monotonic() - began)))
        return response

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
