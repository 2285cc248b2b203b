"""What the stages left out is listed with its count, its reason and the setting or command that would keep it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.lineage.left_out import (
    LATER_KINDS,
    LeftOut,
    LeftOutCache,
    LeftOutCounts,
    count_left_out,
    find_left_out,
    list_left_out,
)
from fine_tune_assets.tables.asset_tables import RECORDS
from fine_tune_assets.tables.record_classes import Record, table_from_records
from fine_tune_assets.tables.training_rows import TooLongExamples
from fine_tune_assets_tests.record_factory import made


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def store(layout: Layout, name: str, *rows: dict[str, Any], partition: str | None = None) -> None:
    """Rows in which only the given columns matter."""
    record = RECORDS[name]
    write_table(layout.table(name, partition), table_from_records(record, [_fill(record, row) for row in rows]))


def _fill(record: type[Record], row: dict[str, Any]) -> Record:
    return replace(made(record), **row)


def length(example_id: str, tokens: int | None, *, fits: bool, split: str = "train") -> dict[str, Any]:
    return {"example_id": example_id, "split": split, "tokens": tokens, "fits": fits}


def by_kind(found: list[LeftOut]) -> dict[str, LeftOut]:
    return {one.kind: one for one in found}


def test_an_empty_installation_left_nothing_out(layout: Layout) -> None:
    assert find_left_out(layout) == []


def test_nothing_is_listed_if_every_row_was_used(layout: Layout) -> None:
    store(layout, "unique_reports", {"report_id": "a"})
    store(layout, "drafted_examples", {"report_id": "a"})
    store(layout, "example_lengths", length("e1", 9, fits=True))
    store(layout, "instruction_sets", {"split": "test", "example_id": "t1"})
    store(layout, "judge_scores", {"example_id": "t1", "score": 7.0})
    assert find_left_out(layout) == []


def test_dropped_and_cut_drafts_of_a_model_are_counted_by_reason(layout: Layout) -> None:
    """A draft that was dropped does not count as cut, too."""
    rows = [("repeated words", False), ("repeated words", True), ("no answer", True), (None, False), (None, True)]
    store(layout, "model_drafts", *({"dropped": dropped, "is_finished": finished} for dropped, finished in rows))
    found = by_kind(find_left_out(layout))
    assert (found["dropped_drafts"].count, found["cut_drafts"].count) == (3, 1)
    assert "3 of 5 drafts" in found["dropped_drafts"].text
    assert "repeated words (2), no answer (1)" in found["dropped_drafts"].text
    assert "max_new_tokens" in found["cut_drafts"].remedy


@pytest.mark.parametrize(("policy", "words"), [("exclude", "not trained on"), ("refuse", "no training starts")])
def test_examples_that_are_too_long_come_with_the_length_that_keeps_all(
    layout: Layout, policy: str, words: str
) -> None:
    """Test examples are not trained on, and a faulty example has no length."""
    lengths = [length("e1", 90, fits=True), length("e2", 412, fits=False), length("e3", None, fits=False)]
    store(layout, "example_lengths", *lengths, length("t1", 999, fits=False, split="test"))
    store(layout, "training_preflights", {"too_long_policy": policy})
    (found,) = find_left_out(layout)
    assert found.text.startswith("1 of 2 examples is longer than `training.max_length`")
    assert words in found.text
    assert "`training.max_length: 412`" in found.remedy


def test_test_examples_beyond_the_limit_of_the_judge_are_listed(layout: Layout) -> None:
    tests = [{"split": "test", "example_id": f"t{n}"} for n in range(3)]
    store(layout, "instruction_sets", *tests, {"split": "train", "example_id": "e1"})
    assert find_left_out(layout) == []  # not judged yet
    store(layout, "judge_scores", {"example_id": "t0", "score": 7.0}, {"example_id": "t1", "score": None})
    found = by_kind(find_left_out(layout))
    assert (found["untested"].count, found["ungraded"].count) == (1, 1)
    assert "`judge.test_examples: 3`" in found["untested"].remedy


def test_grades_of_an_earlier_set_say_nothing_about_the_newest(layout: Layout) -> None:
    store(layout, "instruction_sets", {"split": "test", "example_id": "t9"})
    store(layout, "judge_scores", {"example_id": "t0", "score": 7.0})
    assert count_left_out(layout).untested == 0


def test_the_kinds_follow_the_order_of_the_stages() -> None:
    counts = LeftOutCounts(
        dropped_drafts={"no answer": 1}, cut_drafts=1, too_long=TooLongExamples(1, 1, 9), untested=1, ungraded=1,
    )  # fmt: skip
    kinds = [one.kind for one in list_left_out(counts)]
    assert kinds == list(LATER_KINDS)
    assert all(one.remedy for one in list_left_out(counts))


def test_the_cache_follows_a_table_that_is_replaced(layout: Layout) -> None:
    cache = LeftOutCache(layout)
    assert cache.latest() == []
    store(layout, "model_drafts", {"dropped": "no answer"})
    assert [one.count for one in cache.latest()] == [1]
    assert cache.latest() is cache.latest()
    store(layout, "model_drafts", {"dropped": "no answer"}, {"dropped": "no answer"})
    assert [one.count for one in cache.latest()] == [2]
