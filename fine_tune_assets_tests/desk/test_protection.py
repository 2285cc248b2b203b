"""What keeps others out of a signed-in browser: forms, origins, hosts, cookies, headers."""

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.desk_app import create_app
from fine_tune_assets.ledger.people.users import disable_user, find_user, list_users, set_roles
from fine_tune_assets_tests.desk.conftest import PASSWORD, Site, Visitor

MARKER = "Zyxomarkwort"
ADD = {"name": "Some Body", "role": "reviewer"}


@pytest.fixture
def operator(site: Site) -> Visitor:
    site.add("Operator One", "operator")
    return site.signed_in("Operator One")


def names(visitor: Visitor) -> str:
    return visitor.get("/users").text


@pytest.mark.parametrize("token", ["", "0" * 64, "é" * 32])
def test_a_form_without_the_right_token_changes_nothing_and_is_shown_again(operator: Visitor, token: str) -> None:
    """The token is what another site can't know. What was typed is not lost."""
    data = {**ADD, "form_token": token}
    reply = operator.client.post("/users", data=data, headers={"origin": operator.url})
    assert reply.status_code == 403
    assert 'value="Some Body"' in reply.text
    assert "Some Body" not in names(operator)


def test_a_token_of_another_session_or_of_no_session_is_worth_nothing(site: Site, operator: Visitor) -> None:
    """Otherwise an attacker could use a token from their own session."""
    site.add("Operator Two", "operator")
    other = site.signed_in("Operator Two").token("/users")
    anonymous = site.visitor().token("/sign-in")
    for token in (other, anonymous):
        data = {**ADD, "form_token": token}
        assert operator.client.post("/users", data=data, headers={"origin": operator.url}).status_code == 403
    assert "Some Body" not in names(operator)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "OWN", "sec-fetch-site": "cross-site"},
        {"origin": "OWN:1"},
    ],
    ids=lambda headers: str(headers),
)
def test_a_form_from_another_site_is_refused_even_with_the_right_token(
    operator: Visitor, headers: dict[str, str]
) -> None:
    """Two locks: a token that leaked is not enough."""
    sent = {name: value.replace("OWN", operator.url) for name, value in headers.items()}
    data = {**ADD, "form_token": operator.token("/users")}
    reply = operator.client.post("/users", data=data, headers=sent)
    assert reply.status_code == 403
    assert "Some Body" not in names(operator)


def test_a_fragment_needs_its_token_too(operator: Visitor) -> None:
    """htmx sends it as a header; without it the page stays as it is."""
    headers = {"origin": operator.url, "hx-request": "true"}
    assert operator.client.post("/users", data=ADD, headers=headers).status_code == 401
    headers["x-form-token"] = operator.token("/users")
    assert operator.client.post("/users", data=ADD, headers=headers).status_code == 200
    assert "Some Body" in names(operator)


def test_a_form_that_comes_after_the_session_keeps_what_was_typed(operator: Visitor) -> None:
    """Half an hour of editing must survive a coffee. After signing in it is sent by one more click."""
    token = operator.token("/users")
    operator.post("/sign-out", {}, page="/users")
    reply = operator.client.post("/users", data={**ADD, "form_token": token}, headers={"origin": operator.url})
    assert reply.status_code == 401
    assert 'value="Some Body"' in reply.text
    assert PASSWORD not in reply.text


def test_another_host_is_not_answered(site: Site) -> None:
    """A name that an attacker points at this machine (DNS rebinding) must not reach the desk."""
    reply = httpx.get(f"{site.url}/sign-in", headers={"host": "rebound.example"}, trust_env=False)
    assert reply.status_code == 421
    assert "form_token" not in reply.text


@pytest.mark.parametrize("path", ["/sign-in", "/health", "/static/desk.css", "/dagster/runs"])
def test_two_host_headers_are_refused(site: Site, path: str) -> None:
    """A proxy might have checked the other one."""
    with socket.create_connection(("127.0.0.1", site.settings.desk.port), timeout=20) as connection:
        host = f"host: {urlsplit(site.url).netloc}\r\n"
        connection.sendall(f"GET {path} HTTP/1.1\r\n{host * 2}\r\n".encode())
        assert connection.recv(1000).split(b" ")[1] in (b"421", b"400")


def test_a_websocket_at_another_host_is_refused(site: Site) -> None:
    """Also with the origin that belongs to it."""
    site.add("Operator One", "operator")
    cookie = "; ".join(f"{name}={value}" for name, value in site.signed_in("Operator One").client.cookies.items())
    plain = socket.create_connection(("127.0.0.1", site.settings.desk.port), timeout=20)
    address, origin = "ws://rebound.example/dagster/graphql", Origin("http://rebound.example")
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(address, sock=plain, origin=origin, additional_headers={"cookie": cookie}, proxy=None),
    ):
        pass
    assert caught.value.response.status_code == 403


def test_signing_in_gives_a_new_session_and_signing_out_ends_it(site: Site) -> None:
    """Session fixation and replay fail."""
    site.add("Reviewer One", "reviewer")
    visitor = site.signed_in("Reviewer One")
    first = {cookie.name: cookie.value for cookie in visitor.client.cookies.jar}
    session = next(name for name in first if "session" in name)
    kept = site.visitor()
    kept.client.cookies.set(session, first[session] or "")
    assert kept.get("/account").status_code == 200
    visitor.post("/sign-out", {}, page="/account")
    assert kept.get("/account").status_code == 303
    visitor.sign_in("Reviewer One")
    assert visitor.client.cookies[session] != first[session]


def test_the_cookie_is_out_of_reach_of_scripts_and_of_plain_http(serve: Callable[..., Site]) -> None:
    """With TLS in front: `__Host-`, Secure, HttpOnly, SameSite, whole host, no expiry date."""
    site = serve(desk={"url": "https://desk.clinic.example"})
    site.add("Reviewer One", "reviewer")
    client = httpx.Client(base_url=site.url, headers={"host": "desk.clinic.example"}, trust_env=False)
    shown = client.get("/sign-in")
    browser = shown.headers["set-cookie"].split(";")[0]
    token = shown.text.split('name="form_token" value="')[1][:64]
    data = {"form_token": token, "name": "Reviewer One", "password": PASSWORD}
    headers = {"origin": "https://desk.clinic.example", "cookie": browser}
    reply = client.post("/sign-in", data=data, headers=headers)
    cookie, known = reply.headers.get_list("set-cookie")
    assert reply.status_code == 303
    assert known.startswith("__Host-desk-known-browser=")
    assert cookie.startswith("__Host-desk-session=")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"path=/", "secure", "httponly", "samesite=lax"}
    assert reply.headers["strict-transport-security"]
    assert client.post("/sign-in", data=data, headers={**headers, "origin": site.url}).status_code == 403


def test_every_answer_carries_the_headers_that_protect_it(operator: Visitor) -> None:
    """Pages, errors and styles alike."""
    for path in ("/", "/users", "/nothing", "/sign-in", "/static/desk.css", "/health"):
        headers = operator.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert ("no-store" in headers["cache-control"]) == (not path.startswith("/static")), path


def test_taking_a_role_away_or_disabling_holds_from_the_next_click(site: Site, operator: Visitor) -> None:
    """Not only from the next sign-in."""
    site.add("Operator Two", "operator")
    other = site.signed_in("Operator Two")
    set_roles(site.ledger, "Operator Two", ["auditor"])
    assert other.get("/users").status_code == 403
    disable_user(site.ledger, "Operator Two", now=find_user(site.ledger, "Operator Two").created_at)
    assert other.get("/audit").status_code == 303
    assert operator.get("/users").status_code == 200


def test_a_refused_sign_in_does_not_tell_why(site: Site) -> None:
    """Unknown, wrong, locked and disabled: the same words, and no answer that is quicker than the others."""
    site.add("Reviewer One", "reviewer")
    site.add("Reviewer Two", "reviewer")
    disable_user(site.ledger, "Reviewer Two", now=find_user(site.ledger, "Reviewer Two").created_at)
    shown, quickest = set(), 9.0
    for name, password in [
        ("nobody", PASSWORD),
        ("Reviewer Two", PASSWORD),
        *[("Reviewer One", "wrong")] * 5,
        ("Reviewer One", PASSWORD),
    ]:
        started = time.monotonic()
        reply = site.visitor().sign_in(name, password)
        quickest = min(quickest, time.monotonic() - started)
        assert reply.status_code == 401
        shown.add(reply.text.split('id="refusal">')[1].split("<")[0])
    assert len(shown) == 1
    assert quickest >= 0.6


@pytest.mark.parametrize(
    "target", ["//elsewhere.example", "/\\elsewhere.example", "https://elsewhere.example", "\\\\x"]
)
def test_sign_in_never_redirects_to_another_site(site: Site, target: str) -> None:
    """An open redirect makes a phishing page look like ours."""
    site.add("Reviewer One", "reviewer")
    form = {"name": "Reviewer One", "password": PASSWORD, "next": target}
    assert site.visitor().post("/sign-in", form, page="/sign-in").headers["location"] == "/"


def test_nothing_that_is_typed_comes_out_in_a_log_or_an_error(
    site: Site, operator: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    """Names in the wrong field, broken forms, unknown addresses."""
    caplog.set_level(logging.DEBUG)
    operator.post("/users", {"name": MARKER, "role": MARKER}, page="/users")
    headers = {"origin": site.url, "content-type": "application/x-www-form-urlencoded"}
    broken = operator.client.post("/users", content=f"name={MARKER}%ff".encode(), headers=headers)
    other_kind = operator.client.post("/users", json={"name": MARKER}, headers={"origin": site.url})
    large = operator.client.post("/users", content=b"name=" + b"x" * 2_100_000, headers=headers)
    assert (broken.status_code, other_kind.status_code, large.status_code) == (400, 415, 413)
    site.visitor().sign_in(MARKER, MARKER)
    own = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    )
    assert MARKER not in own
    assert MARKER not in broken.text + other_kind.text


def test_an_unknown_path_is_not_found_under_another_spelling(operator: Visitor) -> None:
    """A redirect to "the same without the slash" is made of the Host header, and of http although the proxy has TLS."""
    for path in ("/users/", "/health/", "/static/../users/", "/users/%00", "/users?before=%00"):
        reply = operator.get(path)
        assert (reply.status_code, "location" in reply.headers) == (404, False), path
    for path in ("/users", "/sign-in"):
        nul = operator.post(path, {"name": "Some\0Body", "password": "x", "role": "reviewer"}, page="/account")
        assert nul.status_code == 400, path
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert operator.client.request(method, "/users", headers={"origin": operator.url}).status_code == 405


@pytest.mark.parametrize("name", ["Reviewer\u200b One", "\u202eenO reweiveR", "Reviewer\x07 One"])
def test_names_contain_no_invisible_characters(site: Site, operator: Visitor, name: str) -> None:
    """Users with look-alike names would count as two people for the two-person rule, but look like one in the log."""
    site.add("Reviewer One", "reviewer")
    assert operator.post("/users", {"name": name, "role": "reviewer"}, page="/users").status_code == 400
    assert [user.name for user in list_users(site.ledger)] == ["Operator One", "Reviewer One"]


@pytest.mark.parametrize("path", ["/sign-out", "/account/password", "/users", "/users/x/reset", "/sign-in"])
def test_no_form_is_taken_without_its_token_signing_out_included(operator: Visitor, path: str) -> None:
    """Each POST goes through the one gate."""
    reply = operator.client.post(path, data={"name": "Operator One"}, headers={"origin": operator.url})
    assert reply.status_code == 403
    assert operator.get("/account").status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"desk": {"host": "0.0.0.0"}},
        {"desk": {"url": "http://desk.clinic.example"}},
        {"desk": {"url": "https://desk.clinic.example/path"}},
        {"desk": {"url": "desk.clinic.example"}},
        {"oidc": {"issuer": "http://login.clinic.example", "client_id": "desk"}},
        {"oidc": {"issuer": "https://login.clinic.example"}},
    ],
    ids=lambda changes: str(changes),
)
def test_settings_that_would_open_the_desk_are_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    """The desk itself has no TLS, and passwords must not cross a network unencrypted."""
    with pytest.raises(SettingsError):
        create_app(Settings(data_dir=tmp_path, **changes))  # type: ignore[arg-type]
