"""Refuses requests whose Host header does not name the gateway.

A web page could otherwise reach it under a name that its owner points at this machine (DNS rebinding). An IP address is accepted,
since no name is resolved to reach it.
"""

import re
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.web_services import LOOPBACK_HOSTS
from fine_tune_assets.gateway.wire_format import error_body

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:[0-9]+)?")
_REFUSAL = error_body(
    421, "unknown_host", "The gateway has no such host name. The operator adds names in gateway.hosts."
)


def find_host_names(settings: Settings) -> frozenset[str]:
    """Names at which the gateway answers, in lower case."""
    own = {settings.gateway.host, socket.gethostname(), *settings.gateway.hosts.replace(",", " ").split()}
    desk = urlsplit(settings.desk.gateway_url).hostname
    return frozenset(name.lower() for name in {*own, *LOOPBACK_HOSTS, desk or ""} if name)


class HostGuard:
    """ASGI middleware. `names` are in lower case, without a port."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_known = scope["type"] != "http" or self._is_known(Headers(scope=scope).getlist("host"))
        await (self._app if is_known else JSONResponse(_REFUSAL, 421))(scope, receive, send)

    def _is_known(self, hosts: list[str]) -> bool:
        found = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        name = found[1].strip("[]") if found else ""
        return name in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
