"""Shared by the web services: the loopback check, and error logs without messages.

By default uvicorn logs the message of an exception, which may quote a report.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fine_tune_assets.core.errors import SettingsError, summarize_exception

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost"})


def require_loopback(host: str, service: str) -> None:
    """Raise SettingsError unless `host` is loopback."""
    if host not in LOOPBACK_HOSTS:
        raise SettingsError(
            f"{service}.host is {host}, but the {service} listens on loopback only. "
            f"Set {service}.host to 127.0.0.1 and use a TLS proxy in front of it."
        )


_LOG = logging.getLogger("uvicorn.error")
_Message = MutableMapping[str, Any]
_Application = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]


def redact_exceptions(app: _Application) -> _Application:
    """Wrap an application so that an exception is logged by type and function, without its message."""

    async def run(
        scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":  # let uvicorn log why the application can't start
            return await app(scope, receive, send)
        try:
            await app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 (the application's error handler has already answered)
            _LOG.error("A request failed: %s", summarize_exception(error))

    return run
