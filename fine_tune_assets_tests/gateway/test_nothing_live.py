"""The gateway before anything is served, and after the engine went away."""

import httpx
import pytest

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.deployments import (
    report_state,
    seal_engine_key,
    switch_live,
    want_release,
    withdraw_engine,
)
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.serving.tiny import build_empty_release

ASK = {"model": "live", "messages": [{"role": "user", "content": "Hi"}]}


def test_without_a_live_release_or_engine_it_answers_503_and_says_why(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A client must be able to tell "come back later" from "you did something wrong"."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), gateway={"port": free_port()})
    url = f"http://127.0.0.1:{settings.gateway.port}"
    ledger = fresh_ledger(settings.database_url)
    headers = {"Authorization": f"Bearer {create_key(ledger, 'asks', ['chat']).secret}"}
    try:
        start_services(settings, ["gateway"])
        reply = httpx.post(f"{url}/v1/chat/completions", json=ASK, headers=headers, trust_env=False)
        assert (reply.status_code, reply.json()["error"]["message"][:18]) == (503, "No release is live")
        assert httpx.get(f"{url}/ready", trust_env=False).status_code == 503
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200

        key = read_or_create_key(settings.layout.keys, "ledger")
        name = want_release(ledger, build_empty_release(settings, ledger, "One.", {})).deployment_id
        report_state(ledger, name, "starting")
        gone = f"http://127.0.0.1:{free_port()}/v1"
        report_state(ledger, name, "ready", engine_url=gone, engine_key=seal_engine_key(key, name, "x"))
        switch_live(ledger, name)
        reply = httpx.post(f"{url}/v1/chat/completions", json=ASK, headers=headers, trust_env=False)
        assert reply.status_code == 503
        assert "started again" in reply.json()["error"]["message"]
        assert reply.headers["retry-after"]
        assert httpx.get(f"{url}/ready", trust_env=False).status_code == 200

        withdraw_engine(ledger, name)
        assert httpx.get(f"{url}/ready", trust_env=False).status_code == 503
        reply = httpx.post(f"{url}/v1/chat/completions", json=ASK, headers=headers, trust_env=False)
        assert reply.status_code == 503
        assert "started again" in reply.json()["error"]["message"]
        assert reply.headers["retry-after"]
    finally:
        stop_services(settings, ["gateway"])
        ledger.close()
