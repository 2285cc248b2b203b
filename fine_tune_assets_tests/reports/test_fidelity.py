"""Numbers, units, sides and negations: what is lost or changed on the way closes the gate."""

from pathlib import Path

import pytest

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import Accounting, account, read_batch
from fine_tune_assets.reports.batches import Ignored
from fine_tune_assets.reports.facts import Found
from fine_tune_assets.reports.fidelity import differences
from fine_tune_assets_tests.reports.making_files import REPORT, as_pdf
from fine_tune_assets_tests.reports.test_formats import SECRET, reasons

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
def test_each_kind_of_change_is_counted(stored: str, kinds: dict[str, int]) -> None:
    """One digit is a tenfold dose, one word the other hand."""
    assert differences(SOURCE, stored, is_all=True) == kinds


def test_text_may_hold_more_where_the_evidence_is_a_part() -> None:
    """Names of results stand in the text only; what the evidence holds must be there all the same."""
    assert differences("5 mg", "Vitamin B12: 5 mg", is_all=False) == {}
    assert differences("5 mg", "Vitamin B12: 6 mg", is_all=False) == {"numbers": 1}


def test_a_reader_that_changes_a_number_closes_the_gate(tmp_path: Path) -> None:
    """The report is quarantined with how much changed, never with what."""
    (tmp_path / "batch.yaml").write_text("facts: {patient_id: p}\n")
    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "b.pdf").write_bytes(as_pdf(REPORT))
    answers = iter([Found("Dose 2.5 mg left", evidence="Dose 25 mg right"), Found("Dose 25 mg", evidence="Dose 25 mg")])
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits(), lambda _kind, _content: next(answers))
    assert reasons(reading) == [("a.pdf", None, "numbers_changed")]
    (detail,) = reading.unreadable.column("detail").to_pylist()
    assert "(numbers 2, sides 2)" in detail
    assert "25" not in detail
    assert reading.reports.num_rows == 1


def test_a_file_that_its_reader_did_not_foresee_costs_only_itself(tmp_path: Path) -> None:
    """And what the error says is not shown: it may quote the file."""

    def stumble(kind: str, content: bytes) -> Found:
        raise LookupError(f"{kind} {content!r}")

    (tmp_path / "a.pdf").write_bytes(as_pdf(REPORT))
    (tmp_path / "b.txt").write_text("---\npatient_id: p\n---\nRest.\n")
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits(), stumble)
    assert reasons(reading) == [("a.pdf", None, "corrupt_file")]
    assert "FINDINGS" not in str(reading.unreadable.to_pylist())
    assert reading.reports.num_rows == 1


def test_a_file_that_a_reader_loses_breaks_the_balance(tmp_path: Path) -> None:
    """The sum is what shows it: nothing else would."""
    (tmp_path / "a.txt").write_text("---\npatient_id: p\n---\nRest.\n")
    (tmp_path / "b.txt").write_text("")
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits())
    assert reading.accounting == Accounting(files=2, files_read=1, files_quarantined=1, files_ignored=0)
    assert reading.accounting.is_balanced
    lost = reading.unreadable.slice(0, 0)
    assert not account(2, reading.reports, lost, {}).is_balanced
    assert not account(2, reading.reports, reading.unreadable, {"a.txt": Ignored.HIDDEN}).is_balanced
