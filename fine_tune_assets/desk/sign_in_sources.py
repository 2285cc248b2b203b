"""Tells where a sign-in comes from: a browser in which this user signed in before, or an address.

A failed sign-in makes its own source wait. A cookie with a signature recognizes the browser, so that strangers at the same
address, such as that of a proxy, do not make the user wait (OWASP: device cookies).
"""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256

from starlette.responses import Response

from fine_tune_assets.core.people import person_key
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.request_context import RequestContext

_COOKIE = "known-browser"
_LIFETIME_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True)
class Source:
    """Arguments of `sign_in`."""

    source: str
    is_known_source: bool


def find_source(desk: Desk, context: RequestContext, name: str) -> Source:
    """The source of an attempt to sign in as `name`."""
    number, _, signature = context.request.cookies.get(desk.addresses.cookie_name(_COOKIE), "").partition(".")
    if hmac.compare_digest(signature.encode(), _sign(desk, name, number).encode()):
        return Source(f"browser {number}", is_known_source=True)
    client = context.request.client
    return Source(f"address {client.host if client else 'unknown'}", is_known_source=False)


def remember_browser(desk: Desk, response: Response, name: str) -> None:
    """After a sign-in. A browser remembers the last user."""
    number = secrets.token_urlsafe(16)
    desk.addresses.set_cookie(response, _COOKIE, f"{number}.{_sign(desk, name, number)}", _LIFETIME_SECONDS)


def _sign(desk: Desk, name: str, number: str) -> str:
    text = f"known browser {number} {person_key(name)}"
    return hmac.new(desk.sign_in_key, text.encode(), sha256).hexdigest()
