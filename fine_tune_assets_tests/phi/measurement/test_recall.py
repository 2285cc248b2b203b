"""The measure that the gate rests on: which labelled sets count, and which are refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import silent
from fine_tune_assets.phi.measurement.recall import (
    ALL,
    DIRECT,
    RECALL,
    GoldFileError,
    measure_recall,
    overall_recall,
    read_gold,
)
from fine_tune_assets.phi.missed_identifiers.terms import MARKED_BY_REVIEWERS
from fine_tune_assets.phi.scrubbing import Scrubber
from fine_tune_assets.phi.workers import Workers, open_workers
from fine_tune_assets.recipes.schema import ScrubSettings
from fine_tune_assets.tables.phi import ScrubRecall
from fine_tune_assets.tables.records import check_table, table_of

LABELLED = sorted((PROJECT_DIR / "data" / "evaluation" / "phi").glob("*.jsonl"))
VERSION = "v"


@pytest.fixture(scope="module")
def workers(settings: ScrubSettings) -> Iterator[Workers]:
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


def test_the_worst_set_decides(workers: Workers, tmp_path: Path) -> None:
    """An average would let a good set hide a bad one."""
    good = _set(tmp_path, "good", "On 03/14/2024.", "03/14/2024", "DATE")
    bad = _set(tmp_path, "bad", "She rests.", "rests", "NAME")
    table = measure_recall([good, bad], workers, VERSION, silent)
    check_table(table, ScrubRecall.SCHEMA)
    rows = _rows(table)
    assert rows["good", RECALL, ALL] == rows["good", RECALL, "DATE"] == 1.0
    assert rows["bad", RECALL, ALL] == rows["bad", RECALL, DIRECT] == 0.0
    assert ("good", RECALL, DIRECT) not in rows
    assert overall_recall(table) == 0.0
    assert set(table.column("scrubber_version").to_pylist()) == {VERSION}


def test_a_set_with_some_kinds_only_has_no_figure_for_what_was_removed_without_need(
    workers: Workers, tmp_path: Path
) -> None:
    """A set in which names alone were labelled would call every date that goes a mistake."""
    whole = _set(tmp_path, "whole", "Ann came on 03/14/2024.", "03/14/2024", "DATE")
    part = _set(tmp_path, "part", "Ann came on 03/14/2024.", "03/14/2024", "DATE", labels=["DATE"])
    measures = {r[:2] for r in _rows(measure_recall([whole, part], workers, VERSION, silent))}
    assert ("whole", "other_tokens_masked") in measures
    assert {name for labelled_set, name in measures if labelled_set == "part"} == {RECALL, "documents_without_leak"}


def _table(**values: float) -> pa.Table:
    """set__label=value rows of this version."""
    row = {"measure": RECALL, "hits": 1, "total": 2, "low": 0.1, "high": 1.0, "scrubber_version": VERSION}
    names = [(name.split("__"), value) for name, value in values.items()]
    return table_of(
        [{**row, "labelled_set": s, "label": label, "value": v} for (s, label), v in names], ScrubRecall.SCHEMA
    )


def test_only_the_share_of_that_label_and_that_version_counts() -> None:
    """A figure of another scrubber, or an F1, says nothing about this one's leaks."""
    table = _table(a__all=0.9, a__direct=0.7, a__NAME=0.1, b__all=0.8)
    assert (overall_recall(table), overall_recall(table, VERSION, DIRECT)) == (0.8, 0.7)
    assert overall_recall(table, "other") is None
    assert overall_recall(_table(a__all=0.9), VERSION, DIRECT) is None


def test_what_reviewers_marked_is_shown_and_counts_for_no_floor() -> None:
    """It holds misses only: its recall begins at 0."""
    assert overall_recall(_table(a__all=0.9, **{f"{MARKED_BY_REVIEWERS}__all": 0.0})) == 0.9


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
def test_a_set_that_measures_nothing_is_refused(tmp_path: Path, content: str) -> None:
    """A recall of 0 of 0 must not open the gate."""
    path = tmp_path / "gold.jsonl"
    path.write_text(content)
    with pytest.raises(GoldFileError):
        read_gold(path)


def test_no_labelled_set_at_all_is_refused(workers: Workers) -> None:
    """A figure that is missing is missing, never 1."""
    with pytest.raises(GoldFileError):
        measure_recall([], workers, VERSION, silent)


@pytest.mark.parametrize("path", LABELLED, ids=lambda path: path.stem)
def test_every_shipped_set_can_be_read(path: Path) -> None:
    assert read_gold(path)


def test_recall_on_a_shipped_set_is_above_the_floors(workers: Workers, settings: ScrubSettings) -> None:
    """A new rule or library must not lose what was removed before."""
    table = measure_recall([path for path in LABELLED if path.stem == "asq_phi"], workers, VERSION, silent)
    recall, direct = overall_recall(table), overall_recall(table, VERSION, DIRECT)
    assert recall is not None
    assert direct is not None
    assert recall >= settings.recall_floor
    assert direct >= settings.direct_recall_floor


def test_texts_without_identifiers_are_left_alone(scrubber: Scrubber) -> None:
    """Hard negatives: masking everything would reach full recall and leave nothing to train on."""
    path = next(path for path in LABELLED if path.stem == "asq_phi")
    clean = [document["text"] for document in read_gold(path) if not document["spans"]]
    masked = sum(bool(result.spans) for result in scrubber.scrub_all([(text, ()) for text in clean]))
    assert clean
    assert masked <= len(clean) / 10
