"""A visit: one request, who makes it, what its form sent, and whether it may. The gate in front of every page.

Owns the order of the checks (where it comes from, who it is, which role, whether the form is one that we made for this person),
and that a form which arrives too late is not lost. A form is read within a limit, as text by name; uploads and JSON are not read
at all. Which roles a route needs is in `routes`. Whoever may still decide on an item does not see how others decided; that
somebody decided, and when, is no secret. Auditors and operators, who decide on nothing, see everything.
"""

import hmac
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fine_tune_assets.approval.review_history import hidden_states, reviews_blind
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import PageError, forbidden, not_from_here, too_large
from fine_tune_assets.ledger.people.sessions import Session, find_session
from fine_tune_assets.ledger.reviews.review_items import examples_in_states

MAX_BODY_BYTES = 2_000_000
_MAX_FIELDS = 200


def whole_number(text: str) -> int | None:
    """None also for one that no column of the ledger holds."""
    return int(text) if text.isdecimal() and len(text) < 16 else None


@dataclass(frozen=True)
class Form:
    """Fields by name. Several values of one name are kept in their order."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Empty if absent. Browsers send line ends as CR LF: here they are LF, as in the drafts."""
        return self.values.get(name, ("",))[0].replace("\r\n", "\n")

    def number(self, name: str) -> int | None:
        """None for anything but a whole number."""
        return whole_number(self.text(name))

    def all(self, name: str) -> tuple[str, ...]:
        return self.values.get(name, ())

    def __repr__(self) -> str:
        """Names only: a repr ends up in logs."""
        return f"Form({', '.join(sorted(self.values))})"


async def read_form(request: Request) -> Form:
    """Raises PageError when the body is too large, or no form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    content = await _read_body(request)
    if not content:
        return Form()
    if kind != "application/x-www-form-urlencoded":
        raise PageError(415, "Not a form", "The desk takes forms only. Nothing was changed.")
    try:
        pairs = parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        # Without its cause, which may quote what was typed.
        raise PageError(400, "Not a form", "What was sent can't be read as a form. Nothing was changed.") from None
    values: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if "\0" in name + value:
            # No browser's field can hold it, and PostgreSQL fails over it.
            raise PageError(400, "Not a form", "What was sent holds a NUL character. Nothing was changed.")
        values[name] = (*values.get(name, ()), value)
    return Form(values)


async def _read_body(request: Request) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise too_large()
    return bytes(content)


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

    def number(self, name: str) -> int | None:
        """Of the address; None for anything but a whole number."""
        return whole_number(self.query(name))


Endpoint = Callable[[Desk, Visit], Response]


def visit_of(desk: Desk, request: Request, form: Form, is_click: bool = True) -> Visit:
    """`is_click`: whether somebody did something, or an open page asks by itself."""
    now = datetime.now(UTC)
    token = request.cookies.get(desk.addresses.cookie("session"), "")
    session = find_session(desk.ledger, token, desk.limits, now=now, is_click=is_click) if token else None
    browser = request.cookies.get(desk.addresses.cookie("browser"), "")
    return Visit(request, session, form, now, browser or secrets.token_urlsafe(24), not browser)


def answer(desk: Desk, visit: Visit, allowed: Anybody | Users, endpoint: Endpoint, late: Endpoint) -> Response:
    """Let the visit in, or say why not. Raises PageError.

    `late`: what is answered to a form whose session or token is over. It holds what was typed.
    """
    is_safe = visit.method in SAFE_METHODS
    if not is_safe and not desk.addresses.is_same_origin(visit.request.headers):
        raise not_from_here()
    if isinstance(allowed, Users):
        if visit.session is None:
            return _to_sign_in(visit) if is_safe else late(desk, visit)
        if not is_for(allowed, visit.session.roles):
            raise forbidden()
    if not is_safe and not _has_token(desk, visit):
        return late(desk, visit)
    return endpoint(desk, visit)


def form_token(key: bytes, visit: Visit) -> str:
    """Bound to the session, or before there is one to the browser: a token of somebody else is worth nothing."""
    bound = f"session {visit.session.token}" if visit.session else f"browser {visit.browser}"
    return hmac.new(key, bound.encode(), sha256).hexdigest()


def _has_token(desk: Desk, visit: Visit) -> bool:
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
    """Whether somebody with these roles gets through."""
    return isinstance(allowed, Anybody) or not allowed.roles or bool(allowed.roles & set(roles))


_DECIDE = frozenset({"reviewer", "approver"})


def may_see_all(visit: Visit) -> bool:
    return not _DECIDE & visit.who.roles


def may_settle(visit: Visit) -> bool:
    return "approver" in visit.who.roles


def examples_to_hide(desk: Desk, visit: Visit, example_ids: Collection[str]) -> frozenset[str]:
    """Those of the examples of which this visit may not learn how they were decided."""
    if may_see_all(visit) or not example_ids or not reviews_blind(desk.rules()):
        return frozenset()
    return examples_in_states(desk.ledger, example_ids, hidden_states(may_settle=may_settle(visit)))
