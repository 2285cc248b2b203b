"""Users, for operators (adding, roles, access labels, a new password, disabling), and everyone's own account.

An operator never chooses somebody's password: it is made here, shown once, and to be changed by its owner.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from starlette.responses import Response

from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import not_found
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.people.passwords import MIN_CHARACTERS
from fine_tune_assets.ledger.people.sessions import Session, start_session
from fine_tune_assets.ledger.people.users import (
    ROLES,
    User,
    create_user,
    disable_user,
    enable_user,
    find_user,
    list_users,
    set_labels,
    set_password,
    set_roles,
    sign_in,
)


@dataclass(frozen=True)
class FirstPassword:
    name: str
    word: str


def show_users(
    desk: Desk,
    visit: Visit,
    *,
    refusal: str = "",
    done: str = "",
    password: FirstPassword | None = None,
    typed: bool = False,
) -> Response:
    return page(
        desk,
        visit,
        "users.html",
        status=400 if refusal else 200,
        people=list_users(desk.ledger),
        all_roles=ROLES,
        refusal=refusal,
        done=done,
        password=password,
        provider=desk.provider is not None,
        typed_name=visit.form.text("name") if typed else "",
        typed_roles=visit.form.all("role") if typed else (),
        typed_identity=visit.form.text("identity") if typed else "",
        typed_labels=visit.form.text("labels") if typed else "",
    )


def add_user(desk: Desk, visit: Visit) -> Response:
    name, roles, labels = visit.form.text("name"), visit.form.all("role"), visit.form.text("labels").split()
    identity = visit.form.text("identity").strip() or None
    password = None if identity else _new_password()
    try:
        made = create_user(
            desk.ledger,
            name,
            roles,
            password=password,
            oidc_identity=identity,
            now=visit.now,
            by=visit.who.name,
            labels=labels,
        )
    except LedgerError as error:
        return show_users(desk, visit, refusal=str(error), typed=True)
    shown = FirstPassword(made.name, password) if password else None
    return show_users(desk, visit, done=f"{made.name} was added.", password=shown)


def change_roles(desk: Desk, visit: Visit) -> Response:
    user = _user_of(desk, visit)
    change = partial(set_roles, desk.ledger, user.name, visit.form.all("role"), by=visit.who.name)
    return _changed(desk, visit, change, f"The roles of {user.name} are changed.")


def change_labels(desk: Desk, visit: Visit) -> Response:
    user = _user_of(desk, visit)
    change = partial(set_labels, desk.ledger, user.name, visit.form.text("labels").split(), by=visit.who.name)
    return _changed(desk, visit, change, f"The labels of {user.name} are changed.")


def reset_password(desk: Desk, visit: Visit) -> Response:
    user, password = _user_of(desk, visit), _new_password()
    set_password(desk.ledger, user.name, password, by=visit.who.name)
    return show_users(desk, visit, password=FirstPassword(user.name, password))


def disable(desk: Desk, visit: Visit) -> Response:
    user = _user_of(desk, visit)
    change = partial(disable_user, desk.ledger, user.name, now=visit.now, by=visit.who.name)
    return _changed(desk, visit, change, f"{user.name} is disabled and signed out everywhere.")


def enable(desk: Desk, visit: Visit) -> Response:
    user = _user_of(desk, visit)
    enable_user(desk.ledger, user.name, by=visit.who.name)
    return show_users(desk, visit, done=f"{user.name} is enabled.")


def _changed(desk: Desk, visit: Visit, change: Callable[[], object], done: str) -> Response:
    try:
        change()
    except LedgerError as error:
        return show_users(desk, visit, refusal=str(error))
    return show_users(desk, visit, done=done)


def _user_of(desk: Desk, visit: Visit) -> User:
    found = next((user for user in list_users(desk.ledger) if user.user_id == visit.path("user_id")), None)
    if found is None:
        raise not_found()
    return found


def _new_password() -> str:
    """Four groups of five letters and digits without those that look alike: 98 random bits, and easy to read out."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


def show_account(desk: Desk, visit: Visit, refusal: str = "", done: bool = False) -> Response:
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


def change_password(desk: Desk, visit: Visit) -> Response:
    """Needs the present one, and counts failures like a sign-in. Every session ends; this browser gets a new one."""
    new = visit.form.text("new")
    if new != visit.form.text("again"):
        return show_account(desk, visit, "The two new passwords are not the same.")
    user = sign_in(desk.ledger, visit.who.name, visit.form.text("old"), now=visit.now)
    if user is None:
        return show_account(desk, visit, "The present password is wrong, or the account is locked for a while.")
    try:
        set_password(desk.ledger, user.name, new, by=user.name)
    except LedgerError as error:
        return show_account(desk, visit, str(error))
    token = start_session(desk.ledger, user, desk.limits, now=visit.now, how="after a new password")
    own = Session(token, user.user_id, user.name, frozenset(user.roles), frozenset(user.labels))
    response = show_account(desk, replace(visit, session=own), done=True)
    desk.addresses.set_cookie(response, "session", token)
    return response
