"""The leakage certificate fails for each kind of leak."""

from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.tables import INSTRUCTION_SETS, table_of
from fine_tune_assets.instructions.certificate import leakage_certificate
from fine_tune_assets_tests.instructions.examples import built

ROWS = built().table.to_pylist()
TRAIN = next(row for row in ROWS if row["split"] == "train" and not row["is_general"])
TEST = next(row for row in ROWS if row["split"] == "test")
GENERAL = next(row for row in ROWS if row["is_general"])


def with_rows(*rows: dict[str, Any]) -> pa.Table:
    return table_of([*ROWS, *rows], INSTRUCTION_SETS)


def test_a_built_set_holds_and_says_so_in_words() -> None:
    """The paragraph goes to an auditor as it is."""
    certificate = leakage_certificate(with_rows())
    assert certificate.holds
    assert "Patients with examples in more than one split: 0." in certificate.paragraph
    assert "no patient of one, was used to train it" in certificate.paragraph


@pytest.mark.parametrize(
    ("leak", "field"),
    [
        ({**TRAIN, "messages": [{"role": "user", "content": "other"}], "split": "test"}, "patients_in_two_splits"),
        ({**TEST, "split": "train", "patient_key": "somebody else"}, "inputs_in_two_splits"),
        ({**GENERAL, "messages": [{"role": "user", "content": "other"}], "split": "test"}, "general_outside_train"),
        ({**TRAIN, "patient_key": None}, "rows_without_patient"),
    ],
)
def test_each_kind_of_leak_breaks_the_certificate(leak: dict[str, Any], field: str) -> None:
    """Every way in which the test could be taught."""
    certificate = leakage_certificate(with_rows(leak))
    assert getattr(certificate, field) == 1
    assert not certificate.holds
    assert "NOT shown" in certificate.paragraph


@pytest.mark.parametrize("missing", ["train", "validation", "test"])
def test_a_set_without_a_split_is_not_certified(missing: str) -> None:
    """Nothing is shown about what is not there."""
    rows = [row for row in ROWS if row["split"] != missing]
    assert not leakage_certificate(table_of(rows, INSTRUCTION_SETS)).holds
