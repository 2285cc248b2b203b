"""A live release and one on trial, each with an engine of a few lines on a real socket: for tests of trials."""

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
from fine_tune_assets.gateway.app import create_app
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.schema import request_lines
from fine_tune_assets.ledger.serving.deployments import Deployment, switch_live
from fine_tune_assets.ledger.serving.outcomes import Outcomes
from fine_tune_assets.ledger.serving.trial_rows import TrialPlan
from fine_tune_assets.ledger.serving.trials import begin_trial
from fine_tune_assets_tests.gateway.answers.test_chat import Engine, listening, outcomes_of, ready_at
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.serving.tiny import build_empty_release


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
    """Of a key that may chat."""
    client: TestClient = field(init=False)

    def ask(self, secret: str | None = None, **fields: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "hi"}], **fields}
        headers = {"Authorization": f"Bearer {secret or self.secret}"}
        return self.client.post("/v1/chat/completions", json=body, headers=headers)

    def outcomes(self, deployment: Deployment, requests: int = 1) -> Outcomes:
        return outcomes_of(self.ledger, deployment, requests)

    def lines(self) -> list[tuple[str | None, int, str | None, int | None]]:
        """Who asked, the status, the release and the tokens of each line of the log of requests."""
        columns = [request_lines.c[name] for name in ("who", "status", "release_id", "tokens_in")]
        with self.ledger.read() as connection:
            return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(request_lines.c.position))]


@contextmanager
def trying(tmp_path: Path, percent: int = 100, **chosen: Any) -> Iterator[Trying]:
    """Green is on trial for this share of callers, of a gateway with these settings."""
    values = {"trial": {"percent": percent}, "drift": {"features": False}} | chosen
    settings = Settings(data_dir=tmp_path / "d", **values)
    ledger, blue, green = fresh_ledger(settings.database_url), Engine(body=said()), Engine(body=said())
    with listening(tmp_path / "blue.sock", blue), listening(tmp_path / "green.sock", green):
        one = build_empty_release(settings, ledger, "One.", {})
        live = switch_live(ledger, ready_at(settings, ledger, tmp_path / "blue.sock", one).deployment_id)
        two = build_empty_release(settings, ledger, "Two.", {})
        plan = TrialPlan(percent, 60, 1, 600)
        tried = ready_at(settings, ledger, tmp_path / "green.sock", two, plan)
        begin_trial(ledger, tried.deployment_id, datetime.now(UTC))
        secret = create_key(ledger, "asks", ["chat"]).secret
        made = Trying(settings, ledger, blue, green, live, tried, secret)
        with TestClient(create_app(settings)) as made.client:
            yield made
    ledger.close()
