"""Signing in (with a password, a one-time link or by OIDC), signing out, and forms that arrive after their session is over.

By OIDC, a sealed cookie of ten minutes ties the way to the provider to this browser, and the identity must belong to a user whom
an operator made: nobody gets an account by signing in.

The token of a link, as `fine-tune demo` and `fine-tune desk link` print it, stands behind the `#` of the address. A browser sends
that part to nobody, so no log, proxy, preview or Referer header has it. Opening the page uses nothing up: its button sends the
token in a form.
"""

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection

from starlette.responses import RedirectResponse, Response

from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import PageError, not_found
from fine_tune_assets.desk.oidc import RETURN_PATH, Attempt, OidcError, Provider, new_attempt
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import TOKEN, Visit
from fine_tune_assets.ledger.encryption import decrypt, encrypt
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.people.sessions import end_session, start_session, use_link
from fine_tune_assets.ledger.people.users import User, find_by_identity, sign_in

_COOKIE = "oidc"
_BOUND_TO = "desk sign-in by OIDC"
_LIFE_SECONDS = 600


def go_to_provider(desk: Desk, visit: Visit) -> Response:
    provider, attempt = _provider(desk), new_attempt()
    try:
        response = RedirectResponse(provider.address(attempt, _return_to(desk)), status_code=303)
    except OidcError as error:
        raise PageError(502, "Sign-in failed", str(error)) from None
    kept = json.dumps({**vars(attempt), "next": safe_path(visit.query("next")), "at": visit.now.timestamp()})
    sealed = urlsafe_b64encode(encrypt(desk.sign_in_key, kept, _BOUND_TO)).decode()
    desk.addresses.set_cookie(response, _COOKIE, sealed, _LIFE_SECONDS)
    return response


def come_back(desk: Desk, visit: Visit) -> Response:
    """Let in whom the provider vouches for, if an operator made them a user."""
    provider = _provider(desk)
    attempt, next_path = _kept(desk, visit)
    if not hmac.compare_digest(visit.query("state").encode(), attempt.state.encode()) or not visit.query("code"):
        raise _failed("The provider did not sign you in, or the answer is not the one that was asked for.")
    try:
        person = provider.person(attempt, visit.query("code"), _return_to(desk))
        user = find_by_identity(desk.ledger, person.identities)
    except OidcError as error:
        raise _failed(str(error)) from None
    if user is None:
        raise PageError(403, "No account", "You are known to the provider, and not to the desk. Ask an operator.")
    response = let_in(desk, visit, user, next_path or "/", how="by OIDC", labels=person.labels)
    desk.addresses.delete_cookie(response, _COOKIE)
    return response


def _kept(desk: Desk, visit: Visit) -> tuple[Attempt, str]:
    try:
        sealed = urlsafe_b64decode(visit.request.cookies.get(desk.addresses.cookie(_COOKIE), ""))
        kept = json.loads(decrypt(desk.sign_in_key, sealed, _BOUND_TO))
    except (LedgerError, ValueError):
        raise _failed("It was begun in another browser, or too long ago.") from None
    if visit.now.timestamp() - kept["at"] > _LIFE_SECONDS:
        raise _failed("It was begun too long ago.")
    return Attempt(kept["state"], kept["nonce"], kept["verifier"]), kept["next"]


def _provider(desk: Desk) -> Provider:
    if desk.provider is None:
        raise not_found()
    return desk.provider


def _return_to(desk: Desk) -> str:
    return desk.addresses.public + RETURN_PATH


def _failed(message: str) -> PageError:
    return PageError(400, "Sign-in failed", f"{message} Go to the start and try again.")


REFUSAL = (
    "Name or password is wrong, or the account can't be used now. After several failures it is locked for a while."
)
LINK_PATH = "/sign-in/link"
REFUSAL_SECONDS = 0.6
"""A refusal never comes earlier: whether a name exists must not show in the time that it takes."""
_WRONG_LINK = (
    "This link has been used or has expired, or it is incomplete. Get a new one on this machine: `fine-tune desk link`"
)
_TOO_MANY = (
    "There were too many wrong links in the last minute. Wait a minute, then try again: your link is still valid."
)
_NOT_CARRIED = frozenset({TOKEN, "password", "old", "new", "again", "code"})


def show_sign_in(desk: Desk, visit: Visit) -> Response:
    if visit.session is not None:
        return go_to("/")
    return _sign_in_page(desk, visit, next_path=safe_path(visit.query("next")), refusal="", status=200)


def sign_in_by_password(desk: Desk, visit: Visit) -> Response:
    started = time.monotonic()
    user = sign_in(desk.ledger, visit.form.text("name"), visit.form.text("password"), now=visit.now)
    next_path = safe_path(visit.form.text("next"))
    if user is None:
        time.sleep(max(0.0, REFUSAL_SECONDS - (time.monotonic() - started)))
        return _sign_in_page(desk, visit, next_path=next_path, refusal=REFUSAL, status=401)
    return let_in(desk, visit, user, next_path or "/", how="by password")


def let_in(desk: Desk, visit: Visit, user: User, path: str, how: str, labels: Collection[str] = ()) -> Response:
    """A session of its own for each sign-in: one that somebody planted before is worth nothing."""
    if visit.session is not None:
        end_session(desk.ledger, visit.session)
    token = start_session(desk.ledger, user, desk.limits, now=visit.now, how=how, labels=labels)
    response = go_to(path)
    desk.addresses.set_cookie(response, "session", token)
    return response


def sign_out(desk: Desk, visit: Visit) -> Response:
    end_session(desk.ledger, visit.who)
    response = go_to("/sign-in")
    desk.addresses.delete_cookie(response, "session")
    # Whoever uses this browser next finds nothing in it.
    response.headers["clear-site-data"] = '"cache", "storage"'
    return response


def ask_to_send_again(desk: Desk, visit: Visit) -> Response:
    """A form whose session is over, or that was made for another one: shown again with all that was typed.

    It is sent only after another click, on a page that nobody else can frame, with a token of the session that is now.
    """
    if visit.is_fragment:
        return Response(status_code=401)
    path = visit.request.url.path
    carried = [(n, v) for n, values in visit.form.values.items() if n not in _NOT_CARRIED for v in values]
    if path == "/sign-in":
        return _sign_in_page(desk, visit, next_path="", refusal="The page was old. Sign in once more.", status=403)
    if path == LINK_PATH:
        return show_link(desk, visit, "The page was old. Open the link once more.", 403)
    status = 401 if visit.session is None else 403
    return page(desk, visit, "send_again.html", status=status, target=path, carried=carried)


def safe_path(path: str) -> str:
    """A path of the desk, or empty: `//elsewhere` and `/\\elsewhere` lead out of it."""
    is_inside = path.startswith("/") and not path.startswith(("//", "/\\")) and "\\" not in path
    return path if is_inside and path.isprintable() and len(path) < 500 else ""


def _sign_in_page(desk: Desk, visit: Visit, *, next_path: str, refusal: str, status: int) -> Response:
    return page(
        desk,
        visit,
        "sign_in.html",
        status=status,
        next_path=next_path,
        refusal=refusal,
        provider=desk.provider.name if desk.provider else "",
    )


def show_link(desk: Desk, visit: Visit, refusal: str = "", status: int = 200) -> Response:
    return page(desk, visit, "link.html", status=status, refusal=refusal)


def sign_in_by_link(desk: Desk, visit: Visit) -> Response:
    started = time.monotonic()
    if desk.wrong_links.are_too_many(started):
        return show_link(desk, visit, _TOO_MANY, 429)
    user = use_link(desk.ledger, visit.form.text("code").strip(), now=visit.now)
    if user is None:
        desk.wrong_links.add(started)
        time.sleep(max(0.0, REFUSAL_SECONDS - (time.monotonic() - started)))
        return show_link(desk, visit, _WRONG_LINK, 401)
    return let_in(desk, visit, user, "/", how="by a one-time link")
