"""A short, repeatable part of `make fuzz`, and that it notices what it is for."""

import time
from pathlib import Path

import pytest

from fine_tune_assets_tests.fuzz.fuzzer import SlowCaseError, Target, fuzz
from fine_tune_assets_tests.fuzz.targets import TARGETS, open_target

MAX_BYTES = {"scrubber": 80}
"""Short inputs where a long one takes seconds. `make fuzz` uses long ones."""
ROUNDS = 1


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_makes_a_target_fail(tmp_path: Path, name: str) -> None:
    with open_target(name) as target:
        result = fuzz(target, tmp_path, range(ROUNDS), MAX_BYTES.get(name, 20_000))
    assert result.failures == {}
    assert len(result.outcomes) > 1


def _fragile(content: bytes) -> str:
    if b"-1" in content:
        raise OverflowError
    return str(len(content) % 50)


def test_a_failing_input_is_saved_and_new_outcomes_join_the_corpus(tmp_path: Path) -> None:
    first = fuzz(Target("gateway", _fragile), tmp_path, [])
    (path,) = first.failures.values()
    assert b"-1" in path.read_bytes()
    again = fuzz(Target("gateway", _fragile), tmp_path, [1])
    assert again.cases > first.cases + 100
    assert len(list((tmp_path / "corpus" / "gateway").iterdir())) > len(first.outcomes)


def test_a_slow_input_is_a_failure(tmp_path: Path) -> None:
    def burn(_content: bytes) -> str:
        while True:
            time.process_time()

    result = fuzz(Target("signatures", burn), tmp_path, [], case_seconds=0.05)
    assert set(result.failures) == {SlowCaseError.__name__}
