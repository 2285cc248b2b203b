"""A real small model as judge, through a real llama.cpp server: as an endpoint, and started from its file."""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.engines.llama_cpp import start_llama_cpp
from fine_tune_assets.engines.running_server import CONFIG_FILE, RunningEngine, stop_engine, wait_until_healthy
from fine_tune_assets.judging.judges.grades import GradableAnswer
from fine_tune_assets.judging.judges.judge_prompts import AS_WRITTEN
from fine_tune_assets.judging.judges.judge_registry import open_judge
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets_tests.clinical_domain import CHECKS
from fine_tune_assets_tests.serving.tiny_releases import tiny_gguf

pytestmark = pytest.mark.slow
PLANTED = "Zyxwvutquark"
ANSWERED = GradableAnswer(
    "a-1",
    "note",
    "Name the chief complaint.",
    f"Doctor: What brings you in? {PLANTED}: A cough, for three weeks.",
    "Cough for three weeks.",
    "Cough",
)


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
        "kind": "rubric",
        "rubric": [vars(one) for one in read_rubric("general", "clinical")],
        "checks": CHECKS,
        "verifier": "",
        "labels": {},
        "backend": "folder",
        "model": str(tiny_gguf()),
        "concurrency": 2,
        "retries": 1,
        "pause_seconds": 0.1,
        "template_kwargs": {},
        "context_tokens": 2048,
        "url": "",
        "key_file": "",
        "vllm_python": "",
        "threads": 1,
        "llama_server": "",
        "cache": str(folder / "cache" / "kept.sqlite"),
        "weights": str(folder / "weights"),
        "run_folder": str(folder / "run"),
        **changes,
    }


def test_a_small_models_grade_follows_the_rubric(
    engine: RunningEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A 135M model can't judge, but the schema constrains its reply to digits with reasons."""
    caplog.set_level(logging.DEBUG)
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(engine.api_key)
    request = _request(tmp_path, backend="endpoint", model="judge", url=engine.url, key_file=str(key))
    with open_judge(request) as judge:
        (grade,) = judge.grade([ANSWERED], ignore_progress)
    assert grade.score is not None, grade.reason
    assert list(grade.criteria) == [one.name for one in read_rubric("general", "clinical")]
    assert all(1 <= criterion.score <= 10 for criterion in grade.criteria.values())
    assert PLANTED not in caplog.text + engine.log.read_text() + grade.reason


def test_a_small_model_tells_answers_apart_for_which_it_writes_the_same_digits(tmp_path: Path) -> None:
    """It writes 0 for every criterion of both."""
    answers = [ANSWERED, replace(ANSWERED, id="a-2", output="Headache.")]
    with open_judge(_request(tmp_path)) as judge:
        one, other = judge.grade(answers, ignore_progress)
    criteria = [*one.criteria.values(), *other.criteria.values()]
    assert not any(criterion.score.is_integer() or AS_WRITTEN in criterion.reason for criterion in criteria)
    assert one.score != other.score


def test_a_model_file_is_served_only_while_judging(tmp_path: Path) -> None:
    """Cached results start no server."""
    with open_judge(_request(tmp_path)) as judge:
        version = judge.version
        assert not list((tmp_path / "run").glob("*"))  # the version is known before anything runs
        (first,) = judge.grade([ANSWERED], ignore_progress)
        (running,) = (tmp_path / "run").iterdir()
        assert (running / "process.json").is_file()
        served = json.loads((running / CONFIG_FILE).read_text())
        assert served["n-gpu-layers"] == -1  # ignored without a GPU, as here
    assert not running.exists()
    with open_judge(_request(tmp_path)) as judge:
        assert judge.grade([ANSWERED], ignore_progress) == [first]
        assert judge.version == version
        assert not list((tmp_path / "run").glob("*"))


def test_a_small_model_that_does_not_tell_its_controls_apart_grades_nothing(tmp_path: Path) -> None:
    """It gives a probability for each question, but about the same for true and false statements."""
    with open_judge(_request(tmp_path, kind="statements")) as judge:
        (grade,) = judge.grade([ANSWERED], ignore_progress)
    assert grade.score is None
    assert re.search(r"differ by -?0\.0\d", grade.reason), grade.reason


def test_another_context_or_another_file_is_another_judge(tmp_path: Path) -> None:
    """A qualification applies to the measured judge only."""
    other = tmp_path / "other.gguf"
    other.write_bytes(b"other weights")
    versions = set()
    for changes in ({}, {"context_tokens": 1024}, {"model": str(other)}):
        with open_judge(_request(tmp_path, **changes)) as judge:
            versions.add(judge.version)
    assert len(versions) == 3
