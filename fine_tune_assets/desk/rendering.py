"""Turns templates into answers. Owns what every page gets: who is here, the menu, the theme, the form's token."""

from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response

from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.visits import Visit, form_token

THEMES = ("light", "dark")
THEME_COOKIE = "desk-theme"
"""Set by the page's own script; holds nothing but a word."""

SAID = {
    "approved": "Approved, and signed with your name.",
    "rejected": "Rejected, and signed with your name.",
    "skipped": "Skipped. It is free for others again.",
    "marked": "Marked. The report is held back, and its items left the queue until it was scrubbed again without that.",
    "revoked": "Revoked. What was approved by it waits again.",
    "settled": "Settled, and signed with your name.",
    "let_through": "Let through, and signed with your name. It waits for a reviewer like any other.",
    "rated": "Rated, and recorded with your name.",
    "already": "You had rated that answer before: your first rating stands.",
    "all_rated": "Nothing is left for you to rate.",
    "signed": "Signed with your name. What was on hold may go on.",
    "done": "Nothing is left here that you may decide and nobody else has.",
}
"""What is said on the page after a form, by the word in its address."""


def page(desk: Desk, visit: Visit, template: str, *, status: int = 200, **context: Any) -> Response:
    """A whole page, or the part of it that a template of its own holds."""
    html = desk.templates.get_template(template).render(**_surroundings(desk, visit), **context)
    response = HTMLResponse(html, status_code=status)
    if visit.is_new_browser and visit.session is None:
        desk.addresses.set_cookie(response, "browser", visit.browser)
    return response


def bare_page(desk: Desk, template: str, status: int, theme: str, **context: Any) -> Response:
    """For when it can't be known who is here: no menu, and nothing that needs the ledger."""
    around = {
        "session": None,
        "menu": (),
        "theme": theme if theme in THEMES else "",
        "token": "",
        "path": "",
        "said": "",
    }
    return HTMLResponse(desk.templates.get_template(template).render(**around, **context), status_code=status)


def go_to(path: str) -> Response:
    """After a form: the address that a reload may ask for again."""
    return RedirectResponse(path, status_code=303)


def _surroundings(desk: Desk, visit: Visit) -> dict[str, Any]:
    theme = visit.request.cookies.get(THEME_COOKIE, "")
    return {
        "session": visit.session,
        "menu": desk.menu(visit.session.roles) if visit.session else (),
        "theme": theme if theme in THEMES else "",
        "token": form_token(desk.form_key, visit),
        "path": visit.request.url.path,
        "now": visit.now,
        "said": SAID.get(visit.query("said"), ""),
    }
