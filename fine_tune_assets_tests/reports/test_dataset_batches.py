"""A data set becomes a batch of reports that stage 1 reads like any other."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.dataset_files.dataset_reader import Dataset, open_dataset
from fine_tune_assets.dataset_files.dataset_rows import DatasetError
from fine_tune_assets.dataset_files.row_reports import RowTexts, split_row_report
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import BatchResult, read_batch
from fine_tune_assets.reports.dataset_batches import DraftImport, DraftImportError, import_drafts

ROWS = [
    {"instruction": "Summarize.", "input": "PLAN:\nRest.", "output": "Rest.", "case": "A-17"},
    {"instruction": "Why?", "output": "So.", "case": 18.0},
    {"instruction": "Who?", "output": "Me.", "case": "A-17"},
]


def given(folder: Path, *rows: Any, subject_column: str | None = None) -> Dataset:
    path = folder / "faq.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_dataset(path, "alpaca", None, subject_column)


@pytest.fixture
def wanted(tmp_path: Path) -> DraftImport:
    return DraftImport(tmp_path / "raw_reports", "faq", "Questions of 2026", "")


def read(wanted: DraftImport) -> BatchResult:
    return read_batch(wanted.folder, wanted.name, b"s" * 32, ReadLimits())


def test_every_row_is_a_report_with_its_number(tmp_path: Path, wanted: DraftImport) -> None:
    """Data set, file and row are in the id, which follows an example to its release."""
    counts = import_drafts(given(tmp_path, *ROWS), wanted)
    result = read(wanted)
    assert (counts.conversations, result.reports.num_rows, result.unreadable.num_rows) == (3, 3, 0)
    assert result.reports["report_id"].to_pylist() == ["faq/file1-row1", "faq/file1-row2", "faq/file1-row3"]
    assert set(result.reports["source"].to_pylist()) == {"Questions of 2026"}
    assert split_row_report(result.reports["text"][0].as_py()) == RowTexts("Summarize.", "PLAN:\nRest.", "Rest.")


def test_each_row_is_its_own_subject_unless_a_column_names_one(tmp_path: Path, wanted: DraftImport) -> None:
    """A subject stays in one split, and can be erased."""
    import_drafts(given(tmp_path, *ROWS), wanted)
    assert len(set(read(wanted).reports["subject_key"].to_pylist())) == 3
    named = replace(wanted, name="named")
    import_drafts(given(tmp_path, *ROWS, subject_column="case"), named)
    first, second, third = read(named).reports["subject_key"].to_pylist()
    assert first == third != second
    stated = [[one["value"] for one in row] for row in read(named).reports["known_identifiers"].to_pylist()]
    assert stated == [["A-17"], ["18"], ["A-17"]]


def test_rows_of_an_erased_subject_are_not_read(tmp_path: Path, wanted: DraftImport) -> None:
    """An erasure reaches a data set like any other batch."""
    import_drafts(given(tmp_path, *ROWS, subject_column="case"), wanted)
    erased = read(wanted).reports["subject_key"][0].as_py()
    result = read_batch(wanted.folder, wanted.name, b"s" * 32, ReadLimits(), erased_subjects=[erased])
    assert result.reports["report_id"].to_pylist() == ["faq/file1-row2"]
    assert result.unreadable["reason"].to_pylist() == ["erased_subject"] * 2


@pytest.mark.parametrize("subject", [None, "", " ", 1.5, True, ["A"], "A\0B"])
def test_a_row_without_a_subject_in_the_column_is_refused(tmp_path: Path, wanted: DraftImport, subject: Any) -> None:
    """Otherwise it could be neither erased nor kept in one split."""
    counts = import_drafts(given(tmp_path, *ROWS, {**ROWS[0], "case": subject}, subject_column="case"), wanted)
    assert counts.refused == {"no subject": 1}


def test_refused_rows_and_the_hash_of_the_file_are_recorded(tmp_path: Path, wanted: DraftImport) -> None:
    """Without the row's text; stage 1 ignores the records."""
    several = {**ROWS[0], "history": [["Marker-word", "Hi"]]}
    dataset = given(tmp_path, *ROWS, several)
    import_drafts(dataset, wanted)
    with (wanted.folder / ".refused.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["file", "row", "reason"], ["faq.jsonl", "4", "several turns"]]
    about = (wanted.folder / "SOURCE.md").read_text()
    record = yaml.safe_load(about.split("```yaml\n")[1].removesuffix("```\n"))
    assert len(record["files"][0]["sha256"]) == 64
    assert record["counts"]["refused_by_reason"] == {"several turns": 1}
    assert "Marker-word" not in about
    assert read(wanted).reports.num_rows == 3


def test_a_large_data_set_is_written_in_several_files(tmp_path: Path, wanted: DraftImport) -> None:
    """Stage 1 reads no file above its limit."""
    small = replace(wanted, max_file_bytes=400)
    import_drafts(given(tmp_path, *ROWS * 5), small)
    files = sorted(small.folder.glob("rows-*.jsonl"))
    assert len(files) > 1
    assert all(file.stat().st_size <= 400 for file in files)
    assert read(small).reports.num_rows == 15


def test_a_question_that_begins_with_blank_lines_is_an_instruction(tmp_path: Path, wanted: DraftImport) -> None:
    """It would otherwise be an input without instruction."""
    path = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": "\n\nWhy?"}, {"role": "assistant", "content": "So."}]
    path.write_text(json.dumps({"messages": turns}))
    import_drafts(open_dataset(path), wanted)
    (text,) = read(wanted).reports["text"].to_pylist()
    assert split_row_report(text) == RowTexts("Why?", "", "So.")


def test_instances_of_a_row_have_their_own_ids(tmp_path: Path, wanted: DraftImport) -> None:
    path = tmp_path / "tasks.jsonl"
    instances = [{"input": "1", "output": "odd"}, {"input": "2", "output": "even"}]
    path.write_text(json.dumps({"instruction": "Odd or even?", "instances": instances}))
    import_drafts(open_dataset(path), wanted)
    assert read(wanted).reports["report_id"].to_pylist() == ["faq/file1-row1", "faq/file1-row1-2"]


@pytest.mark.parametrize("changes", [{"name": "../up"}, {"name": ""}, {"source": ""}, {"source": "x" * 101}])
def test_a_name_or_source_that_a_batch_can_not_have_is_refused(
    tmp_path: Path, wanted: DraftImport, changes: dict[str, str]
) -> None:
    with pytest.raises(DraftImportError):
        import_drafts(given(tmp_path, *ROWS), replace(wanted, **changes))
    assert not wanted.root.exists()


def test_an_import_is_complete_or_absent(tmp_path: Path, wanted: DraftImport) -> None:
    """A batch that lacks half of its rows would look complete."""
    with pytest.raises(DraftImportError, match="several turns"):
        import_drafts(given(tmp_path, {**ROWS[0], "history": [["a", "b"]]}), wanted)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS)[:-30])
    with pytest.raises(DatasetError):
        import_drafts(open_dataset(path, "alpaca"), wanted)
    assert list(wanted.root.iterdir()) == []
    import_drafts(given(tmp_path, *ROWS), wanted)
    with pytest.raises(DraftImportError, match="exists"):
        import_drafts(given(tmp_path, *ROWS), wanted)
