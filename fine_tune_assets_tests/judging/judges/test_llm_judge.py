"""A language model as judge, against a real server on loopback that says what a test wants: failures, costs, orders."""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import RecipeError, SettingsError
from fine_tune_assets.core.progress import silent
from fine_tune_assets.engines.chat_client import ChatClient, ChatServer, ChatServerError, Question
from fine_tune_assets.engines.running_server import EngineError
from fine_tune_assets.judging.judges.agreement import measure_agreement
from fine_tune_assets.judging.judges.grades import CRITERIA, Answered, Judge, Pair
from fine_tune_assets.judging.judges.labelled_sets import Rated, RatedSet
from fine_tune_assets.judging.judges.llm_judge import SAMPLES
from fine_tune_assets.judging.judges.registry import judge_of
from fine_tune_assets_tests.judging.chat_server import MODEL, ChatServerOfATest, Said, completion, grade_reply

PLANTED = "Zyxwvutquark"
Say = Callable[[dict[str, Any]], Said]


def _answered(number: int) -> Answered:
    return Answered(f"a-{number}", "note", "Summarise.", f"{PLANTED} coughs {number}.", f"Cough {number}.", None)


def _pair(first: str, second: str) -> Pair:
    return Pair("p-1", "note", "Summarise.", f"{PLANTED} coughs.", first, second, None)


def _request(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "endpoint",
        "model": MODEL,
        "concurrency": 4,
        "retries": 2,
        "context_tokens": 2048,
        "url": url,
        "key_file": "",
        "vllm_python": str(folder / "none" / "python"),
        "threads": 1,
        "llama_server": "",
        "cache": str(folder / "cache" / "kept.sqlite"),
        "run_folder": str(folder / "run"),
        "pause_seconds": 0.01,
        **changes,
    }


@contextmanager
def _judge(folder: Path, say: Say, **changes: Any) -> Iterator[tuple[Judge, ChatServerOfATest]]:
    with ChatServerOfATest(say).running() as server, judge_of(_request(folder, server.url, **changes)) as judge:
        yield judge, server


def _seven(_: dict[str, Any]) -> Said:
    return completion(grade_reply(7))


def test_grades_come_in_the_order_of_the_answers(tmp_path: Path) -> None:
    """Questions are out at once, and the last may come back first."""

    def say(body: dict[str, Any]) -> Said:
        number = int(body["messages"][1]["content"].partition("coughs ")[2].partition(".")[0])
        return completion(grade_reply(number + 1))

    with _judge(tmp_path, say) as (judge, server):
        grades = judge.grade([_answered(n) for n in range(9)], silent)
    assert [grade.score for grade in grades] == pytest.approx([n + 1 for n in range(9)], abs=1e-9)
    assert len(server.posts) == 9


def test_several_questions_are_out_at_once(tmp_path: Path) -> None:
    """A server that batches would otherwise wait for us."""
    together = threading.Barrier(4, timeout=20)

    def say(_: dict[str, Any]) -> Said:
        together.wait()
        return completion(grade_reply())

    with _judge(tmp_path, say) as (judge, _):
        assert all(grade.score for grade in judge.grade([_answered(n) for n in range(8)], silent))


def test_the_reply_is_constrained_by_a_schema_and_repeatable(tmp_path: Path) -> None:
    with _judge(tmp_path, _seven) as (judge, server):
        judge.grade([_answered(1)], silent)
    body = server.posts[0]
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["response_format"]["json_schema"]["schema"]["required"] == list(CRITERIA)
    assert (body["temperature"], body["seed"], body["model"]) == (0.0, 0, MODEL)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (completion("I like it."), "the reply is no JSON"),
        (completion(grade_reply(), finish="length"), "the reply was cut off"),
        ((200, {"choices": []}), "the reply is no chat completion"),
        ((200, PLANTED), "the reply is no chat completion"),
        ((500, {"error": {"message": PLANTED}}), r"the server failed \(HTTP 500\)"),
        ((429, {}), r"the server failed \(HTTP 429\)"),
    ],
)
def test_what_fails_or_cant_be_read_is_asked_again_and_then_missing(tmp_path: Path, said: Said, why: str) -> None:
    """Missing with a reason, never 0: a zero would count against the candidate, or for it."""
    with _judge(tmp_path, lambda _: said) as (judge, server):
        (grade,) = judge.grade([_answered(1)], silent)
    assert grade.score is None
    assert re.search(why, grade.reason)
    assert PLANTED not in grade.reason
    assert len(server.posts) == 3


def test_a_second_try_is_another_question_and_its_grade_counts(tmp_path: Path) -> None:
    """At temperature 0 the same question gives the same unreadable reply."""

    def say(body: dict[str, Any]) -> Said:
        return completion(grade_reply(6)) if body["temperature"] > 0 and body["seed"] == 1 else completion("garbage")

    with _judge(tmp_path, say) as (judge, server):
        (grade,) = judge.grade([_answered(1)], silent)
    assert grade.score == pytest.approx(6.0, abs=1e-9)
    assert len(server.posts) == 2


def test_what_does_not_fit_into_the_judges_context_is_missing_at_once(tmp_path: Path) -> None:
    """Asking the same again would not make it shorter."""
    error = {"error": {"code": "context_length_exceeded", "message": PLANTED}}
    with _judge(tmp_path, lambda _: (400, error)) as (judge, server):
        (grade,) = judge.grade([_answered(1)], silent)
    assert grade.score is None
    assert "longer than the model's context" in grade.reason
    assert len(server.posts) == 1


def test_the_same_again_costs_nothing(tmp_path: Path) -> None:
    """A judge run a second time on what did not change must not take the GPU again."""
    answers = [_answered(n) for n in range(5)]
    pairs = [_pair("one", "two")]
    tokens = {"A": -0.1, "B": -2.5}

    def say(body: dict[str, Any]) -> Said:
        return completion("A", tokens) if "logprobs" in body else completion(grade_reply())

    with _judge(tmp_path, say) as (judge, server):
        first = judge.grade(answers, silent), judge.compare(pairs, silent)
    assert len(server.posts) == 7
    with _judge(tmp_path, say) as (judge, server):
        again = judge.grade(answers, silent), judge.compare(pairs, silent)
    assert server.posts == []
    assert again == first


def test_a_further_rating_costs_its_own_answer_twice_and_no_other(tmp_path: Path) -> None:
    """The judge is measured anew with each expert's rating; the second grades, which show how repeatable it is, are kept too."""

    def rated(count: int) -> RatedSet:
        rows = [Rated(_answered(n), f"text {n}", {"score": float(1 + n % 10)}) for n in range(count)]
        return RatedSet("own_experts", f"set-{count}", "note", tuple(rows))

    def say(body: dict[str, Any]) -> Said:
        number = int(body["messages"][1]["content"].partition("coughs ")[2].partition(".")[0])
        return completion(grade_reply(number + 1))

    with _judge(tmp_path, say) as (judge, server):
        (first,) = measure_agreement(judge, [rated(5)], 7.0, silent).to_pylist()
    assert (first["repeated_equal"], len(server.posts)) == (1.0, 10)
    with _judge(tmp_path, say) as (judge, server):
        measure_agreement(judge, [rated(6)], 7.0, silent)
    assert len(server.posts) == 2


def test_what_was_missing_is_asked_again_by_the_next_run(tmp_path: Path) -> None:
    """A server that was down for a minute must not leave a hole for ever."""
    with _judge(tmp_path, lambda _: (500, {}), retries=0) as (judge, _):
        assert judge.grade([_answered(1)], silent)[0].score is None
    with _judge(tmp_path, _seven) as (judge, server):
        assert judge.grade([_answered(1)], silent)[0].score == 7.0
    assert len(server.posts) == 1


def test_another_model_is_another_version_and_keeps_no_grade_of_the_first(tmp_path: Path) -> None:
    """A licence is bound to the version."""
    with _judge(tmp_path, _seven) as (judge, _):
        version = judge.version
        judge.grade([_answered(1)], silent)
    with _judge(tmp_path, _seven) as (judge, _):
        assert judge.version == version  # another address and another start of the server are the same judge

    with (
        ChatServerOfATest(_seven, root="/models/another").running() as server,
        judge_of(_request(tmp_path, server.url)) as judge,
    ):
        assert judge.version != version
        judge.grade([_answered(1)], silent)
        assert len(server.posts) == 1


def test_both_orders_are_asked_and_what_they_agree_on_is_preferred(tmp_path: Path) -> None:
    """This one knows the better answer, and likes the first place besides."""

    def say(body: dict[str, Any]) -> Said:
        content = body["messages"][1]["content"]
        is_better_first = content.index("Cough, three weeks.") < content.index("Unclear.")
        return completion("A", {"A": 0.0, "B": -3.0} if is_better_first else {"A": -0.5, "B": 0.0})

    with _judge(tmp_path, say) as (judge, server):
        one, other = judge.compare(
            [_pair("Cough, three weeks.", "Unclear."), _pair("Unclear.", "Cough, three weeks.")], silent
        )
    assert (one.preferred, other.preferred) == (1, 2)
    assert one.is_consistent
    assert one.probability == pytest.approx(1 - (other.probability or 0), abs=1e-9)
    assert len(server.posts) == 4


def test_a_judge_that_says_a_to_everything_prefers_nothing(tmp_path: Path) -> None:
    with _judge(tmp_path, lambda _: completion("A", {"A": -0.01, "B": -5.0})) as (judge, _):
        (found,) = judge.compare([_pair("one", "two")], silent)
    assert (found.preferred, found.is_consistent) == (0, False)
    assert found.probability == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize(
    "refusal",
    [completion("A"), (400, {"error": "none here"})],
)
def test_without_probabilities_letters_are_drawn_in_both_orders(tmp_path: Path, refusal: Said) -> None:
    """Some servers tell none: what is drawn says less, and never `certainly`."""

    def say(body: dict[str, Any]) -> Said:
        if "logprobs" in body:
            return refusal
        content = body["messages"][1]["content"]
        return completion('{"better": "A"}' if content.index("good") < content.index("bad") else '{"better": "B"}')

    with _judge(tmp_path, say) as (judge, server):
        (found,) = judge.compare([_pair("good", "bad")], silent)
    assert found.preferred == 1
    assert found.is_consistent
    assert found.probability is not None
    assert 0.9 < found.probability < 0.95
    drawn = [body for body in server.posts if "logprobs" not in body]
    assert len(drawn) == 2 * SAMPLES
    assert len({body["seed"] for body in drawn}) == SAMPLES


def test_an_order_without_an_answer_is_no_preference(tmp_path: Path) -> None:
    with _judge(tmp_path, lambda _: completion("Well", {"Well": -0.1, "So": -3.0})) as (judge, _):
        (found,) = judge.compare([_pair("one", "two")], silent)
    assert (found.probability, found.preferred) == (None, 0)


def test_a_server_that_we_started_names_no_setting_of_the_judge() -> None:
    """Candidates answer through the same client: nobody should look for a judge's key then."""
    with ChatServerOfATest(_seven, key="right").running() as server:
        client = ChatClient(ChatServer(server.url, "wrong", MODEL))
        question = Question([{"role": "user", "content": "Cough?"}], 4, 0.0, seed=0)
        for asked in (client.describe_model, lambda: client.ask(question)):
            with pytest.raises(ChatServerError, match="started for this run") as caught:
                asked()
            assert "JUDGE" not in str(caught.value).upper()
        client.close()


def test_a_wrong_key_and_a_wrong_name_end_everything_with_what_to_do(tmp_path: Path) -> None:
    """A thousand missing grades would say less."""
    key = tmp_path / "key"
    key.write_text("right\n")
    key.chmod(0o600)
    with ChatServerOfATest(_seven, key="right").running() as server:
        with judge_of(_request(tmp_path, server.url, key_file=str(key))) as judge:
            assert judge.grade([_answered(1)], silent)[0].score == 7.0
        with (
            judge_of(_request(tmp_path, server.url)) as judge,
            pytest.raises(ChatServerError, match="FINE_TUNE_JUDGE_KEY_FILE"),
        ):
            judge.grade([_answered(2)], silent)
        with (
            judge_of(_request(tmp_path, server.url, key_file=str(key), model="gpt-9")) as judge,
            pytest.raises(ChatServerError, match=r"has no model gpt-9.*judge\.model"),
        ):
            judge.grade([_answered(2)], silent)


def test_a_server_that_is_down_says_so(tmp_path: Path) -> None:
    with (
        judge_of(_request(tmp_path, "http://127.0.0.1:9/v1")) as judge,
        pytest.raises(ChatServerError, match="Is it started"),
    ):
        judge.grade([_answered(1)], silent)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "FINE_TUNE_JUDGE_URL"),
        ("https://8.8.8.8/v1", "reports would leave the network"),
        ("http://[2606:4700::1111]/v1", "reports would leave the network"),
        ("ftp://127.0.0.1/v1", "must begin with http"),
        ("https://no-such-host.invalid/v1", "has no address"),
    ],
)
def test_a_judge_outside_of_the_network_is_refused_before_anything_is_sent(tmp_path: Path, url: str, said: str) -> None:
    """Nothing leaves the building: not by a judge either."""
    with pytest.raises(SettingsError, match=said), judge_of(_request(tmp_path, url)):
        pass


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k")
    key.chmod(0o644)
    with (
        pytest.raises(SettingsError, match="chmod 600"),
        judge_of(_request(tmp_path, "http://127.0.0.1:9/v1", key_file=str(key))),
    ):
        pass


def test_a_folder_without_a_model_or_without_vllm_is_refused(tmp_path: Path) -> None:
    """What to install is said before hours of answers are lost."""
    with (
        pytest.raises(RecipeError, match=r"neither a \.gguf file nor"),
        judge_of(_request(tmp_path, "", kind="folder", model=str(tmp_path / "none"))),
    ):
        pass
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with (
        judge_of(_request(tmp_path, "", kind="folder", model=str(folder))) as judge,
        pytest.raises(EngineError, match="FINE_TUNE_VLLM_PYTHON"),
    ):
        judge.grade([_answered(1)], silent)


def test_no_word_of_a_report_is_in_a_log_or_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Servers repeat what they were asked in their errors; logs are read by many."""
    caplog.set_level(logging.DEBUG)
    echo: Say = lambda body: (422, {"detail": body})  # noqa: E731
    with _judge(tmp_path, echo) as (judge, _):
        (grade,) = judge.grade([_answered(1)], silent)
        (found,) = judge.compare([_pair(PLANTED, "other")], silent)
    assert grade.score is None
    assert found.probability is None
    assert PLANTED not in grade.reason + found.reason
    assert PLANTED not in caplog.text
