"""What every web application of ours is wrapped in: unexpected errors are logged by kind and place, never by message.

uvicorn would log the message, which may quote a report.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fine_tune_assets.core.errors import without_message

_LOG = logging.getLogger("uvicorn.error")
_Message = MutableMapping[str, Any]
_Application = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]


def without_messages(app: _Application) -> _Application:
    """The application; a request that failed was answered by its own handler of errors already."""

    async def run(
        scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":  # uvicorn has to see why the application can't start
            return await app(scope, receive, send)
        try:
            await app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 (answered already)
            _LOG.error("A request failed: %s", without_message(error))

    return run
