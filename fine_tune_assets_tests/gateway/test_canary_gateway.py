"""A canary release answers a share of callers, who do not notice its failures."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.releases.release_folders import MANIFEST
from fine_tune_assets.gateway.answers.canary_routing import is_in_canary
from fine_tune_assets.gateway.answers.chat_completions import ChatService
from fine_tune_assets.gateway.answers.identifier_filter import BLOCK, AnswerGate
from fine_tune_assets.gateway.callers.authentication import Caller
from fine_tune_assets.gateway.records.outcome_counts import OutcomeCounter
from fine_tune_assets.gateway.records.request_record import RequestRecord
from fine_tune_assets.gateway.records.traffic import TrafficObserver
from fine_tune_assets.gateway.requests.request_models import ChatRequest
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.canary_records import fail_canary
from fine_tune_assets.ledger.serving.deployments import clear_engine
from fine_tune_assets.ledger.serving.request_outcomes import sum_outcomes_since
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.gateway.answers.looking import Looking
from fine_tune_assets_tests.gateway.canary_gateway import Trying, said, trying
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict, owned_key


def test_selected_callers_are_answered_by_the_canary_release(tmp_path: Path) -> None:
    """The header, the request log and the outcome counts name it."""
    with trying(tmp_path) as made:
        for fields in ({}, {"stream": True}):
            reply = made.ask(**fields)
            assert (reply.status_code, reply.headers["x-release-id"]) == (200, made.tried.release_id)
        assert (made.outcomes(made.tried, 2).answered, made.blue.asked) == (2, 0)
        assert [line[2] for line in made.lines()] == [made.tried.release_id] * 2
        prompt = made.client.post(
            "/v1/completions", json={"prompt": "hi"}, headers={"Authorization": f"Bearer {made.secret}"}
        )
        assert prompt.headers["x-release-id"] == made.tried.release_id


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (400, b'{"error": {"message": "no"}}'),
        (404, b"{}"),
        (400, b'{"error": {"message": "the maximum context length is 2048", "code": 400}}'),
    ],
)
def test_the_live_release_answers_what_the_canary_release_fails_or_refuses(
    tmp_path: Path, status: int, body: bytes, is_stream: bool
) -> None:
    """The answer names its release, and the failure counts once, for the canary release."""
    with trying(tmp_path) as made:
        made.green.status, made.green.body = status, body
        reply = made.ask(stream=is_stream)
        assert (reply.status_code, reply.headers["x-release-id"]) == (200, made.live.release_id)
        assert (made.green.asked, made.blue.asked) == (1, 1)
        found = made.outcomes(made.tried)
        assert (found.failed, found.answered) == (1, 0)
        assert (made.outcomes(made.live).failed, made.outcomes(made.live).answered) == (0, 1)
        assert [line[1:3] for line in made.lines()] == [(200, made.live.release_id)]


def test_an_unreadable_answer_counts_as_a_failure_and_is_not_relayed(tmp_path: Path) -> None:
    """Although its status is 200. Its slot is freed exactly once, so later requests are accepted."""
    with trying(tmp_path, gateway={"max_concurrent_requests": 1}) as made:
        made.green.body = b"<html>"
        for _ in range(3):
            reply = made.ask()
            assert (reply.status_code, reply.headers["x-release-id"]) == (200, made.live.release_id)
        assert (made.outcomes(made.tried, 3).failed, made.outcomes(made.tried, 3).answered) == (3, 0)
        assert [line[3] for line in made.lines()] == [7, 7, 7]


def test_a_canary_release_with_a_changed_folder_gets_no_request(tmp_path: Path) -> None:
    """The live release answers, and the failure is counted."""
    with trying(tmp_path) as made:
        (made.settings.layout.releases / made.tried.release_id / MANIFEST).write_text("{}")
        assert made.ask().headers["x-release-id"] == made.live.release_id
        assert (made.green.asked, made.outcomes(made.tried).failed) == (0, 1)


def test_an_invalid_request_does_not_count_against_the_canary_release(tmp_path: Path) -> None:
    """Otherwise invalid requests could end every canary release."""
    with trying(tmp_path) as made:
        assert made.ask(temperature=9).status_code == 400
        made.green.status = made.blue.status = 400
        assert made.ask().json()["error"]["code"] == "refused_by_engine"
        made.green.status = made.blue.status = 200
        made.ask()
        assert (made.outcomes(made.tried).answered, made.outcomes(made.tried).failed) == (1, 0)


def test_a_timeout_is_not_retried_and_counts_as_a_failure(tmp_path: Path) -> None:
    """The timeout has used up the time for another attempt."""
    with trying(tmp_path, gateway={"timeout_seconds": 1}) as made:
        made.green.may_answer.clear()
        assert made.ask().status_code == 504
        assert (made.outcomes(made.tried).failed, made.blue.asked) == (1, 0)


def test_a_request_that_names_the_live_release_is_answered_by_it(tmp_path: Path) -> None:
    """The caller measures or corrects that release."""
    with trying(tmp_path) as made:
        assert made.ask(model=made.live.release_id).headers["x-release-id"] == made.live.release_id
        assert made.ask(model="live").headers["x-release-id"] == made.tried.release_id
        assert made.ask(model=made.tried.release_id).status_code == 404


def test_a_canary_release_gets_no_request_after_its_verdict_is_withdrawn(tmp_path: Path) -> None:
    """The gate applies from the next request, not from the supervisor's next tick."""
    with trying(tmp_path) as made:
        assert made.ask().headers["x-release-id"] == made.tried.release_id
        adapter = f"adapter of {made.tried.release_id}"
        record_verdict(made.ledger, make_verdict("refuse", adapter_id=adapter))
        assert made.ask().headers["x-release-id"] == made.live.release_id
        assert made.green.asked == 1


def test_after_a_canary_release_ends_the_live_release_answers_all(tmp_path: Path) -> None:
    with trying(tmp_path) as made:
        fail_canary(made.ledger, made.tried.deployment_id, "a test")
        assert made.ask().headers["x-release-id"] == made.live.release_id
        assert made.green.asked == 0


def test_a_gateway_with_percentage_0_ignores_canary_releases(tmp_path: Path) -> None:
    """Whatever the ledger contains."""
    with trying(tmp_path, canary={"percent": 0}) as made:
        assert made.ask().headers["x-release-id"] == made.live.release_id


def test_other_callers_never_reach_the_canary_release_even_if_the_live_one_fails(tmp_path: Path) -> None:
    """It has not passed yet."""
    with trying(tmp_path, percent=0) as made:
        made.blue.status = 500
        assert made.ask().status_code == 502
        clear_engine(made.ledger, made.live.deployment_id)
        assert made.ask().status_code == 503
        assert made.green.asked == 0


def test_each_caller_stays_on_one_side_and_both_sides_get_callers(tmp_path: Path) -> None:
    """Alternating between two models would look like a fault to a caller."""
    with trying(tmp_path, percent=50) as made:
        sides: dict[str, set[str]] = {}
        for number in range(64):
            secret = create_key(made.ledger, f"program {number}", ["chat"]).secret
            sides[secret] = {made.ask(secret).headers["x-release-id"] for _ in range(3)}
            if number >= 11 and len(set.union(*sides.values())) == 2:
                break
        assert all(len(side) == 1 for side in sides.values())
        assert set.union(*sides.values()) == {made.live.release_id, made.tried.release_id}


def test_people_that_a_key_acts_for_are_selected_individually(tmp_path: Path) -> None:
    """The desk uses one key: selecting by key would select all of its users or none."""
    with trying(tmp_path, percent=50) as made:
        made.secret = create_key(made.ledger, "desk", ["chat", "on_behalf_of"]).secret
        body = {"messages": [{"role": "user", "content": "hi"}]}
        found: set[str] = set()
        for number in range(64):
            headers = {"Authorization": f"Bearer {made.secret}", "x-on-behalf-of": f"Person {number}"}
            found.add(made.client.post("/v1/chat/completions", json=body, headers=headers).headers["x-release-id"])
            if len(found) == 2:
                break
        assert found == {made.live.release_id, made.tried.release_id}


@given(st.text(min_size=1, max_size=30), st.integers(0, 100), st.integers(0, 100))
def test_a_larger_share_includes_the_callers_of_a_smaller_one(who: str, one: int, other: int) -> None:
    """0 selects no caller, and 100 selects all."""
    small, large = sorted((one, other))
    assert not is_in_canary(b"k", "d", who, small) or is_in_canary(b"k", "d", who, large)
    assert is_in_canary(b"k", "d", who, 100)
    assert not is_in_canary(b"k", "d", who, 0)


def test_the_next_canary_release_selects_other_callers() -> None:
    """Otherwise the same callers would meet every fault first."""
    callers = [f"key:{number}" for number in range(2000)]
    first = {who for who in callers if is_in_canary(b"k", "d-1", who, 20)}
    second = {who for who in callers if is_in_canary(b"k", "d-2", who, 20)}
    # 20 % of 2000, ± 4 standard deviations; 4 % are in both.
    assert 330 < len(first) < 470
    assert 330 < len(second) < 470
    assert 45 < len(first & second) < 120


def test_the_live_release_answers_if_the_canary_answer_is_blocked_for_identifiers(tmp_path: Path) -> None:
    """It counts for the canary release as an answer with identifiers."""

    async def ask(made: Trying) -> RequestRecord:
        counter, gate = OutcomeCounter(made.ledger), AnswerGate(BLOCK, Looking())
        chat = ChatService(made.settings, made.ledger, counter, gate, TrafficObserver(made.settings, made.ledger))
        body = {"messages": [{"role": "user", "content": "hi"}]}
        question = ChatRequest.model_validate(body)
        caller, record = Caller("key:0", "asks", frozenset({"chat"}), None, None), RequestRecord("/v1/chat/completions")
        async with chat.reserve_slot(caller) as hand_off:
            await chat.answer(question, caller, record, hand_off)
        await counter.flush()
        return record

    with trying(tmp_path) as made:
        made.green.body = said("Zyxomark is fine.")
        record = asyncio.run(ask(made))
        assert (record.release_id, record.identifiers) == (made.live.release_id, 0)
        found = sum_outcomes_since(made.ledger, made.tried.deployment_id, made.tried.requested_at)
        assert (found.answered, found.failed, found.identifier_count) == (1, 0, 1)


def test_a_correction_of_a_canary_answer_is_accepted(tmp_path: Path) -> None:
    """With the release id of the answer's header."""
    with trying(tmp_path) as made:
        secret = owned_key(made.ledger, "corrects", ["chat", "correct"]).secret
        release = made.ask(secret).headers["x-release-id"]
        body = {"release_id": release, "instruction": "hi", "answer": "fine", "corrected_answer": "well"}
        headers = {"Authorization": f"Bearer {secret}"}
        assert made.client.post("/v1/corrections", json=body, headers=headers).status_code == 201
        assert release == made.tried.release_id
