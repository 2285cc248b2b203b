from datetime import UTC, datetime

from fine_tune_assets.core.fingerprints import fingerprint_table, keyed_hash
from fine_tune_assets.core.records import Correction
from fine_tune_assets.core.tables import SCRUBBED_CORRECTIONS
from fine_tune_assets.corrections.collecting import raw_corrections_table

SECRET = b"s" * 32
CORRECTIONS = [
    Correction(name, "r-1", "ward 3", "Summarise.", "Input", "Wrong", f"Right {name}", datetime(2026, 1, 1, tzinfo=UTC))
    for name in ("c-2", "c-1")
]


def test_each_correction_is_a_row_with_the_corrected_answer_as_output() -> None:
    """The wrong answer must never become training data."""
    table = raw_corrections_table(CORRECTIONS, SECRET)
    assert table.schema.equals(SCRUBBED_CORRECTIONS)
    assert table.column("correction_id").to_pylist() == ["c-1", "c-2"]
    assert table.column("output").to_pylist() == ["Right c-1", "Right c-2"]
    assert table.column("answer").to_pylist() == ["Wrong", "Wrong"]


def test_each_correction_is_a_patient_of_its_own() -> None:
    """Splits are by patient: one key for all would put every correction into the same split."""
    keys = raw_corrections_table(CORRECTIONS, SECRET).column("patient_key").to_pylist()
    assert keys == [keyed_hash(SECRET, "correction/c-1"), keyed_hash(SECRET, "correction/c-2")]


def test_the_order_of_arrival_does_not_change_the_table() -> None:
    """The same corrections must not make everything below stale."""
    tables = [raw_corrections_table(c, SECRET) for c in (CORRECTIONS, CORRECTIONS[::-1])]
    assert fingerprint_table(tables[0]) == fingerprint_table(tables[1])


def test_no_corrections_make_an_empty_table() -> None:
    """The first run of every installation."""
    assert raw_corrections_table([], SECRET).num_rows == 0
