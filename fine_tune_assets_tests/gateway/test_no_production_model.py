"""The gateway without a live release, and with a dead engine."""

import httpx
import pytest

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.deployments import (
    clear_engine,
    record_state,
    request_deployment,
    seal_engine_key,
    switch_traffic,
)
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.gateway.answers.answering import own_address
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.tiny_releases import build_empty_release

ASK = {"model": "live", "messages": [{"role": "user", "content": "Hi"}]}


def test_without_a_live_release_or_engine_it_answers_503_with_retry_after(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A client must be able to distinguish a temporary fault from an invalid request."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), gateway={"port": free_port()})
    url = f"http://127.0.0.1:{settings.gateway.port}"
    ledger = fresh_ledger(settings)
    headers = {"Authorization": f"Bearer {create_key(ledger, 'asks', ['chat']).secret}"}
    try:
        start_services(settings, ["gateway"])
        reply = httpx.post(f"{url}/v1/chat/completions", json=ASK, headers=headers, trust_env=False)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_available")
        assert "`fine-tune status`" in reply.json()["error"]["message"]
        assert httpx.get(f"{url}/ready", trust_env=False).status_code == 503
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200

        key = read_or_create_key(settings.layout.keys, "ledger")
        name = request_deployment(ledger, build_empty_release(settings, ledger, "One.", {})).deployment_id
        record_state(ledger, name, "starting")
        gone = own_address(settings, tmp_path_factory.mktemp("sockets") / "gone.sock")
        record_state(ledger, name, "ready", engine_url=gone, engine_key=seal_engine_key(key, name, "x"))
        switch_traffic(ledger, name)
        reply = httpx.post(f"{url}/v1/chat/completions", json=ASK, headers=headers, trust_env=False)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_available")
        assert reply.headers["retry-after"]
        assert httpx.get(f"{url}/ready", trust_env=False).status_code == 200

        clear_engine(ledger, name)
        assert httpx.get(f"{url}/ready", trust_env=False).status_code == 503
        reply = httpx.post(f"{url}/v1/chat/completions", json=ASK, headers=headers, trust_env=False)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_available")
        assert reply.headers["retry-after"]
    finally:
        stop_services(settings, ["gateway"])
        ledger.close()
