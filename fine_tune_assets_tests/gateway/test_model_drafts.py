"""The engine that serves now writes drafts: the real one, on loopback."""

import pytest

from fine_tune_assets.approval.model_drafts import EngineAwayError, LiveEngine, write_with_engine
from fine_tune_assets.approval.task_kinds import Request
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.releases.release_folders import AskedWith
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.serving.deployments import open_engine_key
from fine_tune_assets_tests.gateway.conftest import Installation
from fine_tune_assets_tests.ledger.made import live_of


def request(number: int, text: str, max_new_tokens: int = 12) -> Request:
    return Request(f"r{number}", f"b/{number}", "p", "summary", "Name the complaint.", text, max_new_tokens)


@pytest.fixture
def engine(installation: Installation) -> LiveEngine:
    live = live_of(installation.ledger)
    assert live.engine_url is not None
    ledger_key = read_or_create_key(installation.settings.layout.keys, KEY_NAME)
    key = open_engine_key(ledger_key, live.deployment_id, live.engine_key)
    return LiveEngine(live.engine_url, AskedWith("You are brief.", ()), live.release_id, key)


def test_each_request_is_written_once_and_says_by_which_release_and_whether_it_ended(engine: LiveEngine) -> None:
    """A reviewer sees who wrote it, and that one was cut off."""
    requests = [
        request(1, "The patient has had a cough for three weeks."),
        request(2, "A sore knee.", max_new_tokens=2),
    ]
    rows = list(write_with_engine(requests, engine, silent))
    assert [row.request for row in rows] == ["r1", "r2"]
    assert {row.drafted_by for row in rows} == {f"model {engine.release_id}"}
    assert all(row.output for row in rows)
    assert not rows[1].is_finished


def test_a_report_that_is_longer_than_the_context_costs_only_itself(engine: LiveEngine) -> None:
    """One long report must not keep all the others from being written."""
    rows = list(write_with_engine([request(1, "cough " * 5000), request(2, "A cough.")], engine, silent))
    assert [row.request for row in rows] == ["r2"]


def test_an_engine_that_is_gone_is_told_without_what_it_was_asked(engine: LiveEngine) -> None:
    """The message goes to a log that has no login."""
    gone = LiveEngine(f"http://127.0.0.1:{free_port()}/v1", engine.asked_with, engine.release_id, engine.api_key)
    with pytest.raises(EngineAwayError) as caught:
        list(write_with_engine([request(1, "Zyxwvutquark")], gone, silent))
    assert "Zyxwvutquark" not in repr(caught.value) + str(caught.value.__cause__) + str(caught.value.__context__)
    wrong_key = LiveEngine(engine.url, engine.asked_with, engine.release_id, "wrong")
    with pytest.raises(EngineAwayError, match="HTTP 401"):
        list(write_with_engine([request(1, "A cough.")], wrong_key, silent))
