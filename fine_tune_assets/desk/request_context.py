"""The request context and the access checks in front of every page: origin, session, role and form token, in this order.

A form that arrives after its session ended is shown again instead of lost. Forms are size-limited text fields; uploads and JSON
are rejected. `routes` states which roles a route needs. A user who may still decide on an item does not see other users'
decisions, only that and when they were made. Auditors and operators, who never decide, see everything.
"""

import hmac
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl, quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from fine_tune_assets.approval.review_history import blind_states, is_blind_review
from fine_tune_assets.core.permissions import PERMISSIONS, Action, may
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError, cross_origin, forbidden, too_large
from fine_tune_assets.ledger.people.sessions import Session, find_session
from fine_tune_assets.ledger.reviews.review_items import select_examples_in_states

MAX_BODY_BYTES = 2_000_000
_MAX_FORM_FIELDS = 2_000
"""A text of 20,000 characters can have hundreds of flags, each of which is a field."""


def parse_whole_number(text: str) -> int | None:
    """The number, or None for any other text and for numbers too large for a column of the ledger."""
    return int(text) if text.isdecimal() and len(text) < 16 else None


@dataclass(frozen=True)
class Form:
    """Fields by name. Repeated values of a name keep their order."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def get_text(self, name: str) -> str:
        """The first value, or empty. Converts the CR LF that browsers send to LF, as in drafts."""
        return self.values.get(name, ("",))[0].replace("\r\n", "\n")

    def get_number(self, name: str) -> int | None:
        return parse_whole_number(self.get_text(name))

    def get_all(self, name: str) -> tuple[str, ...]:
        return self.values.get(name, ())

    def __repr__(self) -> str:
        """Names only, because a repr can end up in logs."""
        return f"Form({', '.join(sorted(self.values))})"


async def read_form(request: Request) -> Form:
    """Raises PageError if the body is too large or not a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    content = await _read_body(request)
    if not content:
        return Form()
    if kind != "application/x-www-form-urlencoded":
        raise PageError(415, "Not a form", "The desk accepts only forms. Nothing was changed.")
    try:
        pairs = parse_qsl(
            content.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS, errors="strict"
        )
    except ValueError:
        # `from None`: the cause may quote the user's text.
        raise PageError(400, "Not a form", "The request can't be read as a form. Nothing was changed.") from None
    values: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if "\0" in name + value:
            # Browsers never send it, and PostgreSQL rejects it.
            raise PageError(400, "Not a form", "The form contains a NUL character. Nothing was changed.")
        values[name] = (*values.get(name, ()), value)
    return Form(values)


async def _read_body(request: Request) -> bytes:
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > MAX_BODY_BYTES:
                raise too_large()
    except ClientDisconnect:
        raise PageError(408, "Incomplete", "The request did not arrive completely. Nothing was changed.") from None
    return bytes(content)


SAFE_METHODS = frozenset({"GET", "HEAD"})
FORM_TOKEN_FIELD = "form_token"
FORM_TOKEN_HEADER = "x-form-token"


@dataclass(frozen=True)
class PublicAccess:
    """The route needs no sign-in."""


@dataclass(frozen=True)
class UserAccess:
    """The route needs a signed-in user with one of the roles, or any user without `roles`."""

    roles: frozenset[str] | None = None


@dataclass(frozen=True)
class RequestContext:
    request: Request
    session: Session | None
    form: Form
    now: datetime
    browser_id: str
    """Random cookie value. Forms are bound to it before sign-in."""
    is_new_browser: bool

    @property
    def user(self) -> Session:
        """The signed-in user. Only for routes with `UserAccess`."""
        assert self.session is not None
        return self.session

    @property
    def is_fragment(self) -> bool:
        """Whether htmx requests a part of a page."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def method(self) -> str:
        return self.request.method

    def path_param(self, name: str) -> str:
        return str(self.request.path_params[name])

    def query_param(self, name: str) -> str:
        return str(self.request.query_params.get(name, ""))

    def query_number(self, name: str) -> int | None:
        return parse_whole_number(self.query_param(name))


Endpoint = Callable[[Desk, RequestContext], Response]


def make_request_context(desk: Desk, request: Request, form: Form, is_user_action: bool = True) -> RequestContext:
    """`is_user_action` is False for requests that an open page sends without user input; they do not extend the session."""
    now = datetime.now(UTC)
    token = request.cookies.get(desk.addresses.cookie_name("session"), "")
    session = (
        find_session(desk.ledger, token, desk.session_limits, now=now, is_user_action=is_user_action) if token else None
    )
    browser = request.cookies.get(desk.addresses.cookie_name("browser"), "")
    return RequestContext(request, session, form, now, browser or secrets.token_urlsafe(24), not browser)


def handle_request(
    desk: Desk, context: RequestContext, access: PublicAccess | UserAccess, endpoint: Endpoint, on_expired: Endpoint
) -> Response:
    """Check access and call `endpoint`. Raises PageError.

    `on_expired` responds to a form whose session or token has expired, and returns the user's text.
    """
    is_safe = context.method in SAFE_METHODS
    if not is_safe and not desk.addresses.is_same_origin(context.request.headers):
        raise cross_origin()
    if isinstance(access, UserAccess):
        if context.session is None:
            return _redirect_to_sign_in(context) if is_safe else on_expired(desk, context)
        if not is_allowed(access, context.session.roles):
            raise forbidden()
    if not is_safe and not _has_valid_token(desk, context):
        return on_expired(desk, context)
    return endpoint(desk, context)


def make_form_token(key: bytes, context: RequestContext) -> str:
    """A token bound to the session or, before sign-in, to the browser, so that another user's token is invalid."""
    bound = f"session {context.session.token}" if context.session else f"browser {context.browser_id}"
    return hmac.new(key, bound.encode(), sha256).hexdigest()


def _has_valid_token(desk: Desk, context: RequestContext) -> bool:
    sent = context.request.headers.get(FORM_TOKEN_HEADER) or context.form.get_text(FORM_TOKEN_FIELD)
    return hmac.compare_digest(sent.encode(), make_form_token(desk.form_key, context).encode())


def _redirect_to_sign_in(context: RequestContext) -> Response:
    if context.is_fragment:
        # The page keeps the user's text, and its script reports that the session has ended.
        return Response(status_code=401)
    return RedirectResponse(f"/sign-in?next={quote(context.request.url.path)}", status_code=303)


def allow(action: Action) -> UserAccess:
    return UserAccess(frozenset(PERMISSIONS[action].roles))


def is_allowed(access: PublicAccess | UserAccess, roles: Collection[str]) -> bool:
    return isinstance(access, PublicAccess) or access.roles is None or bool(access.roles & set(roles))


def can_see_all(context: RequestContext) -> bool:
    """Whether the user sees every decision at once: someone who may still decide on an example does not."""
    return not may(context.user.roles, Action.REVIEW) and not can_adjudicate(context)


def can_adjudicate(context: RequestContext) -> bool:
    return may(context.user.roles, Action.ADJUDICATE)


def find_hidden_examples(desk: Desk, context: RequestContext, example_ids: Collection[str]) -> frozenset[str]:
    """The examples whose decisions this user may not see yet."""
    if can_see_all(context) or not example_ids or not is_blind_review(desk.read_review_settings()):
        return frozenset()
    return select_examples_in_states(desk.ledger, example_ids, blind_states(can_adjudicate=can_adjudicate(context)))
