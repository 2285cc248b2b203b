"""Who may open what: one table, and nothing beside it."""

import itertools
from collections.abc import Callable

import pytest
from starlette.routing import Route as AppRoute

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.app import create_app
from fine_tune_assets.desk.routes import ROUTES
from fine_tune_assets.desk.visits import Anybody, Users, is_for
from fine_tune_assets.ledger.people.users import ROLES
from fine_tune_assets_tests.desk.conftest import Site

WORKS_FOR_ANYBODY = {
    ("GET", "/health"),
    ("GET", "/static/{name}"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/sign-in/link"),
    ("POST", "/sign-in/link"),
    ("GET", "/sign-in/oidc"),
    ("GET", "/sign-in/oidc/return"),
}


def address(path: str) -> str:
    return "/".join("0" * 32 if part.startswith("{") else part for part in path.split("/"))


def test_every_route_of_the_application_stands_in_the_table(settings: Settings) -> None:
    """What is added beside the table would be open to all."""
    app = create_app(settings)
    served = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, AppRoute)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert served == {(route.method, route.path) for route in ROUTES}
    assert len(app.routes) == len(ROUTES)


def test_only_these_routes_are_for_anybody() -> None:
    """A new public page is a decision, not an oversight."""
    assert {(r.method, r.path) for r in ROUTES if isinstance(r.allowed, Anybody)} == WORKS_FOR_ANYBODY


def test_without_a_session_no_page_is_shown_and_no_form_taken(site: Site) -> None:
    """Every route that is not for anybody, asked by nobody."""
    for route in ROUTES:
        if isinstance(route.allowed, Anybody):
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
    """For each role each route: those of others answer 403 and do nothing."""
    site = serve()
    site.add("Some One", role)
    visitor = site.signed_in("Some One")
    token = visitor.token("/account")
    for route in ROUTES:
        if isinstance(route.allowed, Anybody) or route.path == "/sign-out":
            continue
        form = {"form_token": token}
        if route.method == "GET":
            status = visitor.get(address(route.path)).status_code
        else:
            status = visitor.client.post(address(route.path), data=form, headers={"origin": site.url}).status_code
        assert (status == 403) == (not is_for(route.allowed, [role])), (route.path, status)
        assert status < 500, route.path


def test_the_menu_offers_only_what_opens(site: Site) -> None:
    """A link that answers 403 is a dead end."""
    for count, roles in enumerate(itertools.combinations(ROLES, 2)):
        name = f"Some One {count}"
        site.add(name, *roles)
        visitor = site.signed_in(name)
        home = visitor.get("/").text
        for route in ROUTES:
            if route.label and isinstance(route.allowed, Users):
                assert (f'href="{route.path}"' in home) == is_for(route.allowed, roles), (roles, route.path)
