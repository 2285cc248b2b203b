"""Identifiers in model answers: leaked or fabricated, without storing a value."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.phi.__main__ import scan_answers
from fine_tune_assets.phi.measurement.answer_scan import WrittenAnswer, classify_identifiers
from fine_tune_assets.phi.replacement.surrogates import hash_value, list_value_forms
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import IdentifierValue

REMOVED = ("Harriet Blomquist", "48151623", "Ng")


def _is_original(normalized: str) -> bool:
    return any(normalized in list_value_forms(value) for value in REMOVED)


@pytest.mark.parametrize(
    ("finding", "allowed", "leaked", "fabricated"),
    [
        (("NAME", "Dr. Harriet Blomquist"), "", True, False),
        (("NAME", "Harriet Blomquist"), "Seen by Harriet Blomquist.", False, False),
        (("NAME", "Mrs. Blomquist"), "Seen by Harriet Blomquist.", False, False),
        (("NAME", "Harriet Oakbarrow"), "Seen by Dr. Blomquist.", False, True),
        (("NAME", "Dr. Blomquist"), "", False, True),
        (("NAME", "Dr. Ng"), "", False, True),
        (("MRN", "4815-1623"), "", True, False),
        (("MRN", "4815-1623"), "MRN 48151623", False, False),
        (("MRN", "4815-1699"), "", False, True),
        (("DATE", "03/14/2024"), "", False, False),
        (("LOCATION", "Larkmoor"), "", False, False),
    ],
)
def test_identifiers_are_classified_by_origin(
    finding: tuple[str, str], allowed: str, leaked: bool, fabricated: bool
) -> None:
    """Values in the input or reference are allowed; a single name is too common; only direct kinds count."""
    found = classify_identifiers([finding], allowed, _is_original)
    assert (bool(found["leaked"]), bool(found["fabricated"])) == (leaked, fabricated)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, request_of: dict[str, Any]) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("answers")
    key = Path(request_of["key_file"]).read_bytes()
    hashes = {hash_value(key, form) for value in REMOVED for form in list_value_forms(value)}
    values = [{"value_hash": value, "role": "original"} for value in sorted(hashes)]
    write_table(folder / "values.parquet", table_from_rows(values, IdentifierValue.SCHEMA))
    rows = [
        ("adapter", "Dr. Harriet Blomquist saw the patient, MRN 48151623.", "The patient coughs."),
        ("adapter", "Dr. Harriet Blomquist saw the patient.", "Seen by Dr. Harriet Blomquist."),
        ("adapter", "The patient coughs and has no fever.", "The patient coughs."),
        ("base", "Call Mr. Tobias Wrenfield at 617-555-0142.", "The patient coughs."),
    ]
    table = table_from_rows(
        [dict(zip(("model", "answer", "allowed"), row, strict=True)) for row in rows], WrittenAnswer.SCHEMA
    )
    write_table(folder / "answers.parquet", table)
    files = {"answers": str(folder / "answers.parquet"), "other_values": [str(folder / "values.parquet")]}
    return {**request_of, **files}


def test_every_answer_is_scanned_and_counted(answered: dict[str, Any]) -> None:
    """With the real scrubber: an answer counts once, whatever it contains."""
    found = scan_answers(answered, ignore_progress)["findings"]
    assert found["adapter"] == {
        "leaked": {"answers": 1, "kinds": {"MRN": 1, "NAME": 1}},
        "fabricated": {"answers": 0, "kinds": {}},
    }
    assert found["base"]["leaked"]["answers"] == 0
    assert found["base"]["fabricated"] == {"answers": 1, "kinds": {"NAME": 1, "PHONE": 1}}


def test_no_value_is_printed_or_returned(answered: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """The result appears in the UI, and worker output appears in its log."""
    result = json.dumps(scan_answers(answered, ignore_progress))
    printed = capfd.readouterr()
    for planted in ("Blomquist", "48151623", "Wrenfield", "0142"):
        assert planted not in result + printed.out + printed.err
