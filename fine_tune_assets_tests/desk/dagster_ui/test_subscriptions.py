"""The WebSocket to Dagster: who may open it, from which page, and that nothing but a permitted subscription passes it."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, unix_serve
from websockets.typing import Subprotocol

from fine_tune_assets.core.dagster_ui import PATH_PREFIX, webserver_socket
from fine_tune_assets.core.permissions import PERMISSIONS, ROLES, Action
from fine_tune_assets_tests.desk.conftest import Site

GRAPHQL_WS = [Subprotocol("graphql-ws")]
FOLLOW = {"query": "subscription S { locationStateChangeEvents { __typename } }", "operationName": "S"}


@pytest.fixture
def received(site: Site) -> Iterator[list[dict[str, Any]]]:
    """What reaches a stand-in for Dagster's webserver, which confirms each message."""
    messages: list[dict[str, Any]] = []

    def handle(connection: ServerConnection) -> None:
        for text in connection:
            messages.append(json.loads(text))
            connection.send(json.dumps({"type": "seen", "id": messages[-1].get("id")}))

    path = webserver_socket(site.settings.installation.layout.run)
    path.parent.mkdir(parents=True, exist_ok=True)
    with unix_serve(handle, str(path), subprotocols=GRAPHQL_WS) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield messages
        server.shutdown()
        thread.join()


@pytest.fixture
def opened(site: Site) -> Callable[..., ClientConnection]:
    @cache
    def cookies_of(role: str) -> str:
        site.add(f"Some {role.title()}", role)
        kept = site.signed_in(f"Some {role.title()}").client.cookies
        return "; ".join(f"{name}={value}" for name, value in kept.items())

    def start(role: str, origin: str | None = site.url, **headers: str) -> ClientConnection:
        sent = {"cookie": cookies_of(role)} | {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{site.url.replace('http', 'ws', 1)}{PATH_PREFIX}/graphql"
        return connect(url, origin=origin, additional_headers=sent, subprotocols=GRAPHQL_WS, proxy=None)  # type: ignore[arg-type]

    return start


def ask(connection: ClientConnection, message: Any) -> dict[str, Any]:
    connection.send(message if isinstance(message, str | bytes) else json.dumps(message))
    return dict(json.loads(connection.recv(10)))


def test_only_roles_that_see_the_ui_may_open_it(
    received: list[dict[str, Any]], opened: Callable[..., ClientConnection]
) -> None:
    for role in ROLES:
        if role not in PERMISSIONS[Action.VIEW_DAGSTER].roles:
            with pytest.raises(InvalidStatus):
                opened(role)
            continue
        with opened(role) as connection:
            assert ask(connection, {"type": "start", "id": role, "payload": FOLLOW})["type"] == "seen"
    assert {message["id"] for message in received} == PERMISSIONS[Action.VIEW_DAGSTER].roles


def test_a_page_of_another_site_is_refused(
    site: Site, received: list[dict[str, Any]], opened: Callable[..., ClientConnection]
) -> None:
    """Browsers send cookies with WebSockets of any page."""
    origins = (None, "null", "http://rebound.example", "http://127.0.0.1", f"{site.url}.evil.test")
    for origin in (*origins, site.url.replace("http", "https")):
        with pytest.raises(InvalidStatus):
            opened("operator", origin)
    for headers in ({"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"cookie": ""}):
        with pytest.raises(InvalidStatus):
            opened("operator", **headers)
    assert received == []


def test_a_rebound_name_is_refused(site: Site, received: list[dict[str, Any]]) -> None:
    """Its page has its own name as host and as origin."""
    request = (
        f"GET {PATH_PREFIX}/graphql HTTP/1.1\r\nHost: rebound.example\r\nOrigin: http://rebound.example\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", site.settings.desk.port)) as plain:
        plain.sendall(request.encode())
        assert int(plain.recv(1000).split()[1]) in (403, 421)
    assert received == []


REFUSED: tuple[Any, ...] = (
    {"query": "mutation { wipeAssets { __typename } }"},
    {"query": "mutation { reloadWorkspace { __typename } }"},
    {"query": "{ version }"},
    {
        "query": "subscription A { locationStateChangeEvents { __typename } } mutation B { wipeAssets { __typename } }",
        "operationName": "A",
    },
    {"query": "subscription { capturedLogs(logKey: []) { stdout } }"},
    {"query": "subscription { a: locationStateChangeEvents { event { ... { info } } } }"},
    {"query": "subscription { evaluationResult { error { message } } }"},
    {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}},
    [FOLLOW, FOLLOW],
    {"query": "subscription { " + "a{" * 4000 + "b" + "}" * 4001},
    None,
)


def test_anything_but_a_permitted_subscription_is_answered_with_an_error(
    received: list[dict[str, Any]], opened: Callable[..., ClientConnection]
) -> None:
    """An auditor may look, and a mutation is never accepted here: it would be in no audit log."""
    with opened("auditor") as connection:
        for payload in REFUSED:
            assert ask(connection, {"type": "start", "id": "1", "payload": payload})["type"] == "error"
        assert ask(connection, {"type": "start", "id": "2", "payload": FOLLOW})["type"] == "seen"
    assert [message["id"] for message in received] == ["2"]


def test_what_is_no_message_of_the_protocol_ends_the_connection(
    received: list[dict[str, Any]], opened: Callable[..., ClientConnection]
) -> None:
    texts = ("no JSON", "[" * 100_000, "[]", '{"type": "data"}', '{"type": ["start"]}', "{}", f'"{"a" * 1_000_001}"')
    for message in (b"\x00\x01", *texts):
        with opened("operator") as connection, pytest.raises(ConnectionClosed):
            ask(connection, message)
    assert received == []
