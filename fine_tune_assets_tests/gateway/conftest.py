"""An installation for the gateway's tests: supervisor, gateway and a real engine in separate processes."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import openai
import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.ledger.ledger_rows import owned_key
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.tiny_releases import build_release

SERVICES = ("supervisor", "gateway")


@dataclass(frozen=True)
class Installation:
    settings: Settings
    ledger: Ledger
    chat_key: str
    """Has the scope `chat` only."""
    correct_key: str
    release_id: str
    """The first live release."""

    @property
    def url(self) -> str:
        return f"http://{self.settings.gateway.host}:{self.settings.gateway.port}"

    def openai(self, key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(api_key=key or self.chat_key, base_url=f"{self.url}/v1", max_retries=0)

    def post(self, path: str, key: str | None, **options: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= options.pop("headers", {})  # type: ignore[arg-type]
        return httpx.post(self.url + path, headers=headers, timeout=60, trust_env=False, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("installation"), gateway={"port": free_port()}, threads=2)
    ledger = fresh_ledger(settings)
    try:
        start_services(settings, SERVICES)
        release_id = build_release(settings, ledger, "You are brief.")
        deploy_release(ledger, release_id, timeout_seconds=120)
        yield Installation(
            settings,
            ledger,
            create_key(ledger, "asks only", ["chat"]).secret,
            owned_key(ledger, "corrects", ["chat", "correct"]).secret,
            release_id,
        )
    finally:
        stop_services(settings, SERVICES)
        ledger.close()
