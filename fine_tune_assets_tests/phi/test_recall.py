"""The measure that the gate rests on: it must count a half-removed identifier as a leak."""

import json
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.tables import SCRUB_RECALL, check_table
from fine_tune_assets.phi.recall import (
    GoldFileError,
    is_masked,
    measure_recall,
    overall_recall,
    read_gold,
    wilson_interval,
)
from fine_tune_assets.phi.scrubbing import Scrubber
from fine_tune_assets.phi.spans import Span
from fine_tune_assets.recipes.schema import ScrubSettings

GOLD = PROJECT_DIR / "data" / "evaluation" / "phi" / "asq_phi.jsonl"


def test_recall_on_the_shipped_set_is_what_was_measured(scrubber: Scrubber, settings: ScrubSettings) -> None:
    """A new rule or library must not lose what was removed before. Measured with en_core_web_sm 3.8: 0.968 of 404."""
    table = measure_recall([GOLD], scrubber, silent)
    check_table(table, SCRUB_RECALL)
    (whole,) = [row for row in table.to_pylist() if row["label"] == "all"]
    assert whole["gold"] == 404
    assert whole["recall"] == pytest.approx(0.968, abs=0.02)
    assert whole["low"] < whole["recall"] < whole["high"]
    assert whole["recall"] > settings.recall_floor
    assert overall_recall(table) == whole["recall"]


def test_texts_without_identifiers_are_left_alone(scrubber: Scrubber) -> None:
    """37 hard negatives: masking everything would reach full recall and leave nothing to train on."""
    clean = [document["text"] for document in read_gold(GOLD) if not document["spans"]]
    masked = sum(bool(result.spans) for result in scrubber.scrub_all([(text, ()) for text in clean]))
    assert len(clean) == 37
    assert masked <= 3


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(0, 12)], True),
        ([(0, 4), (5, 12)], True),
        ([(0, 4)], False),
        ([(0, 11)], False),
        ([], False),
    ],
)
def test_an_identifier_counts_only_when_every_character_is_gone(spans: list[tuple[int, int]], expected: bool) -> None:
    """Half a name in the training data is a leak."""
    found = [Span(start, end, "DATE", "r", 1.0) for start, end in spans]
    assert is_masked("Anna Collins", 0, 12, found) is expected


def test_the_interval_is_right_at_the_ends() -> None:
    """Values from Wilson's formula: 10 of 10 leaves room for a recall of 0.72."""
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_the_worst_set_decides(scrubber: Scrubber, tmp_path: Path) -> None:
    """An average would let a good set hide a bad one."""
    text = "qqq www"
    bad = {"id": "1", "text": text, "spans": [{"start": 0, "end": 3, "label": "NAME"}]}
    (tmp_path / "bad.jsonl").write_text(json.dumps(bad))
    good = {"id": "1", "text": "On 03/14/2024.", "spans": [{"start": 3, "end": 13, "label": "DATE"}]}
    (tmp_path / "good.jsonl").write_text(json.dumps(good))
    table = measure_recall([tmp_path / "good.jsonl", tmp_path / "bad.jsonl"], scrubber, silent)
    assert overall_recall(table) == 0.0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "not json",
        '{"text": "a", "spans": []}',
        '{"text": "a", "spans": [{"start": 0, "end": 9, "label": "X"}]}',
    ],
)
def test_a_set_that_measures_nothing_is_refused(tmp_path: Path, content: str) -> None:
    """A recall of 0 of 0 must not open the gate."""
    path = tmp_path / "gold.jsonl"
    path.write_text(content)
    with pytest.raises(GoldFileError):
        read_gold(path)


def test_no_labelled_set_at_all_is_refused(scrubber: Scrubber) -> None:
    """A figure that is missing is missing, never 1."""
    with pytest.raises(GoldFileError):
        measure_recall([], scrubber, silent)
