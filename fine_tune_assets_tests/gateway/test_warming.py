"""The encoder is loaded before somebody asks, where somebody may; `/ready` waits for it and `/health` does not. In a process of
its own: within this one another test may have loaded it."""

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
from fine_tune_assets.gateway.embeddings import Warming, may_embed
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import create_key, revoke_key
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.gateway.answers.test_chat import Engine, listening, live_at
from fine_tune_assets_tests.gateway.answers.test_knowledge import FILES, OFF, QUESTION
from fine_tune_assets_tests.gateway.callers.test_limits import WHOLE
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.retrieval.made import LEAVE, document
from fine_tune_assets_tests.retrieval.test_question_passages import go_live
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny import build_empty_release, service_process

MARKER = "Zebrafinch-7731"


@dataclass
class Starting:
    """A gateway from its start on."""

    settings: Settings
    ledger: Ledger
    folder: Path

    def status(self, path: str) -> int | None:
        """None: nobody listens there yet."""
        try:
            url = f"http://127.0.0.1:{self.settings.gateway.port}{path}"
            return httpx.get(url, trust_env=False, timeout=10).status_code
        except httpx.TransportError:
            return None

    @property
    def has_encoder(self) -> bool:
        """Whether the process holds the library that runs it."""
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
    ledger, engine = fresh_ledger(settings.database_url), Engine(body=json.dumps(WHOLE).encode())
    with listening(tmp_path / "e.sock", engine):
        yield Starting(settings, ledger, tmp_path)
    ledger.close()


def test_a_release_that_answers_from_documents_has_the_encoder_before_it_is_ready(starting: Starting) -> None:
    """Whoever asks first would wait for it, the index and all that they need. Meanwhile the process says that it lives."""
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
        asked = {"messages": [{"role": "user", "content": QUESTION}]}
        url = f"http://127.0.0.1:{starting.settings.gateway.port}/v1/chat/completions"
        reply = httpx.post(url, json=asked, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30)
        assert [citation["source"] for citation in reply.json()["citations"]] == ["leave.md"]


def test_where_nobody_needs_it_nothing_is_loaded_until_a_key_may_embed(starting: Starting) -> None:
    """350 MB that nobody asked for, in each process. A key that comes later has it loaded, without sending others away."""
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


def test_who_may_embed_is_said_by_keys_and_by_the_providers_scopes(starting: Starting) -> None:
    """A key that was revoked embeds nothing."""
    own, settings = starting.ledger, starting.settings
    create_key(own, "asks", ["chat"])
    assert not may_embed(settings, own)
    key = create_key(own, "embeds", ["chat", "embed"])
    assert may_embed(settings, own)
    revoke_key(own, key.key_id)
    assert not may_embed(settings, own)
    for issuer, scopes, may in (
        ("https://i", "a=chat b=embed", True),
        ("", "b=embed", False),
        ("https://i", "a=chat", False),
    ):
        tokens = Settings(gateway={"oidc_issuer": issuer, "oidc_scopes": scopes})
        assert may_embed(tokens, own) == may, scopes


def test_what_can_not_be_loaded_is_tried_again_and_not_ready_till_then(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the ledger is away at the start. The log says the kind of the error: its message may be anything."""
    tried: list[str] = []

    def is_needed() -> bool:
        tried.append("asked")
        if len(tried) == 1:
            raise OperationalError("select", {}, Exception(MARKER))
        return True

    def load() -> None:
        tried.append("loaded")
        if len(tried) == 3:
            raise OSError(MARKER)

    async def run() -> list[bool]:
        warming = Warming(is_needed, load)
        task, ready = asyncio.create_task(warming.run()), list[bool]()
        while not task.done():
            ready.append(warming.is_ready)
            await asyncio.sleep(0.02)
        return [*dict.fromkeys(ready), warming.is_ready]

    caplog.set_level(logging.WARNING)
    assert asyncio.run(run()) == [False, True]
    assert tried == ["asked", "asked", "loaded", "asked", "loaded"]
    assert ("OSError" in caplog.text, MARKER in caplog.text) == (True, False)
