"""The live engine writes drafts, with a real engine on loopback."""

from dataclasses import replace

import pytest

from fine_tune_assets.approval.draft_generation import EngineUnavailableError, LiveEngine, write_with_engine
from fine_tune_assets.approval.task_kinds import DraftRequest
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.releases.release_folders import PromptSettings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.serving.deployments import open_engine_key
from fine_tune_assets_tests.gateway.conftest import Installation
from fine_tune_assets_tests.ledger.ledger_rows import live_of


def request(number: int, text: str, max_new_tokens: int = 12) -> DraftRequest:
    return DraftRequest(f"r{number}", f"b/{number}", "p", "summary", "Name the complaint.", text, max_new_tokens)


@pytest.fixture
def engine(installation: Installation) -> LiveEngine:
    live = live_of(installation.ledger)
    assert live.engine_url is not None
    ledger_key = read_or_create_key(installation.settings.layout.keys, KEY_NAME)
    key = open_engine_key(ledger_key, live.deployment_id, live.engine_key)
    return LiveEngine(live.engine_url, PromptSettings("You are brief.", ()), live.release_id, key)


def test_each_draft_is_written_once_with_its_release_and_completion(engine: LiveEngine) -> None:
    """A reviewer sees the author, and whether a draft was cut off."""
    requests = [
        request(1, "The patient has had a cough for three weeks."),
        request(2, "A sore knee.", max_new_tokens=2),
    ]
    rows = list(write_with_engine(requests, engine, ignore_progress))
    assert [row.request_fingerprint for row in rows] == ["r1", "r2"]
    assert {row.drafted_by for row in rows} == {f"model {engine.release_id}"}
    assert all(row.output for row in rows)
    assert not rows[1].is_finished


def test_a_report_longer_than_the_context_is_skipped(engine: LiveEngine) -> None:
    """One long report must not prevent the other drafts."""
    rows = list(write_with_engine([request(1, "cough " * 5000), request(2, "A cough.")], engine, ignore_progress))
    assert [row.request_fingerprint for row in rows] == ["r2"]


def test_questions_and_their_answers_are_written_report_by_report(engine: LiveEngine) -> None:
    """Each request is complete when it is yielded, so that an engine that fails later loses no finished report."""
    asked = [
        replace(request(number, "The patient has had a cough for three weeks.", 24), questions=2) for number in (1, 2)
    ]
    rows = list(write_with_engine(asked, engine, ignore_progress))
    assert list(dict.fromkeys(row.request_fingerprint for row in rows)) == ["r1", "r2"]
    assert all(row.dropped or (row.instruction.endswith("?") and row.output) for row in rows)
    assert len({(row.request_fingerprint, row.number) for row in rows}) == len(rows)


def test_an_error_of_the_engine_does_not_contain_the_prompt(engine: LiveEngine) -> None:
    """The message is written to a log without access control."""
    gone = LiveEngine(f"http://127.0.0.1:{free_port()}/v1", engine.prompt_settings, engine.release_id, engine.api_key)
    with pytest.raises(EngineUnavailableError) as caught:
        list(write_with_engine([request(1, "Zyxwvutquark")], gone, ignore_progress))
    assert "Zyxwvutquark" not in repr(caught.value) + str(caught.value.__cause__) + str(caught.value.__context__)
    wrong_key = LiveEngine(engine.url, engine.prompt_settings, engine.release_id, "wrong")
    with pytest.raises(EngineUnavailableError, match="HTTP 401"):
        list(write_with_engine([request(1, "A cough.")], wrong_key, ignore_progress))
