"""The gateway answers only at its own names, and builds no address from the Host header."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.gateway_app import create_line_apps
from fine_tune_assets.gateway.host_guard import HostGuard, find_host_names
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import start_app


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, folder = free_port(), tmp_path_factory.mktemp("gateway")
    settings = Settings(
        data_dir=folder, gateway={"hosts": "models.clinic.example, other"}, desk={"gateway_url": "https://gate.example"}
    )
    fresh_ledger(settings).close()
    stop = start_app(HostGuard(create_line_apps(settings), find_host_names(settings)), port, log_level="error")
    yield f"http://127.0.0.1:{port}"
    stop()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:9", "10.1.2.3:8060", "[::1]:80", "MODELS.clinic.example", "other", "gate.example"]
)
def test_own_names_and_addresses_are_answered(url: str, host: str) -> None:
    """In any case, and with any port: a proxy may listen on another one."""
    assert httpx.get(f"{url}/health", headers={"host": host}, trust_env=False).status_code == 200
    assert httpx.get(f"{url}/health", headers={"host": socket.gethostname()}, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "host", ["rebound.example", "127.0.0.1.rebound.example", "models.clinic.example.evil", "", "[::1", "a@other:b", "127.0.0.1@x"]
)  # fmt: skip
def test_another_name_is_refused(url: str, host: str) -> None:
    """Also for routes that need no key."""
    for path in ("/health", "/v1/models"):
        reply = httpx.get(f"{url}{path}", headers={"host": host}, trust_env=False)
        assert (reply.status_code, reply.json()["error"]["code"]) == (421, "unknown_host")
        assert host not in reply.text or not host


def test_two_or_no_host_headers_are_refused(url: str) -> None:
    """A proxy might read the other one."""
    for head in ("GET /health HTTP/1.0\r\n", "GET /health HTTP/1.0\r\nhost: localhost\r\nhost: localhost\r\n"):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
            connection.sendall(f"{head}\r\n".encode())
            assert connection.recv(1000).split(b" ")[1] in (b"421", b"400")


def test_no_redirect_is_built_from_the_host_header(url: str) -> None:
    """A path with a slash at its end is not found; it was redirected to the Host header's address by plain HTTP."""
    for method, path in (("POST", "/v1/chat/completions/"), ("GET", "/health/"), ("GET", "/v1/models/")):
        reply = httpx.request(method, f"{url}{path}", headers={"host": "other"}, trust_env=False)
        assert (reply.status_code, "location" in reply.headers) == (404, False), path


def test_names_are_compared_in_lower_case(tmp_path: Path) -> None:
    """DNS names have no case."""
    assert "gate" in find_host_names(Settings(data_dir=tmp_path, gateway={"hosts": "GATE"}))
