"""What our web services share: where each may listen, and errors that are logged by kind and place, never by message.

Only loopback, unless the service has TLS. uvicorn would log the message of an error, which may quote a report.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fine_tune_assets.core.errors import SettingsError, without_message

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost"})


def require_loopback(host: str, service: str) -> None:
    """Raise SettingsError unless `host` is loopback."""
    if host not in LOOPBACK_HOSTS:
        raise SettingsError(
            f"The {service} listens on loopback only, and {service}_host is {host}. "
            "Set it to 127.0.0.1 and put a proxy with TLS in front of it."
        )


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
