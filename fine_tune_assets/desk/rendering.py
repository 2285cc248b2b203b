"""Renders templates as responses, with the context that every page needs: session, menu, theme, form token and notice."""

from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response

from fine_tune_assets.core.settings import LINES_PATH
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.request_context import RequestContext, make_form_token
from fine_tune_assets.desk.undo import find_undo_offer

THEMES = ("light", "dark")
THEME_COOKIE = "desk-theme"
"""Set by `desk.js`; holds one of `THEMES`."""

NOTICES = {
    "approved": "Approved and signed with your name.",
    "rejected": "Rejected and signed with your name.",
    "undone": "Undone. The decision is revoked, and the item is open again.",
    "undone_closed": "Undone. The decision is revoked. If the item needs a second review, another person gives it.",
    "undone_cases": "Undone. The decisions are revoked, and the items are open again.",
    "skipped": "Skipped. The item is free for other reviewers.",
    "marked": "Marked. The report and its items are withheld until the report is scrubbed again. To undo it, open My decisions.",
    "withdrawn": "Mark withdrawn. The affected reports are scrubbed again without it.",
    "revoked": "Revoked. The item waits for review again.",
    "trusted_again": "Revoked. The recipe trusts the source, so the draft counts as approved again.",
    "adjudicated": "Adjudicated and signed with your name.",
    "accepted": "Accepted and signed with your name. The correction now waits for review.",
    "rated": "Rating recorded with your name.",
    "already_rated": "You have already rated that answer. Your first rating counts.",
    "all_rated": "You have no more answers to rate.",
    "labelled": "Label recorded with your name. To take it back, choose the judge's label.",
    "signed": "Signed with your name. The candidate can now be merged and released.",
    "proposals_signed": "Signed with your name. The decisions count from now on.",
    "proposals_withdrawn": "Withdrawn. The imported decisions can no longer be signed.",
    "queue_empty": "You have no free items left to decide.",
}
"""`notice` parameter of the address → the message that the page shows after a form."""


def render_page(desk: Desk, context: RequestContext, template: str, *, status: int = 200, **values: Any) -> Response:
    """Render a page, or the template of a fragment."""
    html = desk.templates.get_template(template).render(**_make_page_context(desk, context), **values)
    response = HTMLResponse(html, status_code=status)
    if context.is_new_browser and context.session is None:
        desk.addresses.set_cookie(response, "browser", context.browser_id)
    return response


def render_bare_page(desk: Desk, template: str, status: int, theme: str, **values: Any) -> Response:
    """Render a page without menu and session, for errors in which the ledger can't be read."""
    around = {
        **_describe_line(desk),
        "session": None,
        "menu": (),
        "theme": theme if theme in THEMES else "",
        "token": "",
        "path": "",
        "notice": "",
        "undo": None,
    }
    return HTMLResponse(desk.templates.get_template(template).render(**around, **values), status_code=status)


def redirect_to(path: str) -> Response:
    """Redirect with status 303 after a form, so that a reload does not send it again."""
    return RedirectResponse(path, status_code=303)


def _describe_line(desk: Desk) -> dict[str, Any]:
    return {"product_line": desk.line_name, "product_lines": desk.lines, "lines_path": LINES_PATH}


def _make_page_context(desk: Desk, context: RequestContext) -> dict[str, Any]:
    theme = context.request.cookies.get(THEME_COOKIE, "")
    return {
        **_describe_line(desk),
        "session": context.session,
        "menu": desk.menu(context.session.roles) if context.session else (),
        "theme": theme if theme in THEMES else "",
        "token": make_form_token(desk.form_key, context),
        "path": context.request.url.path,
        "now": context.now,
        "names": desk.names.at(context.now),
        "notice": NOTICES.get(context.query_param("notice"), ""),
        "undo": find_undo_offer(desk, context),
    }
