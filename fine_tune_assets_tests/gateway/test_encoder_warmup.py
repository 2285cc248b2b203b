"""The encoder is loaded before the first request if it is needed; `/ready` waits for it and `/health` does not. Runs in another
process, since another test may have loaded the encoder in this one."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy.exc import OperationalError

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.embeddings import EncoderWarmup, has_embedding_callers
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import create_key, revoke_key
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.gateway.answers.answering import Engine, listening, live_at
from fine_tune_assets_tests.gateway.answers.document_house import FILES, OFF, QUESTION
from fine_tune_assets_tests.gateway.callers.whole_answers import WHOLE
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.retrieval.live_index import go_live
from fine_tune_assets_tests.retrieval.small_index import LEAVE, document
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny_releases import build_empty_release, service_process

MARKER = "Zebrafinch-7731"


@dataclass
class Starting:
    """A gateway during its start."""

    settings: Settings
    ledger: Ledger
    folder: Path

    def status(self, path: str) -> int | None:
        """None if the gateway does not listen yet."""
        try:
            url = f"http://127.0.0.1:{self.settings.gateway.port}{path}"
            return httpx.get(url, trust_env=False, timeout=10).status_code
        except httpx.TransportError:
            return None

    @property
    def has_encoder(self) -> bool:
        """Whether the process has loaded onnxruntime, which runs the encoder."""
        identity = service_process(self.settings, "gateway")
        return any("onnxruntime" in part.path for part in psutil.Process(identity.pid).memory_maps())

    def serve(self, files: dict[str, str]) -> None:
        release_id = build_empty_release(self.settings, self.ledger, "One.", files)
        live_at(self.settings, self.ledger, self.folder / "e.sock", release_id)

    @contextmanager
    def gateway(self) -> Iterator[None]:
        starting = threading.Thread(target=start_services, args=(self.settings, ["gateway"]))
        starting.start()
        try:
            yield
        finally:
            starting.join(120)
            stop_services(self.settings, ["gateway"])


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Starting]:
    settings = Settings(data_dir=tmp_path / "d", gateway={"port": free_port()})
    ledger, engine = fresh_ledger(settings), Engine(body=json.dumps(WHOLE).encode())
    with listening(tmp_path / "e.sock", engine):
        yield Starting(settings, ledger, tmp_path)
    ledger.close()


def test_a_release_that_answers_from_documents_has_the_encoder_before_it_is_ready(starting: Starting) -> None:
    """Otherwise the first request would wait for encoder and index. Meanwhile `/health` answers 200."""
    starting.serve(FILES)
    go_live(starting.settings, starting.ledger, document("leave.md", LEAVE))
    key = create_key(starting.ledger, "asks", ["chat"]).secret
    with starting.gateway():
        wait(lambda: starting.status("/health") == 200, 120)
        seen = []
        while not seen or seen[-1] != (200, 200):
            seen.append((starting.status("/ready"), starting.status("/health")))
            assert len(seen) < 10_000
        assert starting.has_encoder
        assert seen[0] == (503, 200)
        assert {health for _, health in seen} == {200}
        body = {"messages": [{"role": "user", "content": QUESTION}]}
        url = f"http://127.0.0.1:{starting.settings.gateway.port}/v1/chat/completions"
        reply = httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30)
        assert [citation["source"] for citation in reply.json()["citations"]] == ["leave.md"]


def test_the_encoder_is_not_loaded_until_a_key_with_the_scope_exists(starting: Starting) -> None:
    """It takes 350 MB per process. If a key is added later, the encoder is loaded while the gateway stays ready."""
    starting.serve(OFF)
    with starting.gateway():
        wait(lambda: starting.status("/ready") == 200, 120)
        time.sleep(3)
        assert not starting.has_encoder
        create_key(starting.ledger, "embeds", ["embed"])
        seen = set()

        def is_loaded() -> bool:
            seen.add(starting.status("/ready"))
            return starting.has_encoder

        wait(is_loaded, 120)
        assert seen == {200}


def test_keys_and_mapped_scopes_decide_whether_embeddings_can_be_requested(starting: Starting) -> None:
    """Revoked keys do not count."""
    own, settings = starting.ledger, starting.settings
    create_key(own, "asks", ["chat"])
    assert not has_embedding_callers(settings, own)
    key = create_key(own, "embeds", ["chat", "embed"])
    assert has_embedding_callers(settings, own)
    revoke_key(own, key.key_id)
    assert not has_embedding_callers(settings, own)
    for issuer, scopes, may in (
        ("https://i", "a=chat b=embed", True),
        ("", "b=embed", False),
        ("https://i", "a=chat", False),
    ):
        tokens = Settings(gateway={"oidc_issuer": issuer, "oidc_scopes": scopes})
        assert has_embedding_callers(tokens, own) == may, scopes


def test_a_failed_load_is_retried_and_the_gateway_is_not_ready_until_then(caplog: pytest.LogCaptureFixture) -> None:
    """Also if the ledger is unreachable at the start. The log has the error's type, since its message may contain text."""
    calls: list[str] = []

    def is_needed() -> bool:
        calls.append("is_needed")
        if len(calls) == 1:
            raise OperationalError("select", {}, Exception(MARKER))
        return True

    def load() -> None:
        calls.append("load")
        if len(calls) == 3:
            raise OSError(MARKER)

    async def run() -> list[bool]:
        warming = EncoderWarmup(is_needed, load)
        task, ready = asyncio.create_task(warming.run()), list[bool]()
        while not task.done():
            ready.append(warming.is_ready)
            await asyncio.sleep(0.02)
        return [*dict.fromkeys(ready), warming.is_ready]

    caplog.set_level(logging.WARNING)
    assert asyncio.run(run()) == [False, True]
    assert calls == ["is_needed", "is_needed", "load", "is_needed", "load"]
    assert ("OSError" in caplog.text, MARKER in caplog.text) == (True, False)
