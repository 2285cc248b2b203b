"""Access: the table of routes is complete and enforced for every role."""

import itertools
import re
from collections.abc import Callable

import pytest
from starlette.routing import Route as AppRoute

from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.core.permissions import ROLES, Action, may
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.desk_app import create_app
from fine_tune_assets.desk.request_context import PublicAccess, UserAccess, is_allowed
from fine_tune_assets.desk.routes import ROUTES
from fine_tune_assets_tests.desk.conftest import Site

DAGSTER = {
    ("GET", "/dagster"),
    ("GET", "/dagster/session"),
    ("GET", "/dagster/{path:path}"),
    ("POST", "/dagster/graphql"),
}
"""Checked by `dagster_proxy`."""
HEALTH = ("GET", "/health")
"""For anybody, and without a ledger."""
WORKS_FOR_ANYBODY = {
    ("GET", "/static/{name}"),
    ("GET", "/lines/{name}"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/sign-in/link"),
    ("POST", "/sign-in/link"),
    ("GET", "/sign-in/oidc"),
    ("GET", "/sign-in/oidc/callback"),
}


def address(path: str) -> str:
    return "/".join("0" * 32 if part.startswith("{") else part for part in path.split("/"))


def test_every_route_of_the_application_is_in_the_table(settings: Settings) -> None:
    """A route outside the table would have no access check."""
    app = create_app(settings)
    served = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, AppRoute)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert served == {(route.method, route.path) for route in ROUTES} | DAGSTER | {HEALTH}
    assert len(app.routes) == len(ROUTES) + len(DAGSTER) + 2  # and health, and the WebSocket of the Dagster UI


def test_only_these_routes_are_public() -> None:
    """A new public page is a decision, not an oversight."""
    assert {(r.method, r.path) for r in ROUTES if isinstance(r.access, PublicAccess)} == WORKS_FOR_ANYBODY


def test_without_a_session_pages_and_forms_are_refused(site: Site) -> None:
    """Every route that is not public, without a session."""
    for route in ROUTES:
        if isinstance(route.access, PublicAccess):
            continue
        visitor = site.visitor()
        if route.method == "GET":
            reply = visitor.get(address(route.path))
            assert (reply.status_code, reply.headers["location"][:9]) == (303, "/sign-in?"), route.path
        else:
            reply = visitor.post(address(route.path), {}, page="/sign-in")
            assert reply.status_code == 401, route.path


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_exactly_its_routes(serve: Callable[..., Site], role: str) -> None:
    """Routes of other roles answer 403 and change nothing."""
    site = serve()
    site.add("Some One", role)
    visitor = site.signed_in("Some One")
    token = visitor.token("/account")
    for route in ROUTES:
        if isinstance(route.access, PublicAccess) or route.path == "/sign-out":
            continue
        form = {"form_token": token}
        if route.method == "GET":
            status = visitor.get(address(route.path)).status_code
        else:
            status = visitor.client.post(address(route.path), data=form, headers={"origin": site.url}).status_code
        assert (status == 403) == (not is_allowed(route.access, [role])), (route.path, status)
        assert status < 500, route.path


def test_the_menu_lists_only_allowed_pages(site: Site) -> None:
    """A link that answers 403 is a dead end."""
    for count, roles in enumerate(itertools.combinations(ROLES, 2)):
        name = f"Some One {count}"
        site.add(name, *roles)
        visitor = site.signed_in(name)
        home = visitor.get("/").text
        for route in ROUTES:
            if route.label and isinstance(route.access, UserAccess):
                assert (f'href="{route.path}"' in home) == is_allowed(route.access, roles), (roles, route.path)


@pytest.mark.parametrize("role", ROLES)
def test_the_dagster_ui_is_for_its_roles_and_says_when_it_does_not_run(serve: Callable[..., Site], role: str) -> None:
    """Its webserver is not started here. `end_to_end/test_dagster_ui.py` uses the real one."""
    site = serve()
    site.add("Some One", role)
    visitor, expected = site.signed_in("Some One"), 503 if may([role], Action.VIEW_DAGSTER) else 403
    page = visitor.get("/dagster/runs")
    assert page.status_code == expected
    assert ("fine-tune up dagster-webserver" in page.text) == (expected == 503)
    asked = {"query": "{ version }"}
    reply = visitor.client.post("/dagster/graphql", json=asked, headers={"origin": site.url})
    assert reply.status_code == expected
    assert visitor.get("/dagster/session").status_code == (204 if expected == 503 else 401)
    assert visitor.client.post("/dagster/graphql", json=asked).status_code == 403
    assert visitor.client.post("/dagster/graphql", data=asked, headers={"origin": site.url}).status_code == 415


def test_rights_are_asked_for_by_action() -> None:
    """A role's name in a condition would give a new role other rights than its table of permissions says."""
    names = "|".join(ROLES)
    by_name = re.compile(rf"""['"](?:{names})['"] (?:not )?in |\.roles & """)
    files = [
        path
        for folder in ("desk", "cli")
        for path in (PACKAGE_DIR / folder).rglob("*")
        if path.suffix in (".py", ".html")
    ]
    found = {path.name for path in files if by_name.search(path.read_text(encoding="utf-8"))}
    assert found == {"request_context.py"}, found  # `is_allowed`, which compares with an action's roles
