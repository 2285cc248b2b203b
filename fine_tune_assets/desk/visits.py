"""A visit: one request, who makes it, and whether it may. The gate in front of every page.

Owns the order of the checks (where it comes from, who it is, which role, whether the form is one that we made for this
person) and that a form which arrives too late is not lost. Which roles a route needs is in `routes`.
"""

import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fine_tune_assets.desk.errors import forbidden, not_from_here
from fine_tune_assets.desk.forms import Form
from fine_tune_assets.ledger.sessions import Session, find_session

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk

SAFE_METHODS = frozenset({"GET", "HEAD"})
TOKEN = "form_token"
TOKEN_HEADER = "x-form-token"


@dataclass(frozen=True)
class Anybody:
    """Who a route is for when nobody has to be signed in."""


@dataclass(frozen=True)
class Users:
    """Who a route is for: whoever has one of the roles, or any user if none is named."""

    roles: frozenset[str] = frozenset()

    def has(self, session: Session) -> bool:
        return not self.roles or bool(self.roles & session.roles)


@dataclass(frozen=True)
class Visit:
    request: Request
    session: Session | None
    form: Form
    now: datetime
    browser: str
    """A random word in a cookie of this browser: what forms are bound to before anybody signed in."""
    is_new_browser: bool

    @property
    def who(self) -> Session:
        """Who is signed in; the gate made sure that somebody is."""
        assert self.session is not None
        return self.session

    @property
    def is_fragment(self) -> bool:
        """Whether htmx asks for a part of a page."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def method(self) -> str:
        return self.request.method

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def query(self, name: str) -> str:
        return str(self.request.query_params.get(name, ""))


Endpoint = Callable[["Desk", Visit], Response]
Late = Callable[["Desk", Visit], Response]
"""What is answered to a form whose session or token is over: it holds what was typed."""


def visit_of(desk: "Desk", request: Request, form: Form, is_click: bool = True) -> Visit:
    """`is_click`: whether somebody did something, or an open page asks by itself."""
    now = datetime.now(UTC)
    token = request.cookies.get(desk.addresses.cookie("session"), "")
    session = find_session(desk.ledger, token, desk.limits, now=now, is_click=is_click) if token else None
    browser = request.cookies.get(desk.addresses.cookie("browser"), "")
    return Visit(request, session, form, now, browser or secrets.token_urlsafe(24), not browser)


def answer(desk: "Desk", visit: Visit, allowed: Anybody | Users, endpoint: Endpoint, late: Late) -> Response:
    """Let the visit in, or say why not. Raises PageError."""
    is_safe = visit.method in SAFE_METHODS
    if not is_safe and not desk.addresses.is_same_origin(visit.request.headers):
        raise not_from_here()
    if isinstance(allowed, Users):
        if visit.session is None:
            return _to_sign_in(visit) if is_safe else late(desk, visit)
        if not allowed.has(visit.session):
            raise forbidden()
    if not is_safe and not _has_token(desk, visit):
        return late(desk, visit)
    return endpoint(desk, visit)


def form_token(key: bytes, visit: Visit) -> str:
    """Bound to the session, or before there is one to the browser: a token of somebody else is worth nothing."""
    bound = f"session {visit.session.token}" if visit.session else f"browser {visit.browser}"
    return hmac.new(key, bound.encode(), sha256).hexdigest()


def _has_token(desk: "Desk", visit: Visit) -> bool:
    sent = visit.request.headers.get(TOKEN_HEADER) or visit.form.text(TOKEN)
    return hmac.compare_digest(sent.encode(), form_token(desk.form_key, visit).encode())


def _to_sign_in(visit: Visit) -> Response:
    if visit.is_fragment:
        # The page around it stays as it is, with what was typed; its script says that the session is over.
        return Response(status_code=401)
    return RedirectResponse(f"/sign-in?next={quote(visit.request.url.path)}", status_code=303)


def one_of(*roles: str) -> Users:
    return Users(frozenset(roles))


def is_for(allowed: Anybody | Users, roles: Collection[str]) -> bool:
    """Whether somebody with these roles gets through; for menus."""
    return isinstance(allowed, Anybody) or not allowed.roles or bool(allowed.roles & set(roles))
