"""Under which addresses the desk answers, what its cookies are called there, and which headers every answer carries.

Owns the Host and Origin rules: a name that points here but is not ours (DNS rebinding) and a page of another site get
nothing. The scheme is what the setting says, never what a header says. The content policy allows nothing inline and nothing from
elsewhere: a text that got past escaping still runs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
_ALWAYS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: with it a browser sends forms with the origin "null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-robots-tag": "noindex",
}
_TLS = {"strict-transport-security": "max-age=31536000"}


@dataclass(frozen=True)
class Addresses:
    """`hosts` maps each Host that we answer to the origin of its pages."""

    hosts: Mapping[str, str]
    public: str
    is_https: bool
    suffix: str

    def cookie(self, name: str) -> str:
        """`__Host-`: the browser refuses it from a subdomain, without TLS, or for another path."""
        return f"__Host-desk-{name}" if self.is_https else f"desk-{name}-{self.suffix}"

    def set_cookie(self, response: Response, name: str, value: str, max_age: int | None = None) -> None:
        response.set_cookie(self.cookie(name), value, max_age, secure=self.is_https, httponly=True, samesite="lax")

    def delete_cookie(self, response: Response, name: str) -> None:
        response.delete_cookie(self.cookie(name), secure=self.is_https, httponly=True, samesite="lax")

    def is_ours(self, host: str) -> bool:
        return host.lower() in self.hosts

    def is_same_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of ours sent this. A browser says so in one header at least; who says nothing is refused."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is None:
            return False
        is_site = site in (None, "same-origin")
        return is_site and origin in (None, self.hosts.get(headers.get("host", "").lower()))


def read_addresses(settings: Settings) -> Addresses:
    """Raises SettingsError if the desk would listen, or be reached without TLS, beyond this machine."""
    require_loopback(settings.desk.host, "desk")
    local = {f"{host}:{settings.desk.port}": f"http://{host}:{settings.desk.port}" for host in sorted(LOOPBACK_HOSTS)}
    public = settings.desk_address
    parts = urlsplit(public)
    is_https = parts.scheme == "https"
    is_plain = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    if not (is_https or is_plain) or not parts.hostname or parts.path or parts.query or parts.username:
        raise SettingsError(
            "desk.url must be https://NAME or https://NAME:PORT, the address of the proxy with TLS in front of the desk."
        )
    return Addresses({**local, parts.netloc.lower(): public.lower()}, public, is_https, str(settings.desk.port))


class Headers:
    """Middleware around the whole desk."""

    def __init__(self, app: ASGIApp, addresses: Addresses) -> None:
        self._app, self._addresses = app, addresses
        self._headers = _ALWAYS | (_TLS if addresses.is_https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        app = self._app if self._addresses.is_ours(host) else _refuse_host
        await app(scope, receive, self._with_headers(send))

    def _with_headers(self, send: Send) -> Send:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                # Pages hold text of reports: no cache keeps them, not even the browser's for its back button.
                headers.setdefault("cache-control", "no-store")
            await send(message)

        return add


_refuse_host = PlainTextResponse("This address is not the desk's.\n", status_code=421)
