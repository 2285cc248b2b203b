"""Sign-ins over HTTP: a stranger neither locks a user out nor stops the desk, and the user learns of the attempts."""

import asyncio
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response

from fine_tune_assets.desk.hash_queue import MAX_OPEN, HashQueue
from fine_tune_assets.desk.routes import ROUTES
from fine_tune_assets.ledger.people.users import LOCKOUT_THRESHOLD
from fine_tune_assets_tests.desk.conftest import PASSWORD, Site, Visitor

WRONG = "the wrong words, every time"


@pytest.fixture
def proxied(serve: Callable[..., Site]) -> Site:
    """A desk that tells sources apart by the header of a trusted proxy."""
    site = serve(connections={"trusted_proxies": "127.0.0.1"})
    site.add("Reviewer One", "reviewer")
    return site


def visitor_from(site: Site, address: str) -> Visitor:
    visitor = site.visitor()
    visitor.client.headers["x-forwarded-for"] = address
    return visitor


def shown_failures(reply: httpx.Response) -> int:
    found = re.search(r'id="failed-sign-ins">(\d+)<', reply.text)
    return int(found[1]) if found else 0


def test_a_stranger_locks_only_their_own_address(proxied: Site) -> None:
    """The user signs in from another one, and learns how often a wrong password was entered."""
    stranger = visitor_from(proxied, "10.0.0.66")
    for _ in range(LOCKOUT_THRESHOLD):
        assert stranger.sign_in("Reviewer One", WRONG).status_code == 401
    assert stranger.sign_in("Reviewer One").status_code == 401
    owner = visitor_from(proxied, "10.0.0.1")
    reply = owner.sign_in("Reviewer One")
    assert (reply.status_code, shown_failures(reply)) == (200, LOCKOUT_THRESHOLD)
    owner.post("/sign-out", {}, page="/account")
    assert owner.sign_in("Reviewer One").status_code == 303


def test_a_known_browser_signs_in_beside_a_stranger_at_the_same_address(site: Site) -> None:
    """Behind a proxy that is not trusted, everybody has the proxy's address."""
    site.add("Reviewer One", "reviewer")
    owner, stranger = site.signed_in("Reviewer One"), site.visitor()
    owner.post("/sign-out", {}, page="/account")
    for _ in range(LOCKOUT_THRESHOLD):
        stranger.sign_in("Reviewer One", WRONG)
    assert site.visitor().sign_in("Reviewer One").status_code == 401
    assert shown_failures(owner.sign_in("Reviewer One")) == LOCKOUT_THRESHOLD


@pytest.mark.parametrize("value", ["", "x", ".", "x." + "0" * 64, "é.é"])
def test_an_invented_cookie_makes_no_browser_known(site: Site, value: str) -> None:
    """Otherwise each guess could come from a new source. The same holds for the cookie of another user."""
    site.add("Reviewer One", "reviewer")
    site.add("Reviewer Two", "reviewer")
    other = site.signed_in("Reviewer Two")
    name = next(cookie.name for cookie in other.client.cookies.jar if "known-browser" in cookie.name)
    for _ in range(LOCKOUT_THRESHOLD):
        site.visitor().sign_in("Reviewer One", WRONG)
    stranger = site.visitor()
    token = stranger.token("/sign-in")
    browser = "; ".join(f"{each.name}={each.value}" for each in stranger.client.cookies.jar)
    for sent in (value, str(other.client.cookies[name])):
        form = {"form_token": token, "name": "Reviewer One", "password": PASSWORD}
        headers = {"origin": site.url, "cookie": f"{browser}; {name}={sent}".encode()}
        assert httpx.post(f"{site.url}/sign-in", data=form, headers=headers, trust_env=False).status_code == 401


def test_own_typing_errors_are_not_reported(site: Site) -> None:
    """A warning after each of them would be ignored."""
    site.add("Reviewer One", "reviewer")
    visitor = site.visitor()
    assert visitor.sign_in("Reviewer One", WRONG).status_code == 401
    assert visitor.sign_in("Reviewer One").status_code == 303


def test_sign_ins_beyond_the_queue_are_refused_at_once(site: Site) -> None:
    """They took every thread of the desk; now pages and health are answered meanwhile."""
    site.add("Reviewer One", "reviewer")
    reader = site.signed_in("Reviewer One")
    visitors = [site.visitor() for _ in range(3 * MAX_OPEN)]
    forms = [{"form_token": visitor.token("/sign-in"), "name": "Nobody", "password": WRONG} for visitor in visitors]

    async def send_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=site.url, trust_env=False, timeout=60) as client:
            requests = []
            for visitor, form in zip(visitors, forms, strict=True):
                cookie = "; ".join(f"{each.name}={each.value}" for each in visitor.client.cookies.jar)
                headers = {"origin": site.url, "cookie": cookie}
                requests.append(asyncio.ensure_future(client.post("/sign-in", data=form, headers=headers)))
            await asyncio.sleep(0)
            pages = [await asyncio.to_thread(reader.get, path) for path in ("/account", "/health")]
            assert [page.status_code for page in pages] == [200, 200]
            return await asyncio.gather(*requests)

    replies = asyncio.run(send_at_once())
    statuses = [reply.status_code for reply in replies]
    assert set(statuses) <= {401, 429}
    assert statuses.count(401) >= MAX_OPEN
    assert all("retry-after" in reply.headers for reply in replies if reply.status_code == 429)
    assert site.visitor().sign_in("Reviewer One").status_code == 303


def test_the_queue_refuses_when_it_is_full_and_recovers() -> None:
    """However slow a sign-in is."""

    async def fill() -> list[int]:
        with closing(HashQueue()) as queue:
            release = asyncio.Event()
            loop = asyncio.get_running_loop()

            def slow() -> Response:
                asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
                return Response(status_code=303)

            waiting = [asyncio.ensure_future(queue.run(slow)) for _ in range(MAX_OPEN)]
            await asyncio.sleep(0)
            refused = (await queue.run(slow)).status_code
            release.set()
            done = [response.status_code for response in await asyncio.gather(*waiting)]
            return [refused, (await queue.run(slow)).status_code, *done]

    assert asyncio.run(fill()) == [429, 303, *[303] * MAX_OPEN]


def test_health_needs_no_ledger(site: Site) -> None:
    """The process answers, whatever the database does; with a session cookie too."""
    site.add("Reviewer One", "reviewer")
    visitor = site.signed_in("Reviewer One")
    for file in Path(site.settings.data_dir, "ledger").glob("ledger.db*"):
        file.unlink()
    site.ledger.close()
    assert visitor.get("/health").status_code == 200


def test_every_form_with_a_password_waits_in_a_queue() -> None:
    """One that hashes in the threads of all pages could stop the desk."""
    queued = {route.path for route in ROUTES if route.hashes_password}
    assert queued == {"/sign-in", "/sign-in/link", "/account/password", "/users", "/users/{user_id}/reset"}
