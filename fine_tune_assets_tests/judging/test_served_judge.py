"""A real model judges through a real llama.cpp server: as an endpoint, and served from its file for the time of judging."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import silent
from fine_tune_assets.engines.llama_cpp import start_llama_cpp
from fine_tune_assets.engines.running_server import CONFIG, RunningEngine, stop_engine, wait_until_healthy
from fine_tune_assets.judging.judges.grades import CRITERIA, Answered, AskedExample, Pair
from fine_tune_assets.judging.judges.registry import judge_of
from fine_tune_assets.tables.columns_in_common import Message
from fine_tune_assets_tests.serving.tiny import tiny_gguf

pytestmark = pytest.mark.slow
PLANTED = "Zyxwvutquark"
ANSWERED = Answered(
    "a-1",
    "note",
    "Name the chief complaint.",
    f"Doctor: What brings you in? {PLANTED}: A cough, for three weeks.",
    "Cough for three weeks.",
    "Cough",
)
PAIR = Pair("p-1", "note", ANSWERED.instruction, ANSWERED.input, ANSWERED.output, "Headache.", None)
EXAMPLES = [
    AskedExample(
        example_id=f"e-{weeks}",
        patient_key=f"p-{weeks}",
        task="note",
        messages=(
            Message(role="user", content=f"Name the chief complaint.\n\nA cough, for {weeks} weeks."),
            Message(role="assistant", content=f"Cough for {weeks} weeks."),
        ),
    )
    for weeks in ("two", "three")
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    started = start_llama_cpp(
        tiny_gguf(),
        "judge",
        tmp_path_factory.mktemp("engine"),
        threads=1,
        die_with_parent=True,
        parallel=2,
        context_tokens=2048,
    )
    wait_until_healthy(started, timeout_seconds=60)
    yield started
    stop_engine(started, grace_seconds=5)


def _request(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "folder",
        "model": str(tiny_gguf()),
        "concurrency": 2,
        "retries": 1,
        "pause_seconds": 0.1,
        "context_tokens": 2048,
        "url": "",
        "key_file": "",
        "vllm_python": "",
        "threads": 1,
        "llama_server": "",
        "cache": str(folder / "cache" / "kept.sqlite"),
        "run_folder": str(folder / "run"),
        **changes,
    }


def test_a_small_models_grade_has_the_form_of_the_rubric(
    engine: RunningEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """135M parameters can't judge, but the schema holds their reply: a grade of whole numbers with its reasons."""
    caplog.set_level(logging.DEBUG)
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(engine.api_key)
    request = _request(tmp_path, kind="endpoint", model="judge", url=engine.url, key_file=str(key))
    with judge_of(request) as judge:
        (grade,) = judge.grade([ANSWERED], silent)
        (found,) = judge.compare([PAIR], silent)
    assert grade.score is not None, grade.reason
    assert tuple(grade.criteria) == CRITERIA
    assert all(criterion.score in range(1, 11) for criterion in grade.criteria.values())
    assert found.probability is not None, found.reason
    assert PLANTED not in caplog.text + engine.log.read_text() + grade.reason + found.reason


def test_exchanging_two_answers_exchanges_their_probabilities(engine: RunningEngine, tmp_path: Path) -> None:
    """The same two answers exchanged: what is about the answers changes sides, and the two probabilities sum to one."""
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(engine.api_key)
    request = _request(tmp_path, kind="endpoint", model="judge", url=engine.url, key_file=str(key))
    exchanged = Pair(**{**vars(PAIR), "output_1": PAIR.output_2, "output_2": PAIR.output_1})
    with judge_of(request) as judge:
        one, other = judge.compare([PAIR, exchanged], silent)
    assert one.probability is not None
    assert other.probability is not None
    assert one.probability + other.probability == pytest.approx(1.0, abs=0.02)
    assert one.is_consistent == other.is_consistent


def test_a_small_model_compares_candidate_and_incumbent_on_every_example(tmp_path: Path) -> None:
    """As the judging step asks it: both orders, one preference an example."""
    from fine_tune_assets.engines.transformers_models import Answer
    from fine_tune_assets.judging.contestants.comparison import Answering, Contestant, compare_answers

    def saying(role: str, text: str) -> list[Answering]:
        contestant = Contestant(role, role, lambda _: [])
        return [Answering(contestant, example, Answer(text, True)) for example in EXAMPLES]

    answers = [*saying("base", "Headache."), *saying("adapter", "Cough for three weeks.")]
    with judge_of(_request(tmp_path)) as judge:
        found = compare_answers(answers, judge, "base", silent)
    assert list(found) == [example.example_id for example in EXAMPLES]
    assert all(0 < (preference.probability or 0) < 1 for preference in found.values())
    assert all(preference.is_consistent is not None for preference in found.values())


def test_a_model_file_is_served_for_the_time_of_judging_only(tmp_path: Path) -> None:
    """What is kept needs no server at all: the second time nothing is started."""
    with judge_of(_request(tmp_path)) as judge:
        version = judge.version
        assert not list((tmp_path / "run").glob("*"))  # the version is known before anything runs
        (first,) = judge.compare([PAIR], silent)
        (running,) = (tmp_path / "run").iterdir()
        assert (running / "process.json").is_file()
        served = json.loads((running / CONFIG).read_text())
        assert served["n-gpu-layers"] == -1  # a GPU is many times faster; without one, as here, it is ignored
    assert not running.exists()
    with judge_of(_request(tmp_path)) as judge:
        assert judge.compare([PAIR], silent) == [first]
        assert judge.version == version
        assert not list((tmp_path / "run").glob("*"))


def test_another_context_or_another_file_is_another_judge(tmp_path: Path) -> None:
    """A licence is for what was measured."""
    other = tmp_path / "other.gguf"
    other.write_bytes(b"other weights")
    versions = set()
    for changes in ({}, {"context_tokens": 1024}, {"model": str(other)}):
        with judge_of(_request(tmp_path, **changes)) as judge:
            versions.add(judge.version)
    assert len(versions) == 3
