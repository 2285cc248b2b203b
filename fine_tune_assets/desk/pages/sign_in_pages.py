"""Sign-in by password, one-time link or OIDC, sign-out, and forms that arrive after their session ended.

OIDC: an encrypted cookie, valid for ten minutes, binds the sign-in attempt to this browser. The identity must belong to a user
that an operator created; signing in never creates an account.

One-time links: `fine-tune demo` and `fine-tune users link` print the token in the URL fragment. Browsers never send the fragment,
so the token does not reach logs, proxies, link previews or Referer headers. Opening the page does not use up the token; its
button sends the token in a form.
"""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection

from starlette.responses import RedirectResponse, Response

from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError, not_found
from fine_tune_assets.desk.oidc_sign_in import CALLBACK_PATH, OidcError, Provider, SignInAttempt, make_attempt
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import FORM_TOKEN_FIELD, RequestContext
from fine_tune_assets.desk.sign_in_sources import find_source, remember_browser
from fine_tune_assets.desk.templating import at_line
from fine_tune_assets.ledger.encryption import decrypt, encrypt
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.people.sessions import LINK_PATH, end_session, redeem_link, start_session
from fine_tune_assets.ledger.people.users import User, find_user_by_identity, sign_in, take_failed_sign_ins

_COOKIE = "oidc"
_COOKIE_PURPOSE = "desk sign-in by OIDC"
_ATTEMPT_LIFETIME_SECONDS = 600


def redirect_to_provider(desk: Desk, context: RequestContext) -> Response:
    provider, attempt = _require_provider(desk), make_attempt()
    try:
        response = RedirectResponse(provider.make_authorization_url(attempt, _make_redirect_uri(desk)), status_code=303)
    except OidcError as error:
        raise PageError(502, "Sign-in failed", str(error)) from None
    kept = json.dumps(
        {**vars(attempt), "next": validate_path(context.query_param("next")), "at": context.now.timestamp()}
    )
    sealed = urlsafe_b64encode(encrypt(desk.sign_in_key, kept, _COOKIE_PURPOSE)).decode()
    desk.addresses.set_cookie(response, _COOKIE, sealed, _ATTEMPT_LIFETIME_SECONDS)
    return response


def handle_callback(desk: Desk, context: RequestContext) -> Response:
    """Sign in the user that an operator registered with the identity that the provider confirms."""
    provider = _require_provider(desk)
    attempt, next_path = _read_attempt(desk, context)
    if not hmac.compare_digest(
        context.query_param("state").encode(), attempt.state.encode()
    ) or not context.query_param("code"):
        raise _sign_in_error("The provider refused the sign-in, or its response belongs to another attempt.")
    try:
        person = provider.fetch_identity(attempt, context.query_param("code"), _make_redirect_uri(desk))
        user = find_user_by_identity(desk.ledger, person.identities)
    except OidcError as error:
        raise _sign_in_error(str(error)) from None
    if user is None:
        raise PageError(
            403,
            "No account",
            "The provider knows you, but the desk has no account for you. Ask an operator to add one.",
        )
    response = start_signed_in_session(desk, context, user, next_path or "/", how="by OIDC", labels=person.labels)
    desk.addresses.delete_cookie(response, _COOKIE)
    return response


def _read_attempt(desk: Desk, context: RequestContext) -> tuple[SignInAttempt, str]:
    try:
        sealed = urlsafe_b64decode(context.request.cookies.get(desk.addresses.cookie_name(_COOKIE), ""))
        kept = json.loads(decrypt(desk.sign_in_key, sealed, _COOKIE_PURPOSE))
    except (LedgerError, ValueError):
        raise _sign_in_error("The sign-in started in another browser or has expired.") from None
    if context.now.timestamp() - kept["at"] > _ATTEMPT_LIFETIME_SECONDS:
        raise _sign_in_error("The sign-in has expired.")
    return SignInAttempt(kept["state"], kept["nonce"], kept["code_verifier"]), kept["next"]


def _require_provider(desk: Desk) -> Provider:
    if desk.provider is None:
        raise not_found()
    return desk.provider


def _make_redirect_uri(desk: Desk) -> str:
    return desk.addresses.public_url + CALLBACK_PATH


def _sign_in_error(message: str) -> PageError:
    return PageError(400, "Sign-in failed", f"{message} Go to the home page and try again.")


REFUSAL = "The name or the password is wrong, or the account is disabled or locked. Several failures lock an account for a while."
_WRONG_LINK = (
    "This link was used, has expired or is incomplete. For a new one, run `fine-tune users link` on this machine."
)
_DROPPED_FIELDS = frozenset({FORM_TOKEN_FIELD, "password", "old", "new", "again", "code"})


def show_sign_in(desk: Desk, context: RequestContext) -> Response:
    if context.session is not None:
        return redirect_to("/")
    return _render_sign_in(desk, context, next_path=validate_path(context.query_param("next")), refusal="", status=200)


def sign_in_by_password(desk: Desk, context: RequestContext) -> Response:
    name, password = context.form.get_text("name"), context.form.get_text("password")
    user = sign_in(desk.ledger, name, password, now=context.now, **vars(find_source(desk, context, name)))
    next_path = validate_path(context.form.get_text("next"))
    if user is None:
        return _render_sign_in(desk, context, next_path=next_path, refusal=REFUSAL, status=401)
    return start_signed_in_session(desk, context, user, next_path or "/", how="by password")


def start_signed_in_session(
    desk: Desk, context: RequestContext, user: User, path: str, how: str, labels: Collection[str] = ()
) -> Response:
    """Start a new session and end the previous one, which prevents session fixation."""
    if context.session is not None:
        end_session(desk.ledger, context.session)
    token = start_session(desk.ledger, user, desk.session_limits, now=context.now, method=how, labels=labels)
    failures = take_failed_sign_ins(desk.ledger, user)
    response = (
        render_page(desk, context, "failed_sign_ins.html", failures=failures, next_path=path)
        if failures
        else redirect_to(path)
    )
    desk.addresses.set_cookie(response, "session", token)
    remember_browser(desk, response, user.name)
    return response


def sign_out(desk: Desk, context: RequestContext) -> Response:
    end_session(desk.ledger, context.user)
    response = redirect_to("/sign-in")
    desk.addresses.delete_cookie(response, "session")
    # The next user of this browser must not find any data.
    response.headers["clear-site-data"] = '"cache", "storage"'
    return response


def offer_resubmission(desk: Desk, context: RequestContext) -> Response:
    """Show a form again, with the user's text, if its session ended or its token belongs to another session.

    The user must send it again with a token of the current session, from a page that can't be framed.
    """
    if context.is_fragment:
        return Response(status_code=401)
    path = context.request.url.path
    carried = [(n, v) for n, values in context.form.values.items() if n not in _DROPPED_FIELDS for v in values]
    if path == "/sign-in":
        return _render_sign_in(desk, context, next_path="", refusal="The page has expired. Sign in again.", status=403)
    if path == LINK_PATH:
        return show_link(desk, context, "The page has expired. Open the link again.", 403)
    status = 401 if context.session is None else 403
    return render_page(desk, context, "resubmit.html", status=status, target=path, carried=carried)


def validate_path(path: str) -> str:
    """The path if it stays on the desk, otherwise empty: `//host` and `/\\host` lead to other sites."""
    is_inside = path.startswith("/") and not path.startswith(("//", "/\\")) and "\\" not in path
    return path if is_inside and path.isprintable() and len(path) < 500 else ""


def _render_sign_in(desk: Desk, context: RequestContext, *, next_path: str, refusal: str, status: int) -> Response:
    return render_page(
        desk,
        context,
        "sign_in.html",
        status=status,
        next_path=next_path,
        refusal=refusal,
        provider=desk.provider.name if desk.provider else "",
    )


def show_link(desk: Desk, context: RequestContext, refusal: str = "", status: int = 200) -> Response:
    return render_page(desk, context, "link.html", status=status, refusal=refusal)


def sign_in_by_link(desk: Desk, context: RequestContext) -> Response:
    user = redeem_link(desk.ledger, context.form.get_text("code").strip(), now=context.now)
    if user is None:
        return show_link(desk, context, at_line(_WRONG_LINK, desk.line_name), 401)
    return start_signed_in_session(desk, context, user, "/", how="by a one-time link")
