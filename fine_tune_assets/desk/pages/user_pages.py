"""Pages for operators to manage users (roles, access labels, passwords, disabling), and each user's account page.

Operators can't choose passwords: the desk generates a password and shows it once, and the user changes it.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from starlette.responses import Response

from fine_tune_assets.core.permissions import ROLES
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import not_found
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.desk.sign_in_sources import find_source
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.people.passwords import MIN_CHARACTERS
from fine_tune_assets.ledger.people.sessions import Session, start_session
from fine_tune_assets.ledger.people.users import (
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
class TemporaryPassword:
    name: str
    password: str


def show_users(
    desk: Desk,
    context: RequestContext,
    *,
    refusal: str = "",
    done: str = "",
    password: TemporaryPassword | None = None,
    typed: bool = False,
) -> Response:
    return render_page(
        desk,
        context,
        "users.html",
        status=400 if refusal else 200,
        people=list_users(desk.ledger),
        all_roles=ROLES,
        refusal=refusal,
        done=done,
        password=password,
        provider=desk.provider is not None,
        typed_name=context.form.get_text("name") if typed else "",
        typed_roles=context.form.get_all("role") if typed else (),
        typed_identity=context.form.get_text("identity") if typed else "",
        typed_labels=context.form.get_text("labels") if typed else "",
    )


def add_user(desk: Desk, context: RequestContext) -> Response:
    name, roles, labels = (
        context.form.get_text("name"),
        context.form.get_all("role"),
        context.form.get_text("labels").split(),
    )
    identity = context.form.get_text("identity").strip() or None
    password = None if identity else _generate_password()
    try:
        user = create_user(
            desk.ledger,
            name,
            roles,
            password=password,
            oidc_identity=identity,
            now=context.now,
            by=context.user.name,
            labels=labels,
        )
    except LedgerError as error:
        return show_users(desk, context, refusal=str(error), typed=True)
    shown = TemporaryPassword(user.name, password) if password else None
    return show_users(desk, context, done=f"{user.name} was added.", password=shown)


def change_roles(desk: Desk, context: RequestContext) -> Response:
    user = _require_user(desk, context)
    change = partial(set_roles, desk.ledger, user.name, context.form.get_all("role"), by=context.user.name)
    return _apply_change(desk, context, change, f"The roles of {user.name} were changed.")


def change_labels(desk: Desk, context: RequestContext) -> Response:
    user = _require_user(desk, context)
    change = partial(set_labels, desk.ledger, user.name, context.form.get_text("labels").split(), by=context.user.name)
    return _apply_change(desk, context, change, f"The labels of {user.name} were changed.")


def reset_password(desk: Desk, context: RequestContext) -> Response:
    user, password = _require_user(desk, context), _generate_password()
    set_password(desk.ledger, user.name, password, by=context.user.name)
    return show_users(desk, context, password=TemporaryPassword(user.name, password))


def disable_account(desk: Desk, context: RequestContext) -> Response:
    user = _require_user(desk, context)
    change = partial(disable_user, desk.ledger, user.name, now=context.now, by=context.user.name)
    return _apply_change(desk, context, change, f"{user.name} was disabled and signed out everywhere.")


def enable_account(desk: Desk, context: RequestContext) -> Response:
    user = _require_user(desk, context)
    enable_user(desk.ledger, user.name, by=context.user.name)
    return show_users(desk, context, done=f"{user.name} was enabled.")


def _apply_change(desk: Desk, context: RequestContext, change: Callable[[], object], done: str) -> Response:
    try:
        change()
    except LedgerError as error:
        return show_users(desk, context, refusal=str(error))
    return show_users(desk, context, done=done)


def _require_user(desk: Desk, context: RequestContext) -> User:
    found = next((user for user in list_users(desk.ledger) if user.user_id == context.path_param("user_id")), None)
    if found is None:
        raise not_found()
    return found


def _generate_password() -> str:
    """Four groups of five letters and digits, without look-alikes: 98 random bits."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


def show_account(desk: Desk, context: RequestContext, refusal: str = "", done: bool = False) -> Response:
    user = find_user(desk.ledger, context.user.name)
    status = 400 if refusal else 200
    return render_page(
        desk,
        context,
        "account.html",
        status=status,
        refusal=refusal,
        done=done,
        minimum=MIN_CHARACTERS,
        has_password=user.has_password,
    )


def change_password(desk: Desk, context: RequestContext) -> Response:
    """Requires the current password and counts failures like a sign-in. Ends all sessions and starts a new one here."""
    new = context.form.get_text("new")
    if new != context.form.get_text("again"):
        return show_account(desk, context, "The two new passwords differ.")
    source = find_source(desk, context, context.user.name)
    user = sign_in(desk.ledger, context.user.name, context.form.get_text("old"), now=context.now, **vars(source))
    if user is None:
        return show_account(desk, context, "The current password is wrong, or the account is locked for a while.")
    try:
        set_password(desk.ledger, user.name, new, by=user.name)
    except LedgerError as error:
        return show_account(desk, context, str(error))
    token = start_session(desk.ledger, user, desk.session_limits, now=context.now, method="after a new password")
    own = Session(token, user.user_id, user.name, frozenset(user.roles), frozenset(user.labels))
    response = show_account(desk, replace(context, session=own), done=True)
    desk.addresses.set_cookie(response, "session", token)
    return response
