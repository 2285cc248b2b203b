"""The order of the tests: expensive files run first, and files that share an expensive fixture run on one worker."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from fine_tune_assets_tests import schedule
from fine_tune_assets_tests.schedule import DURATIONS, pytest_ignore_collect, sort_by_duration, unit_of

PACKAGE = "fine_tune_assets_tests"
BUDGET_SECONDS = 600
"""Processor seconds. Two idle cores then need about seven and a half minutes, with collection and the PostgreSQL servers."""


@dataclass
class Item:
    """The attributes of a pytest item that determine its position."""

    nodeid: str


def test_the_longest_unit_runs_first_and_its_files_stay_together() -> None:
    """A long file at the end leaves the other worker idle; a model imported by two workers costs twice."""
    names = ["core/test_a.py::a", "desk/test_b.py::b", "phi/test_c.py::c", "desk/test_b.py::d", "phi/test_e.py::e"]
    items = [Item(name) for name in names]
    sort_by_duration(items, {"desk/test_b.py": 5, "phi/test_c.py": 4, "phi/test_e.py": 3})  # type: ignore[arg-type]
    assert [item.nodeid[-1] for item in items] == ["c", "e", "b", "d", "a"]


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("merging/test_merge.py::test_a[x]", "real model"),
        ("phi/tagger/test_synthetic.py::test_a", "scrubber"),
        ("end_to_end/test_air_gap.py::test_a", "whole graph"),
        ("core/test_files.py::test_a[x::y]", f"{PACKAGE}/core/test_files.py"),
    ],
)
def test_files_that_share_an_expensive_fixture_are_one_unit(nodeid: str, unit: str) -> None:
    assert unit_of(f"{PACKAGE}/{nodeid}") == unit


def test_sorting_runs_after_the_marker_expression() -> None:
    """Earlier, fast and slow tests are mixed, and slow ones would be sorted by the durations of the fast ones in their files."""
    options: dict[str, object] = schedule.pytest_collection_modifyitems.pytest_impl  # type: ignore[attr-defined]
    assert options["trylast"]


def test_the_tests_stay_within_their_budget() -> None:
    """A change that exceeds the budget must first speed up other tests. `make test-durations` measures again."""
    assert sum(json.loads(DURATIONS.read_text(encoding="utf-8"))["test"].values()) <= BUDGET_SECONDS


@dataclass(frozen=True)
class Config:
    """What the hook asks for."""

    expression: str

    def getoption(self, name: str) -> str:
        assert name == "markexpr"
        return self.expression


@pytest.mark.parametrize(
    ("expression", "text", "is_ignored"),
    [
        ("slow and not long", "pytestmark = [pytest.mark.slow]", False),
        ("slow and not long", "def test_x(): ...", True),
        ("long and not gpu", "@pytest.mark.slow", True),
        ("not slow and not gpu", "def test_x(): ...", False),
        ("", "def test_x(): ...", False),
    ],
)
def test_only_files_without_a_wanted_test_are_not_read(
    tmp_path: Path, expression: str, text: str, is_ignored: bool
) -> None:
    """A file that is left out by mistake would never run."""
    file = tmp_path / "test_one.py"
    file.write_text(text, encoding="utf-8")
    assert bool(pytest_ignore_collect(file, Config(expression))) is is_ignored  # type: ignore[arg-type]
