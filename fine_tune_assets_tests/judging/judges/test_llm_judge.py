"""The language-model judge against a real HTTP server on loopback: failures, retries, caching, position bias."""

import logging
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import RecipeError, SettingsError
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.engines.chat_client import TOP_LOGPROBS, ChatClient, ChatPrompt, ChatServer, ChatServerError
from fine_tune_assets.engines.running_server import EngineError
from fine_tune_assets.judging.judges.grades import GradableAnswer, Judge
from fine_tune_assets.judging.judges.human_agreement import measure_agreement
from fine_tune_assets.judging.judges.judge_prompts import AS_WRITTEN
from fine_tune_assets.judging.judges.judge_registry import open_judge
from fine_tune_assets.judging.judges.labelled_sets import RatedAnswer, RatedSet
from fine_tune_assets_tests.core.model_folders import make_model_folder
from fine_tune_assets_tests.judging.chat_server import MODEL, ChatServerOfATest, Said, completion, grade_reply
from fine_tune_assets_tests.judging.judges.judge_requests import CLINICAL, judging_request

PLANTED = "Zyxwvutquark"
Say = Callable[[dict[str, Any]], Said]


def _answered(number: int) -> GradableAnswer:
    return GradableAnswer(f"a-{number}", "note", "Summarize.", f"{PLANTED} coughs {number}.", f"Cough {number}.", None)


@contextmanager
def _judge(folder: Path, say: Say, **changes: Any) -> Iterator[tuple[Judge, ChatServerOfATest]]:
    with (
        ChatServerOfATest(say).running() as server,
        open_judge(judging_request(folder, server.url, **changes)) as judge,
    ):
        yield judge, server


def _seven(_: dict[str, Any]) -> Said:
    return completion(grade_reply(7))


def test_grades_are_in_the_order_of_the_answers(tmp_path: Path) -> None:
    """Requests run in parallel, and the last reply may arrive first."""

    def say(body: dict[str, Any]) -> Said:
        number = int(body["messages"][1]["content"].partition("coughs ")[2].partition(".")[0])
        return completion(grade_reply(number + 1))

    with _judge(tmp_path, say) as (judge, server):
        grades = judge.grade([_answered(n) for n in range(9)], ignore_progress)
    assert [grade.score for grade in grades] == pytest.approx([n + 1 for n in range(9)], abs=1e-9)
    assert len(server.posts) == 9


def _reply_with_odds(body: dict[str, Any]) -> Said:
    """Writes 6 for every criterion of every answer; the higher the number in the answer, the more probable is a 9."""
    number = int(body["messages"][1]["content"].partition("coughs ")[2].partition(".")[0])
    odds = {"6": math.log(0.6), "9": math.log(0.04 * number)}
    return completion(grade_reply(7), tokens=[(one, odds if one == "6" else {one: 0.0}) for one in grade_reply(7)])


def test_answers_with_the_same_digits_get_the_grades_that_the_probabilities_expect(tmp_path: Path) -> None:
    """A small model writes the same digit for most answers, and ties rank nothing. The cache keeps the decimals."""
    answers = [_answered(n) for n in range(1, 9)]
    with _judge(tmp_path, _reply_with_odds) as (judge, server):
        grades = judge.grade(answers, ignore_progress)
    assert all(body["logprobs"] and body["top_logprobs"] == TOP_LOGPROBS for body in server.posts)
    expected = [1 + (6 * 0.6 + 9 * 0.04 * n) / (0.6 + 0.04 * n) for n in range(1, 9)]
    assert [grade.score for grade in grades] == pytest.approx(expected, abs=0.01)
    with _judge(tmp_path, _reply_with_odds) as (judge, server):
        assert judge.grade(answers, ignore_progress) == grades
    assert server.posts == []


def test_probabilities_are_those_of_the_reply_that_was_read(tmp_path: Path) -> None:
    def say(body: dict[str, Any]) -> Said:
        if body["seed"] == 0:
            return completion("garbage", tokens=[("garbage", {"9": 0.0})])
        return _reply_with_odds(body)

    with _judge(tmp_path, say) as (judge, server):
        (grade,) = judge.grade([_answered(5)], ignore_progress)
    assert grade.score == pytest.approx(7.75, abs=0.01)
    assert len(server.posts) == 2


def test_probabilities_are_found_after_reasoning(tmp_path: Path) -> None:
    """Some servers leave the reasoning in the reply, others return its tokens only."""
    thought = f"<think>\nPerhaps {grade_reply(7)}?\n</think>\n"

    def say(body: dict[str, Any]) -> Said:
        _, reply = _reply_with_odds(body)
        (choice,) = reply["choices"]
        choice["logprobs"]["content"][:0] = [
            {"token": one, "logprob": 0.0, "top_logprobs": [{"token": one, "logprob": 0.0}]} for one in thought
        ]
        if body["messages"][1]["content"].count("coughs 5."):
            choice["message"]["content"] = thought + grade_reply(7)
        return 200, reply

    with _judge(tmp_path, say) as (judge, _):
        left, cut = judge.grade([_answered(5), _answered(4)], ignore_progress)
    assert (left.score, cut.score) == (pytest.approx(7.75, abs=0.01), pytest.approx(7.63, abs=0.01))


@pytest.mark.parametrize("refusal", [None, (400, {"error": "none here"}), (501, {})])
def test_without_probabilities_the_written_digit_is_the_grade(tmp_path: Path, refusal: Said | None) -> None:
    """Some servers return none, and others refuse the request."""

    def say(body: dict[str, Any]) -> Said:
        return refusal if refusal and "logprobs" in body else _seven(body)

    with _judge(tmp_path, say, retries=0) as (judge, _):
        (grade,) = judge.grade([_answered(1)], ignore_progress)
    assert grade.score == 7.0
    assert all(criterion.reason.endswith(AS_WRITTEN) for criterion in grade.criteria.values())


def test_requests_run_in_parallel(tmp_path: Path) -> None:
    """A batching server would be idle otherwise."""
    together = threading.Barrier(4, timeout=20)

    def say(_: dict[str, Any]) -> Said:
        together.wait()
        return completion(grade_reply())

    with _judge(tmp_path, say) as (judge, _):
        assert all(grade.score for grade in judge.grade([_answered(n) for n in range(8)], ignore_progress))


def test_a_request_has_a_schema_and_a_fixed_seed(tmp_path: Path) -> None:
    with _judge(tmp_path, _seven) as (judge, server):
        judge.grade([_answered(1)], ignore_progress)
    body = server.posts[0]
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["response_format"]["json_schema"]["schema"]["required"] == [one.name for one in CLINICAL]
    assert (body["temperature"], body["seed"], body["model"]) == (0.0, 0, MODEL)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (completion("I like it."), "JSON"),
        (completion(grade_reply(), finish="length"), "cut off"),
        ((200, {"choices": []}), "chat completion"),
        ((200, PLANTED), "chat completion"),
        ((500, {"error": {"message": PLANTED}}), r"the server failed \(HTTP 500\)"),
        ((429, {}), r"the server failed \(HTTP 429\)"),
    ],
)
def test_failed_and_unreadable_replies_are_retried_and_then_missing(tmp_path: Path, said: Said, why: str) -> None:
    """A grade of 0 would count for or against the candidate."""
    with _judge(tmp_path, lambda _: said) as (judge, server):
        (grade,) = judge.grade([_answered(1)], ignore_progress)
    assert grade.score is None
    assert re.search(why, grade.reason)
    assert PLANTED not in grade.reason
    assert len(server.posts) == 3


def test_a_retry_uses_another_seed_and_temperature(tmp_path: Path) -> None:
    """At temperature 0 the reply would be the same."""

    def say(body: dict[str, Any]) -> Said:
        return completion(grade_reply(6)) if body["temperature"] > 0 and body["seed"] == 1 else completion("garbage")

    with _judge(tmp_path, say) as (judge, server):
        (grade,) = judge.grade([_answered(1)], ignore_progress)
    assert grade.score == pytest.approx(6.0, abs=1e-9)
    assert len(server.posts) == 2


def test_an_overlong_answer_is_missing_without_a_retry(tmp_path: Path) -> None:
    """A retry would not make it shorter."""
    error = {"error": {"code": "context_length_exceeded", "message": PLANTED}}
    with _judge(tmp_path, lambda _: (400, error)) as (judge, server):
        (grade,) = judge.grade([_answered(1)], ignore_progress)
    assert grade.score is None
    assert "longer than the model's context" in grade.reason
    assert len(server.posts) == 1


def test_cached_results_cause_no_requests(tmp_path: Path) -> None:
    """A second run on unchanged answers must not use the GPU."""
    answers = [_answered(n) for n in range(5)]
    with _judge(tmp_path, _seven) as (judge, server):
        first = judge.grade(answers, ignore_progress)
    assert len(server.posts) == 5
    with _judge(tmp_path, _seven) as (judge, server):
        again = judge.grade(answers, ignore_progress)
    assert server.posts == []
    assert again == first


def test_a_further_rating_causes_requests_for_its_own_answer_only(tmp_path: Path) -> None:
    """The judge is measured again after each rating, and the repeated grades are cached too."""

    def rated(count: int) -> RatedSet:
        rows = [RatedAnswer(_answered(n), f"text {n}", {"score": float(1 + n % 10)}) for n in range(count)]
        return RatedSet("own_experts", f"set-{count}", "note", tuple(rows))

    def say(body: dict[str, Any]) -> Said:
        number = int(body["messages"][1]["content"].partition("coughs ")[2].partition(".")[0])
        return completion(grade_reply(number + 1))

    with _judge(tmp_path, say) as (judge, server):
        first, *_ = measure_agreement(judge, [rated(5)], 7.0, ignore_progress).to_pylist()
    assert (first["repeat_agreement"], len(server.posts)) == (1.0, 10)
    with _judge(tmp_path, say) as (judge, server):
        measure_agreement(judge, [rated(6)], 7.0, ignore_progress)
    assert len(server.posts) == 2


def test_missing_results_are_retried_by_the_next_run(tmp_path: Path) -> None:
    """A short outage must not leave a permanent gap."""
    with _judge(tmp_path, lambda _: (500, {}), retries=0) as (judge, _):
        assert judge.grade([_answered(1)], ignore_progress)[0].score is None
    with _judge(tmp_path, _seven) as (judge, server):
        assert judge.grade([_answered(1)], ignore_progress)[0].score == 7.0
    assert len(server.posts) == 1


def test_another_model_is_another_version_and_shares_no_cached_grade(tmp_path: Path) -> None:
    """A qualification is bound to the version."""
    with _judge(tmp_path, _seven) as (judge, _):
        version = judge.version
        judge.grade([_answered(1)], ignore_progress)
    with _judge(tmp_path, _seven) as (judge, _):
        assert judge.version == version  # the address and the start time of the server do not matter

    with (
        ChatServerOfATest(_seven, root="/models/another").running() as server,
        open_judge(judging_request(tmp_path, server.url)) as judge,
    ):
        assert judge.version != version
        judge.grade([_answered(1)], ignore_progress)
        assert len(server.posts) == 1


def test_errors_of_our_own_server_name_no_judge_setting() -> None:
    """Candidates answer through the same client, and a judge's key would be the wrong place to look."""
    with ChatServerOfATest(_seven, key="right").running() as server:
        client = ChatClient(ChatServer(server.url, "wrong", MODEL))
        question = ChatPrompt([{"role": "user", "content": "Cough?"}], 4, 0.0, seed=0)
        for request in (client.describe_model, lambda: client.complete(question)):
            with pytest.raises(ChatServerError, match="started for this run") as caught:
                request()
            assert "JUDGE" not in str(caught.value).upper()
        client.close()


def test_a_wrong_key_or_model_name_stops_the_run_with_advice(tmp_path: Path) -> None:
    """A thousand missing grades would be less helpful."""
    key = tmp_path / "key"
    key.write_text("right\n")
    key.chmod(0o600)
    with ChatServerOfATest(_seven, key="right").running() as server:
        with open_judge(judging_request(tmp_path, server.url, key_file=str(key))) as judge:
            assert judge.grade([_answered(1)], ignore_progress)[0].score == 7.0
        with (
            open_judge(judging_request(tmp_path, server.url)) as judge,
            pytest.raises(ChatServerError, match="FINE_TUNE_JUDGE_API_KEY_FILE"),
        ):
            judge.grade([_answered(2)], ignore_progress)
        with (
            open_judge(judging_request(tmp_path, server.url, key_file=str(key), model="gpt-9")) as judge,
            pytest.raises(ChatServerError, match=r"gpt-9.*judge\.model"),
        ):
            judge.grade([_answered(2)], ignore_progress)


def test_an_unreachable_server_stops_the_run(tmp_path: Path) -> None:
    with (
        open_judge(judging_request(tmp_path, "http://127.0.0.1:9/v1")) as judge,
        pytest.raises(ChatServerError, match=re.escape("127.0.0.1:9/v1")),
    ):
        judge.grade([_answered(1)], ignore_progress)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://8.8.8.8/v1",
        "http://[2606:4700::1111]/v1",
        "ftp://127.0.0.1/v1",
        "https://no-such-host.invalid/v1",
    ],
)
def test_a_judge_outside_the_network_is_refused_before_anything_is_sent(tmp_path: Path, url: str) -> None:
    """Reports must not leave the network."""
    with pytest.raises(SettingsError, match="FINE_TUNE_JUDGE_URL"), open_judge(judging_request(tmp_path, url)):
        pass


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k")
    key.chmod(0o644)
    with (
        pytest.raises(SettingsError, match="chmod 600"),
        open_judge(judging_request(tmp_path, "http://127.0.0.1:9/v1", key_file=str(key))),
    ):
        pass


def test_a_folder_without_a_model_or_without_vllm_is_refused(tmp_path: Path) -> None:
    """The error comes before hours of generation."""
    with (
        pytest.raises(RecipeError, match=r"judge\.model"),
        open_judge(judging_request(tmp_path, "", backend="folder", model=str(tmp_path / "none"))),
    ):
        pass
    folder = make_model_folder(tmp_path / "model")
    (folder / "config.json").write_text("{}")
    with (
        open_judge(judging_request(tmp_path, "", backend="folder", model=str(folder))) as judge,
        pytest.raises(EngineError, match="FINE_TUNE_VLLM_PYTHON"),
    ):
        judge.grade([_answered(1)], ignore_progress)


def test_no_text_of_a_report_is_in_a_log_or_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Servers echo requests in their errors, and many people read logs."""
    caplog.set_level(logging.DEBUG)
    echo: Say = lambda body: (422, {"detail": body})  # noqa: E731
    with _judge(tmp_path, echo) as (judge, _):
        (grade,) = judge.grade([_answered(1)], ignore_progress)
    assert grade.score is None
    assert PLANTED not in grade.reason
    assert PLANTED not in caplog.text
