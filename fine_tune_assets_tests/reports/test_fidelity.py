"""A lost or changed number, unit, side or negation closes the gate."""

from pathlib import Path

import pytest

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_file import read_batch_file
from fine_tune_assets.reports.batch_reader import FileCounts, count_files, read_batch
from fine_tune_assets.reports.batches import IgnoreReason, list_files
from fine_tune_assets.reports.fidelity import count_differences
from fine_tune_assets.reports.file_contents import BatchContents
from fine_tune_assets.reports.report_metadata import ParsedReport, ReadDocument
from fine_tune_assets.reports.report_readers import BatchReader
from fine_tune_assets.reports.stated_identifiers import AcceptedReport
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason
from fine_tune_assets_tests.reports.read_files import SECRET
from fine_tune_assets_tests.reports.sample_files import REPORT, as_pdf

SOURCE = "No fracture of the left wrist. 2.5 cm cyst, INR <1.1, dose 0.25 mg, T-score -2.5, doesn't smoke."


@pytest.mark.parametrize(
    ("stored", "kinds"),
    [
        (SOURCE, {}),
        (SOURCE.replace(" ", "\n"), {}),
        (SOURCE.replace("-2.5", "\u22122.5").replace("doesn't", "doesn’t"), {}),
        (SOURCE.replace("2.5 cm", "25 cm"), {"numbers": 2}),
        (SOURCE.replace("0.25 mg", "0.25 mcg"), {"units": 2}),
        (SOURCE.replace("0.25 mg", "0.25"), {"units": 1}),
        (SOURCE.replace("<", ""), {"comparisons": 1}),
        (SOURCE.replace("-2.5", "2.5"), {"comparisons": 1}),
        (SOURCE.replace("left", "right"), {"sides": 2}),
        (SOURCE.replace("No fracture", "Fracture"), {"negations": 1}),
        (SOURCE.replace("doesn't smoke", "smokes"), {"negations": 1}),
        (SOURCE + " 7", {"numbers": 1}),
        (SOURCE.replace("0.25", "0.250"), {"numbers": 2}),
    ],
)
def test_each_kind_of_difference_is_counted(stored: str, kinds: dict[str, int]) -> None:
    """One digit is a tenfold dose, one word the other hand."""
    assert count_differences(SOURCE, stored, is_complete=True) == kinds


def test_text_may_contain_more_than_an_incomplete_reference() -> None:
    """Only the text contains names of results; it must still contain everything in the reference text."""
    assert count_differences("5 mg", "Vitamin B12: 5 mg", is_complete=False) == {}
    assert count_differences("5 mg", "Vitamin B12: 6 mg", is_complete=False) == {"numbers": 1}


def read_here(folder: Path, read_document: ReadDocument) -> list[AcceptedReport | UnreadableError]:
    """Read a batch in this process, with another reader of documents."""
    contents = BatchContents(folder, list_files(folder))
    reader = BatchReader(ReadLimits(), read_document, "b1", is_subject_required=True, start_file=lambda _path: None)
    files = reader.read_files(contents, read_batch_file(contents))
    return [outcome.result for _, outcomes in files for outcome in outcomes]


def test_a_reader_that_changes_a_number_closes_the_gate(tmp_path: Path) -> None:
    """The detail states how much changed, never what."""
    (tmp_path / "batch.yaml").write_text("metadata: {subject_id: p}\n")
    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "b.pdf").write_bytes(as_pdf(REPORT))
    answers = iter(
        [
            ParsedReport("Dose 2.5 mg left", reference_text="Dose 25 mg right"),
            ParsedReport("Dose 25 mg", reference_text="Dose 25 mg"),
        ]
    )
    changed, unchanged = read_here(tmp_path, lambda _kind, _content: next(answers))
    assert isinstance(changed, UnreadableError)
    assert changed.reason is UnreadableReason.TEXT_MISMATCH
    assert "(numbers 2, sides 2)" in changed.detail
    assert "25" not in changed.detail
    assert isinstance(unchanged, AcceptedReport)


def test_an_unexpected_reader_error_affects_only_its_file(tmp_path: Path) -> None:
    """The error message is not shown, because it may quote the file."""

    def stumble(kind: str, content: bytes) -> ParsedReport:
        raise LookupError(f"{kind} {content!r}")

    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "b.txt").write_text("---\nsubject_id: p\n---\nRest.\n")
    refused, accepted = read_here(tmp_path, stumble)
    assert isinstance(refused, UnreadableError)
    assert refused.reason is UnreadableReason.CORRUPT_FILE
    assert "FINDINGS" not in refused.detail
    assert isinstance(accepted, AcceptedReport)


def test_a_lost_file_makes_the_counts_unbalanced(tmp_path: Path) -> None:
    """Only the sum reveals the loss."""
    (tmp_path / "a.txt").write_text("---\nsubject_id: p\n---\nRest.\n")
    (tmp_path / "b.txt").write_text("")
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits())
    assert reading.file_counts == FileCounts(files=2, files_read=1, files_unreadable=1, files_ignored=0)
    assert reading.file_counts.is_balanced
    lost = reading.unreadable.slice(0, 0)
    assert not count_files(2, reading.reports, lost, {}).is_balanced
    assert not count_files(2, reading.reports, reading.unreadable, {"a.txt": IgnoreReason.HIDDEN}).is_balanced
