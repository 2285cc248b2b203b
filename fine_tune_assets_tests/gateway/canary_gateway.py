"""A live release and a canary release, each with a fake engine on a real socket."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from starlette.testclient import TestClient

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import request_entries
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.canary_records import start_canary
from fine_tune_assets.ledger.serving.canary_rows import CanaryPlan
from fine_tune_assets.ledger.serving.deployments import Deployment, switch_traffic
from fine_tune_assets.ledger.serving.request_outcomes import RequestOutcomes
from fine_tune_assets_tests.gateway.answers.answering import Engine, listening, outcomes_of, ready_at
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.tiny_releases import build_empty_release


def said(text: str = "fine", finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps(
        {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}
    ).encode()


@dataclass
class Trying:
    settings: Settings
    ledger: Ledger
    blue: Engine
    green: Engine
    live: Deployment
    tried: Deployment
    secret: str
    """A key with the scope `chat`."""
    client: TestClient = field(init=False)

    def ask(self, secret: str | None = None, **fields: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "hi"}], **fields}
        headers = {"Authorization": f"Bearer {secret or self.secret}"}
        return self.client.post("/v1/chat/completions", json=body, headers=headers)

    def outcomes(self, deployment: Deployment, requests: int = 1) -> RequestOutcomes:
        return outcomes_of(self.ledger, deployment, requests)

    def lines(self) -> list[tuple[str | None, int, str | None, int | None]]:
        """Caller, status, release and input tokens of each line of the request log."""
        columns = [request_entries.c[name] for name in ("caller", "status", "release_id", "tokens_in")]
        with self.ledger.read() as connection:
            return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(request_entries.c.position))]


@contextmanager
def trying(tmp_path: Path, percent: int = 100, **chosen: Any) -> Iterator[Trying]:
    """Green is a canary release for this percentage of callers, in a gateway with these settings."""
    values = {"canary": {"percent": percent}, "drift": {"enabled": False}} | chosen
    settings = Settings(data_dir=tmp_path / "d", **values)
    ledger, blue, green = fresh_ledger(settings), Engine(body=said()), Engine(body=said())
    with listening(tmp_path / "blue.sock", blue), listening(tmp_path / "green.sock", green):
        one = build_empty_release(settings, ledger, "One.", {})
        live = switch_traffic(ledger, ready_at(settings, ledger, tmp_path / "blue.sock", one).deployment_id)
        two = build_empty_release(settings, ledger, "Two.", {})
        plan = CanaryPlan(percent, 60, 1, 600)
        tried = ready_at(settings, ledger, tmp_path / "green.sock", two, plan)
        start_canary(ledger, tried.deployment_id, datetime.now(UTC))
        secret = create_key(ledger, "asks", ["chat"]).secret
        made = Trying(settings, ledger, blue, green, live, tried, secret)
        with TestClient(create_app(settings)) as made.client:
            yield made
    ledger.close()
