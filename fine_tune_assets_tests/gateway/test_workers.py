"""Two gateway processes on one port, with TLS: they share limits, request log and metrics."""

import os
import signal
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.listeners import check_listener
from fine_tune_assets.ledger.audit.request_log import verify_requests
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.people.api_keys import KeyLimits, create_key, revoke_key
from fine_tune_assets.ledger.reviews.correction_records import list_corrections
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.gateway.certificates import Authority, Issued
from fine_tune_assets_tests.ledger.ledger_rows import owned_key, record_promoted
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.postgres import PostgresServer, postgres_server
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny_releases import service_process

__all__ = ["postgres_server"]


@dataclass(frozen=True)
class Pair:
    settings: Settings
    ledger: Ledger
    authority: Authority
    caller: Issued

    def client(self, certificate: Issued | None) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        url = f"https://127.0.0.1:{self.settings.gateway.port}"
        return httpx.Client(base_url=url, verify=context, trust_env=False, timeout=60)

    @property
    def workers(self) -> list[int]:
        identity = service_process(self.settings, "gateway")
        children = psutil.Process(identity.pid).children()
        return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    url = ""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database())
    authority = Authority(folder, "authority")
    own, caller = authority.issue("gateway"), authority.issue("caller")
    settings = Settings(
        data_dir=folder / "data",
        ledger_url=url,
        gateway={
            "port": free_port(),
            "workers": 2,
            "tls_cert": str(own.certificate),
            "tls_key": str(own.key),
            "tls_client_ca": str(authority.certificate),
        },
    )
    ledger = fresh_ledger(settings)
    try:
        start_services(settings, ["gateway"])
        found = Pair(settings, ledger, authority, caller)
        wait(lambda: len(found.workers) == 2)
        yield found
    finally:
        stop_services(settings, ["gateway"])
        ledger.close()


@pytest.mark.slow
def test_both_processes_share_a_limit_and_one_hash_chain(pair: Pair) -> None:
    """The limit is exact across processes, and no line is lost."""
    if datetime.now(UTC).second > 40:
        time.sleep(61 - datetime.now(UTC).second)
    key = create_key(pair.ledger, "limited", ["chat", "metrics"], limits=KeyLimits(60)).secret

    def ask(_: int) -> int:
        with pair.client(pair.caller) as client:
            return client.get("/openapi.json", headers={"Authorization": f"Bearer {key}"}).status_code

    before = verify_requests(pair.ledger).entry_count
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(100)))
    # A process may lease 5 % that it does not use.
    assert 57 <= statuses.count(200) <= 60
    assert set(statuses) == {200, 429}
    check = verify_requests(pair.ledger)
    assert (check.is_intact, check.entry_count - before) == (True, 100)
    with pair.client(pair.caller) as client:
        text = client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).text
    counted = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if 'route="/openapi.json",status="' in line]
    assert sum(counted) == 100


@pytest.mark.slow
def test_every_process_refuses_a_revoked_key_at_once(pair: Pair) -> None:
    """A process that remembered keys would serve a stolen one for as long as it remembers."""
    key = create_key(pair.ledger, "stolen", ["chat"])

    def ask(_: int) -> int:
        with pair.client(pair.caller) as client:  # a connection each, so that both processes answer
            return client.get("/openapi.json", headers={"Authorization": f"Bearer {key.secret}"}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(24))) == {200}
        revoke_key(pair.ledger, key.key_id)
        assert set(pool.map(ask, range(24))) == {401}


@pytest.mark.slow
def test_a_correction_that_is_sent_to_both_processes_at_once_is_stored_once(pair: Pair) -> None:
    """A client that times out sends it again while the first request runs."""
    release = record_promoted(pair.ledger, f"release of {pair.settings.data_dir.name}").release_id
    key = owned_key(pair.ledger, "corrects", ["correct"]).secret
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), "Rest.")
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "one"}

    def send(answer: str) -> tuple[int, str]:
        with pair.client(pair.caller) as client:
            body = {"release_id": release, **texts, "answer": answer}
            reply = client.post("/v1/corrections", json=body, headers=headers)
            return reply.status_code, reply.json().get("id", "")

    with ThreadPoolExecutor(8) as pool:
        replies = set(pool.map(send, ["Rest."] * 24))
    ((status, stored_id),) = replies
    assert status == 201
    assert send("Other.") == (409, "")
    stored = list_corrections(pair.ledger, read_or_create_key(pair.settings.layout.keys, KEY_NAME))
    assert [correction.correction_id for correction in stored] == [stored_id]


@pytest.mark.slow
def test_connections_without_a_certificate_of_the_ca_are_refused(pair: Pair, tmp_path: Path) -> None:
    """Even for /health. A certificate of another CA is refused too."""
    with pair.client(pair.caller) as client:
        assert client.get("/health").status_code == 200
    stranger = Authority(tmp_path, "stranger").issue("caller")
    for certificate in (None, stranger):
        with pair.client(certificate) as client, pytest.raises(httpx.TransportError):
            client.get("/health")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{pair.settings.gateway.port}/health", trust_env=False)


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(pair: Pair) -> None:
    """Otherwise an old worker would keep answering on the port. Must be the last test with `pair`: it ends the gateway."""
    workers, identity = pair.workers, service_process(pair.settings, "gateway")
    os.kill(identity.pid, signal.SIGKILL)
    wait(lambda: not any(map(_is_running, workers)), 20)


def _is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_addresses_other_than_loopback_need_tls(tmp_path: Path) -> None:
    """Keys would be sent in clear text."""
    issued = Authority(tmp_path, "authority").issue("gateway")
    certificate = {"tls_cert": str(issued.certificate), "tls_key": str(issued.key)}
    for host in ("0.0.0.0", "::", "::1", "10.0.0.5", "gateway.intranet"):
        with pytest.raises(SettingsError, match=f"host is {host},"):
            check_listener(Settings(gateway={"host": host}))
        check_listener(Settings(gateway={"host": host, "behind_tls_proxy": True}))
        check_listener(Settings(gateway={"host": host, **certificate}))
    check_listener(Settings())


def test_incomplete_tls_settings_are_refused(tmp_path: Path) -> None:
    """A gateway must not start with less protection than configured."""
    issued = Authority(tmp_path, "authority").issue("gateway")
    both = {"tls_cert": str(issued.certificate), "tls_key": str(issued.key)}
    for wrong in (
        {"tls_cert": str(issued.certificate)},
        {"tls_key": str(issued.key)},
        {"tls_client_ca": str(issued.certificate)},
        {**both, "tls_client_ca": "/nowhere"},
        {"workers": 0},
    ):
        with pytest.raises(SettingsError):
            check_listener(Settings(gateway=wrong))
    issued.key.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        check_listener(Settings(gateway=both))
