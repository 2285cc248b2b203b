"""The desk's addresses, cookie names and security headers.

Rejects unknown Host names (DNS rebinding) and requests from other origins. The scheme comes from the settings, never from a
header. The content security policy forbids inline scripts and third-party sources, as a second defence behind escaping.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.web_services import LOOPBACK_HOSTS, require_loopback

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
EMBEDDED_CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "worker-src 'self' blob:",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Added to the Dagster UI's own policy, which demands a nonce for scripts: its page loads from and sends to this address only,
except by navigation."""
CONTENT_POLICY_HEADER = "content-security-policy"
_SECURITY_HEADERS = {
    CONTENT_POLICY_HEADER: CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With `no-referrer` browsers send forms with the origin "null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-robots-tag": "noindex",
}
_LINE_SECONDS = 365 * 24 * 3600
_HSTS_HEADERS = {"strict-transport-security": "max-age=31536000"}


@dataclass(frozen=True)
class Addresses:
    """`hosts` maps each accepted Host header to the origin of its pages."""

    hosts: Mapping[str, str]
    public_url: str
    is_https: bool
    cookie_suffix: str
    line: str
    """The product line; empty: the main line."""

    def cookie_name(self, name: str) -> str:
        """Each line has its own cookies, so that signing in to one does not end the session of another."""
        return self._format_cookie_name(f"{self.line}-{name}" if self.line else name)

    @property
    def line_cookie(self) -> str:
        """Name of the cookie that holds the browser's current line: the same at all lines."""
        return self._format_cookie_name("line")

    def _format_cookie_name(self, name: str) -> str:
        """With the prefix `__Host-`, browsers refuse the cookie from a subdomain, without TLS or for another path."""
        return f"__Host-desk-{name}" if self.is_https else f"desk-{name}-{self.cookie_suffix}"

    def set_cookie(self, response: Response, name: str, value: str, max_age: int | None = None) -> None:
        self._set_cookie(response, self.cookie_name(name), value, max_age)

    def set_line_cookie(self, response: Response, line: str) -> None:
        self._set_cookie(response, self.line_cookie, line, _LINE_SECONDS)

    def _set_cookie(self, response: Response, full_name: str, value: str, max_age: int | None) -> None:
        response.set_cookie(full_name, value, max_age, secure=self.is_https, httponly=True, samesite="lax")

    def delete_cookie(self, response: Response, name: str) -> None:
        response.delete_cookie(self.cookie_name(name), secure=self.is_https, httponly=True, samesite="lax")

    def is_known_host(self, host: str) -> bool:
        return host.lower() in self.hosts

    def is_same_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of the desk sent the request. Requests without Sec-Fetch-Site and Origin are refused."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is None:
            return False
        is_site = site in (None, "same-origin")
        return is_site and origin in (None, self.hosts.get(headers.get("host", "").lower()))


def read_addresses(settings: Settings) -> Addresses:
    """Raises SettingsError if the desk would be reachable from other machines directly or without TLS."""
    require_loopback(settings.desk.host, "desk")
    local = {f"{host}:{settings.desk.port}": f"http://{host}:{settings.desk.port}" for host in sorted(LOOPBACK_HOSTS)}
    public = settings.desk_address
    parts = urlsplit(public)
    is_https = parts.scheme == "https"
    is_plain = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    if not (is_https or is_plain) or not parts.hostname or parts.path or parts.query or parts.username:
        raise SettingsError(
            "desk.url must be https://NAME or https://NAME:PORT, the address of the TLS proxy in front of the desk."
        )
    return Addresses(
        {**local, parts.netloc.lower(): public.lower()}, public, is_https, str(settings.desk.port), settings.line
    )


class SecurityHeadersMiddleware:
    """ASGI middleware: checks the Host header and adds the security headers."""

    def __init__(self, app: ASGIApp, addresses: Addresses) -> None:
        self._app, self._addresses = app, addresses
        self._headers = _SECURITY_HEADERS | (_HSTS_HEADERS if addresses.is_https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        hosts = Headers(scope=scope).getlist("host")
        is_known = len(hosts) == 1 and self._addresses.is_known_host(hosts[0])
        app = self._app if is_known else _MISDIRECTED_RESPONSE if scope["type"] == "http" else WebSocketClose()
        await app(scope, receive, self._with_headers(send))

    def _with_headers(self, send: Send) -> Send:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if CONTENT_POLICY_HEADER in headers:  # of the Dagster UI: both policies apply
                    headers.append(CONTENT_POLICY_HEADER, EMBEDDED_CONTENT_POLICY)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                # Pages contain report text, so no cache may store them, including the browser's back-forward cache.
                headers.setdefault("cache-control", "no-store")
            await send(message)

        return add


_MISDIRECTED_RESPONSE = PlainTextResponse("The desk does not answer at this address.\n", status_code=421)
