"""The recall that the gate uses: which labelled sets count, and which are rejected."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.phi.measurement.recall import (
    ALL,
    DIRECT,
    MASKED_RECALL,
    GoldFileError,
    lowest_recall,
    measure_recall,
    read_gold,
)
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.phi.scrub_workers import ScrubWorkers, open_workers
from fine_tune_assets.phi.scrubber import Scrubber
from fine_tune_assets.recipes.schema import ScrubberSettings
from fine_tune_assets.tables.record_classes import check_table, table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall

LABELLED = sorted((PROJECT_DIR / "data" / "evaluation" / "phi").glob("*.jsonl"))
VERSION = "v"


@pytest.fixture(scope="module")
def workers(settings: ScrubberSettings) -> Iterator[ScrubWorkers]:
    with open_workers(settings, 1) as opened:
        yield opened


def _set(folder: Path, name: str, text: str, value: str, label: str, **more: Any) -> Path:
    start = text.index(value)
    spans = [{"start": start, "end": start + len(value), "label": label}]
    path = folder / f"{name}.jsonl"
    path.write_text(json.dumps({"id": "1", "text": text, "spans": spans, **more}))
    return path


def _rows(table: pa.Table) -> dict[tuple[str, str, str], float]:
    return {(r["labelled_set"], r["measure"], r["label"]): r["value"] for r in table.to_pylist()}


def test_worst_set_decides(workers: ScrubWorkers, tmp_path: Path) -> None:
    """An average would let a good set hide a bad one."""
    good = _set(tmp_path, "good", "On 03/14/2024.", "03/14/2024", "DATE")
    bad = _set(tmp_path, "bad", "She rests.", "rests", "NAME")
    table = measure_recall([good, bad], workers, VERSION, ignore_progress)
    check_table(table, ScrubRecall.SCHEMA)
    rows = _rows(table)
    assert rows["good", MASKED_RECALL, ALL] == rows["good", MASKED_RECALL, "DATE"] == 1.0
    assert rows["bad", MASKED_RECALL, ALL] == rows["bad", MASKED_RECALL, DIRECT] == 0.0
    assert ("good", MASKED_RECALL, DIRECT) not in rows
    assert lowest_recall(table) == 0.0
    assert set(table.column("scrubber_version").to_pylist()) == {VERSION}


def test_partly_labelled_set_has_no_over_redaction_measure(workers: ScrubWorkers, tmp_path: Path) -> None:
    """A set with only names labelled would count every removed date as an error."""
    full = _set(tmp_path, "full", "Ann came on 03/14/2024.", "03/14/2024", "DATE")
    part = _set(tmp_path, "part", "Ann came on 03/14/2024.", "03/14/2024", "DATE", labels=["DATE"])
    measures = {r[:2] for r in _rows(measure_recall([full, part], workers, VERSION, ignore_progress))}
    assert ("full", "non_phi_tokens_masked") in measures
    assert {name for labelled_set, name in measures if labelled_set == "part"} == {
        MASKED_RECALL,
        "documents_fully_masked",
    }


def _table(**values: float) -> pa.Table:
    """Rows of this version, from set__label=value."""
    row = {"measure": MASKED_RECALL, "hits": 1, "total": 2, "low": 0.1, "high": 1.0, "scrubber_version": VERSION}
    names = [(name.split("__"), value) for name, value in values.items()]
    return table_from_rows(
        [{**row, "labelled_set": s, "label": label, "value": v} for (s, label), v in names], ScrubRecall.SCHEMA
    )


def test_only_recall_of_the_given_label_and_version_counts() -> None:
    """Another scrubber's recall, or an F1, says nothing about this scrubber's misses."""
    table = _table(a__all=0.9, a__direct=0.7, a__NAME=0.1, b__all=0.8)
    assert (lowest_recall(table), lowest_recall(table, VERSION, DIRECT)) == (0.8, 0.7)
    assert lowest_recall(table, "other") is None
    assert lowest_recall(_table(a__all=0.9), VERSION, DIRECT) is None


def test_reviewer_marks_count_for_no_floor() -> None:
    """The set contains misses only, so its recall starts at 0."""
    assert lowest_recall(_table(a__all=0.9, **{f"{REVIEWER_MARKS}__all": 0.0})) == 0.9


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "not json",
        '{"text": "a", "spans": []}',
        '{"text": "a", "spans": [{"start": 0, "end": 9, "label": "X"}]}',
        '{"text": "a", "spans": [{"start": 0, "end": 1, "label": ""}]}',
    ],
)
def test_set_without_identifiers_is_rejected(tmp_path: Path, content: str) -> None:
    """A recall of 0 of 0 must not open the gate."""
    path = tmp_path / "gold.jsonl"
    path.write_text(content)
    with pytest.raises(GoldFileError):
        read_gold(path)


def test_missing_labelled_sets_are_rejected(workers: ScrubWorkers) -> None:
    """A missing measurement is never 1."""
    with pytest.raises(GoldFileError):
        measure_recall([], workers, VERSION, ignore_progress)


@pytest.mark.parametrize("path", LABELLED, ids=lambda path: path.stem)
def test_every_shipped_set_can_be_read(path: Path) -> None:
    assert read_gold(path)


def test_recall_on_a_shipped_set_is_above_the_floors(workers: ScrubWorkers, settings: ScrubberSettings) -> None:
    """A new rule or library must not miss what was removed before."""
    table = measure_recall([path for path in LABELLED if path.stem == "asq_phi"], workers, VERSION, ignore_progress)
    recall, direct = lowest_recall(table), lowest_recall(table, VERSION, DIRECT)
    assert recall is not None
    assert direct is not None
    assert recall >= settings.recall_floor
    assert direct >= settings.direct_recall_floor


def test_texts_without_identifiers_are_unchanged(scrubber: Scrubber) -> None:
    """Hard negatives: masking everything would reach full recall and leave nothing to train on."""
    path = next(path for path in LABELLED if path.stem == "asq_phi")
    clean = [document.text for document in read_gold(path) if not document.spans]
    masked = sum(bool(result.spans) for result in scrubber.scrub_all([(text, ()) for text in clean]))
    assert clean
    assert masked <= len(clean) / 10
