"""The shipped nginx configuration in front of a desk and a gateway: a real nginx with TLS, on other ports."""

import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from fine_tune_assets.core.limited_http import build_server_options
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.desk_app import create_app as create_desk
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.gateway_app import create_line_apps
from fine_tune_assets.gateway.host_guard import HostGuard, find_host_names
from fine_tune_assets.ledger.people.users import LOCKOUT_THRESHOLD, create_user
from fine_tune_assets_tests.desk.conftest import PASSWORD, Visitor
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import start_app
from fine_tune_assets_tests.system_programs import NGINX, require_program

CONFIGURATION = PROJECT_DIR / "deploy/nginx/fine-tune.conf"
DESK, GATEWAY = "desk.clinic.example", "models.clinic.example"


@dataclass(frozen=True)
class Front:
    client: httpx.Client
    port: int

    def get(self, path: str, host: str, **headers: str) -> httpx.Response:
        return self.client.get(f"https://127.0.0.1:{self.port}{path}", headers={"host": host, **headers})


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    settings = Settings(
        data_dir=folder / "data",
        desk={"port": free_port(), "url": f"https://{DESK}"},
        gateway={"port": free_port(), "hosts": GATEWAY},
        connections={"trusted_proxies": "127.0.0.1"},
    )
    with closing(fresh_ledger(settings)) as ledger:
        create_user(ledger, "Reviewer One", ["reviewer"], password=PASSWORD, oidc_identity=None, now=datetime.now(UTC))
    with ExitStack() as stack:
        options = {**build_server_options(settings.connections), "log_level": "error"}
        gateway = HostGuard(create_line_apps(settings), find_host_names(settings))
        stack.callback(start_app(create_desk(settings), settings.desk.port, **options))
        stack.callback(start_app(gateway, settings.gateway.port, **options))
        stack.callback(_start_nginx(folder, port, settings))
        client = stack.enter_context(httpx.Client(verify=False, trust_env=False, timeout=30))
        yield Front(client, port)


def _start_nginx(folder: Path, port: int, settings: Settings) -> Callable[[], None]:
    _make_certificate(folder)
    text = CONFIGURATION.read_text(encoding="utf-8")
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("127.0.0.1:8070", f"127.0.0.1:{settings.desk.port}"),
        ("127.0.0.1:8060", f"127.0.0.1:{settings.gateway.port}"),
        ("/etc/fine-tune/tls", str(folder)),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "fine-tune.conf").write_text(text, encoding="utf-8")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    lines = ["access_log off;", *(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)]
    http = "\n".join([*lines, f"include {folder}/fine-tune.conf;"])
    main = f"daemon off;\npid {folder}/nginx.pid;\nevents {{}}\nhttp {{\n{http}\n}}\n"
    (folder / "nginx.conf").write_text(main, encoding="utf-8")
    command = [require_program(NGINX), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen(command)
    _wait_until_listening(port)

    def stop() -> None:
        process.terminate()
        process.wait(20)

    return stop


def _make_certificate(folder: Path) -> None:
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "fullchain.pem"))
    request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={DESK}", "-days", "1")
    subprocess.run([*request, *files], check=True, capture_output=True)


def _wait_until_listening(port: int) -> None:
    ends = time.monotonic() + 20
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_desk_and_gateway_are_reached_at_their_names(front: Front) -> None:
    """And redirects stay at the name."""
    assert front.get("/health", DESK).json() == front.get("/health", GATEWAY).json() == {"status": "ok"}
    page = front.get("/", DESK)
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in?next=/")
    assert page.headers["strict-transport-security"]
    assert front.get("/v1/models", GATEWAY).status_code == 401


@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1", "desk.clinic.example.evil"])
def test_another_name_is_refused(front: Front, host: str) -> None:
    """Before it reaches the desk or the gateway."""
    assert front.get("/health", host).status_code == 421


def test_old_versions_of_tls_are_refused(front: Front) -> None:
    """They have known weaknesses, and plain HTTP at this port reaches no service."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", front.port)) as plain:
        context.wrap_socket(plain)
    context.maximum_version = context.minimum_version = ssl.TLSVersion.TLSv1_2  # the version was the reason
    with socket.create_connection(("127.0.0.1", front.port)) as plain, context.wrap_socket(plain) as encrypted:
        assert encrypted.version() == "TLSv1.2"
    reply = front.client.get(f"http://127.0.0.1:{front.port}/health", headers={"host": DESK})
    assert reply.status_code == 400


def test_a_body_that_is_too_large_is_refused(front: Front) -> None:
    """nginx answers; neither service reads it."""
    for host, size in ((DESK, 2_200_000), (GATEWAY, 1_200_000)):
        reply = front.client.post(
            f"https://127.0.0.1:{front.port}/sign-in", content=b"x" * size, headers={"host": host}
        )
        assert reply.status_code == 413


def test_invented_addresses_are_replaced_by_the_callers(front: Front) -> None:
    """Each guess of a password would otherwise come from a new source, and none would wait."""
    visitor = Visitor(f"https://{DESK}")
    with httpx.Client(base_url=f"https://127.0.0.1:{front.port}", verify=False, trust_env=False, timeout=30) as client:
        visitor.client = client
        client.headers["host"] = DESK
        for number in range(LOCKOUT_THRESHOLD):
            address = f"10.0.0.{number}"
            client.headers.update({"x-forwarded-for": address, "x-real-ip": address, "forwarded": f"for={address}"})
            assert visitor.sign_in("Reviewer One", "the wrong words, every time").status_code == 401
        assert visitor.sign_in("Reviewer One").status_code == 401


def test_repeated_sign_ins_are_slowed_down(front: Front) -> None:
    """Before they reach the desk's queue."""
    statuses = [front.get("/sign-in", DESK).status_code for _ in range(40)]
    assert set(statuses) == {200, 429}


def test_a_websocket_reaches_the_desk(front: Front) -> None:
    """Without a session the desk itself refuses it; nginx without the upgrade headers would answer 404 or 405."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", front.port), timeout=60)
    origin = Origin(f"https://{DESK}")
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(f"wss://{DESK}/dagster/graphql", sock=plain, ssl=context, origin=origin, proxy=None, open_timeout=60),
    ):
        pass
    assert caught.value.response.status_code == 403
