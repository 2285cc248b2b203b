"""A share of callers is answered by the release on trial, and none of them notices when it does badly."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.releases.release_folders import MANIFEST
from fine_tune_assets.gateway.answers.chat import Chat
from fine_tune_assets.gateway.answers.identifiers import BLOCK, AnswerGate
from fine_tune_assets.gateway.answers.release_trials import takes_part
from fine_tune_assets.gateway.callers.callers import Caller
from fine_tune_assets.gateway.records.outcomes import OutcomeCounter
from fine_tune_assets.gateway.records.records import Record
from fine_tune_assets.gateway.records.traffic import Traffic
from fine_tune_assets.gateway.requests.request_models import ChatRequest
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.deployments import withdraw_engine
from fine_tune_assets.ledger.serving.outcomes import outcomes_since
from fine_tune_assets.ledger.serving.trials import fail_trial
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets_tests.gateway.answers.test_identifiers import Looking
from fine_tune_assets_tests.gateway.trials import Trying, said, trying
from fine_tune_assets_tests.ledger.made import make_verdict


def test_whoever_takes_part_is_answered_by_the_release_on_trial_which_says_so(tmp_path: Path) -> None:
    """In the header, in the log of requests, and in the counts that the trial rests on."""
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
def test_what_the_one_on_trial_fails_or_refuses_is_answered_by_the_live_one(
    tmp_path: Path, status: int, body: bytes, is_stream: bool
) -> None:
    """The user gets an answer and is told whose it is; the failure is counted once, where it belongs."""
    with trying(tmp_path) as made:
        made.green.status, made.green.body = status, body
        reply = made.ask(stream=is_stream)
        assert (reply.status_code, reply.headers["x-release-id"]) == (200, made.live.release_id)
        assert (made.green.asked, made.blue.asked) == (1, 1)
        found = made.outcomes(made.tried)
        assert (found.failed, found.answered) == (1, 0)
        assert (made.outcomes(made.live).failed, made.outcomes(made.live).answered) == (0, 1)
        assert [line[1:3] for line in made.lines()] == [(200, made.live.release_id)]


def test_an_answer_that_nobody_can_read_is_a_failure_and_never_reaches_the_caller(tmp_path: Path) -> None:
    """It came with the status 200, and its place among those under way is given back once: the next ones are taken on."""
    with trying(tmp_path, gateway={"max_requests": 1}) as made:
        made.green.body = b"<html>"
        for _ in range(3):
            reply = made.ask()
            assert (reply.status_code, reply.headers["x-release-id"]) == (200, made.live.release_id)
        assert (made.outcomes(made.tried, 3).failed, made.outcomes(made.tried, 3).answered) == (3, 0)
        assert [line[3] for line in made.lines()] == [7, 7, 7]


def test_a_release_on_trial_whose_folder_was_changed_is_not_asked(tmp_path: Path) -> None:
    """The live one answers, and what the other one could not is counted."""
    with trying(tmp_path) as made:
        (made.settings.layout.releases / made.tried.release_id / MANIFEST).write_text("{}")
        assert made.ask().headers["x-release-id"] == made.live.release_id
        assert (made.green.asked, made.outcomes(made.tried).failed) == (0, 1)


def test_what_the_caller_did_wrong_is_no_failure_of_the_one_on_trial(tmp_path: Path) -> None:
    """Or whoever sends nonsense could end every trial."""
    with trying(tmp_path) as made:
        assert made.ask(temperature=9).status_code == 400
        made.green.status = made.blue.status = 400
        assert made.ask().json()["error"]["code"] == "refused_by_engine"
        made.green.status = made.blue.status = 200
        made.ask()
        assert (made.outcomes(made.tried).answered, made.outcomes(made.tried).failed) == (1, 0)


def test_after_a_timeout_there_is_no_time_to_ask_another_one(tmp_path: Path) -> None:
    """As without a trial; and it is a failure of the one that did not answer."""
    with trying(tmp_path, gateway={"timeout_seconds": 1}) as made:
        made.green.may_answer.clear()
        assert made.ask().status_code == 504
        assert (made.outcomes(made.tried).failed, made.blue.asked) == (1, 0)


def test_whoever_names_the_live_release_is_answered_by_it(tmp_path: Path) -> None:
    """Whoever names one measures it, or corrects it."""
    with trying(tmp_path) as made:
        assert made.ask(model=made.live.release_id).headers["x-release-id"] == made.live.release_id
        assert made.ask(model="live").headers["x-release-id"] == made.tried.release_id
        assert made.ask(model=made.tried.release_id).status_code == 404


def test_a_release_whose_verdict_is_withdrawn_gets_no_further_request(tmp_path: Path) -> None:
    """The gate holds throughout: not at the next look of the supervisor, but at the next request."""
    with trying(tmp_path) as made:
        assert made.ask().headers["x-release-id"] == made.tried.release_id
        adapter = f"adapter of {made.tried.release_id}"
        record_verdict(made.ledger, make_verdict("refuse", adapter_id=adapter))
        assert made.ask().headers["x-release-id"] == made.live.release_id
        assert made.green.asked == 1


def test_after_its_end_everybody_is_with_the_live_one(tmp_path: Path) -> None:
    with trying(tmp_path) as made:
        fail_trial(made.ledger, made.tried.deployment_id, "a test")
        assert made.ask().headers["x-release-id"] == made.live.release_id
        assert made.green.asked == 0


def test_a_gateway_that_is_not_to_try_anything_sends_nobody_there(tmp_path: Path) -> None:
    """Off is off, whatever the ledger says."""
    with trying(tmp_path, trial={"percent": 0}) as made:
        assert made.ask().headers["x-release-id"] == made.live.release_id


def test_who_does_not_take_part_is_never_sent_there_though_the_live_one_fails(tmp_path: Path) -> None:
    """It is not in front of users yet."""
    with trying(tmp_path, percent=0) as made:
        made.blue.status = 500
        assert made.ask().status_code == 502
        withdraw_engine(made.ledger, made.live.deployment_id)
        assert made.ask().status_code == 503
        assert made.green.asked == 0


def test_one_caller_is_on_one_side_and_both_sides_get_some(tmp_path: Path) -> None:
    """A program that saw two models in turns could be told apart from one by its users, and not from a fault."""
    with trying(tmp_path, percent=50) as made:
        sides: dict[str, set[str]] = {}
        for number in range(64):
            secret = create_key(made.ledger, f"program {number}", ["chat"]).secret
            sides[secret] = {made.ask(secret).headers["x-release-id"] for _ in range(3)}
            if number >= 11 and len(set.union(*sides.values())) == 2:
                break
        assert all(len(side) == 1 for side in sides.values())
        assert set.union(*sides.values()) == {made.live.release_id, made.tried.release_id}


def test_people_whom_one_key_acts_for_are_callers_of_their_own(tmp_path: Path) -> None:
    """The desk has one key: all of its people or none would be no share."""
    with trying(tmp_path, percent=50) as made:
        made.secret = create_key(made.ledger, "desk", ["chat", "act_for"]).secret
        body = {"messages": [{"role": "user", "content": "hi"}]}
        found: set[str] = set()
        for number in range(64):
            headers = {"Authorization": f"Bearer {made.secret}", "x-on-behalf-of": f"Person {number}"}
            found.add(made.client.post("/v1/chat/completions", json=body, headers=headers).headers["x-release-id"])
            if len(found) == 2:
                break
        assert found == {made.live.release_id, made.tried.release_id}


@given(st.text(min_size=1, max_size=30), st.integers(0, 100), st.integers(0, 100))
def test_a_larger_share_holds_everybody_of_a_smaller_one(who: str, one: int, other: int) -> None:
    """0 is nobody and 100 everybody."""
    small, large = sorted((one, other))
    assert not takes_part(b"k", "d", who, small) or takes_part(b"k", "d", who, large)
    assert takes_part(b"k", "d", who, 100)
    assert not takes_part(b"k", "d", who, 0)


def test_the_share_is_one_of_callers_and_falls_on_others_in_the_next_trial() -> None:
    """The same ones would be the first to meet every fault."""
    callers = [f"key:{number}" for number in range(2000)]
    first = {who for who in callers if takes_part(b"k", "d-1", who, 20)}
    second = {who for who in callers if takes_part(b"k", "d-2", who, 20)}
    # 20 % of 2000 give or take 4 standard deviations; of both trials 4 %.
    assert 330 < len(first) < 470
    assert 330 < len(second) < 470
    assert 45 < len(first & second) < 120


def test_an_answer_that_is_kept_back_for_identifiers_is_answered_by_the_live_one(tmp_path: Path) -> None:
    """It counts against the one on trial as an answer with identifiers, and its caller gets a clean one."""

    async def ask(made: Trying) -> Record:
        counter, gate = OutcomeCounter(made.ledger), AnswerGate(BLOCK, Looking())
        chat = Chat(made.settings, made.ledger, counter, gate, Traffic(made.settings, made.ledger))
        body = {"messages": [{"role": "user", "content": "hi"}]}
        question = ChatRequest.model_validate(body)
        caller, record = Caller("key:0", "asks", frozenset({"chat"}), None, None), Record("/v1/chat/completions")
        async with chat.place() as hand_on:
            await chat.answer(question, caller, record, hand_on)
        await counter.flush()
        return record

    with trying(tmp_path) as made:
        made.green.body = said("Zyxomark is fine.")
        record = asyncio.run(ask(made))
        assert (record.release_id, record.identifiers) == (made.live.release_id, 0)
        found = outcomes_since(made.ledger, made.tried.deployment_id, made.tried.wanted_at)
        assert (found.answered, found.failed, found.identifiers) == (1, 0, 1)


def test_a_correction_of_an_answer_on_trial_is_taken(tmp_path: Path) -> None:
    """By the id that its answer carried."""
    with trying(tmp_path) as made:
        secret = create_key(made.ledger, "corrects", ["chat", "correct"]).secret
        release = made.ask(secret).headers["x-release-id"]
        body = {"release_id": release, "instruction": "hi", "answer": "fine", "corrected_answer": "well"}
        headers = {"Authorization": f"Bearer {secret}"}
        assert made.client.post("/v1/corrections", json=body, headers=headers).status_code == 201
        assert release == made.tried.release_id
