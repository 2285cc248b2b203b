"""A user's own account: roles, labels, and changing one's password."""

from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.sign_in_pages import set_session_cookie
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.passwords import MIN_CHARACTERS
from fine_tune_assets.ledger.sessions import Session, start_session
from fine_tune_assets.ledger.users import find_user, set_password, sign_in

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk


def show_account(desk: "Desk", visit: Visit) -> Response:
    return _account_page(desk, visit)


def change_password(desk: "Desk", visit: Visit) -> Response:
    """Needs the present one, and counts failures like a sign-in. Every session ends; this browser gets a new one."""
    new = visit.form.text("new")
    if new != visit.form.text("again"):
        return _account_page(desk, visit, "The two new passwords are not the same.")
    user = sign_in(desk.ledger, visit.who.name, visit.form.text("old"), now=visit.now)
    if user is None:
        return _account_page(desk, visit, "The present password is wrong, or the account is locked for a while.")
    try:
        set_password(desk.ledger, user.name, new, by=user.name)
    except LedgerError as error:
        return _account_page(desk, visit, str(error))
    token = start_session(desk.ledger, user, desk.limits, now=visit.now, how="after a new password")
    own = Session(token, user.user_id, user.name, frozenset(user.roles), frozenset(user.labels))
    response = _account_page(desk, replace(visit, session=own), done=True)
    set_session_cookie(desk, response, token)
    return response


def _account_page(desk: "Desk", visit: Visit, refusal: str = "", done: bool = False) -> Response:
    user = find_user(desk.ledger, visit.who.name)
    status = 400 if refusal else 200
    return page(
        desk,
        visit,
        "account.html",
        status=status,
        refusal=refusal,
        done=done,
        minimum=MIN_CHARACTERS,
        has_password=user.has_password,
    )
