"""Switching the browser to another product line. Every line has its own users, so people sign in at each one."""

from starlette.responses import Response

from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import not_found
from fine_tune_assets.desk.pages.sign_in_pages import validate_path
from fine_tune_assets.desk.rendering import redirect_to
from fine_tune_assets.desk.request_context import RequestContext


def switch_line(desk: Desk, context: RequestContext) -> Response:
    """Also the target of links in notifications, with the page in `next`. Raises PageError for an unknown line."""
    name = context.path_param("name")
    if name != MAIN_LINE and name not in desk.lines:
        raise not_found()
    response = redirect_to(validate_path(context.query_param("next")) or "/")
    desk.addresses.set_line_cookie(response, name)
    return response
