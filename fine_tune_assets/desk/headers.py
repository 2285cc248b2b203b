"""What every answer carries so that a browser protects its user, and which Host is answered at all.

The policy allows nothing inline and nothing from elsewhere: a text that got past escaping still runs nothing.
"""

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fine_tune_assets.desk.addresses import Addresses

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
