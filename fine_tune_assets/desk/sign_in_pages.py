"""Signing in with a password or a one-time link, signing out, and forms that arrive after their session is over.

Owns the cookies of a session, and how long a refusal takes. Who may sign in is the ledger's.

The token of a link, as `fine-tune demo` and `fine-tune desk link` print it, stands behind the `#` of the address. A browser sends
that part to nobody, so no log, proxy, preview or Referer header has it. Opening the page uses nothing up: its button sends the
token in a form.
"""

import time
from collections.abc import Collection

from starlette.responses import Response

from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.rendering import go_to, page
from fine_tune_assets.desk.visits import TOKEN, Visit
from fine_tune_assets.ledger.sessions import end_session, start_session
from fine_tune_assets.ledger.sign_in_links import use_link
from fine_tune_assets.ledger.users import User, sign_in

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
