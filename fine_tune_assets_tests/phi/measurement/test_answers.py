"""Identifiers in what a model wrote: whose they are decides, and no value leaves the scrubber."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import silent
from fine_tune_assets.phi.__main__ import scan_answers
from fine_tune_assets.phi.measurement.answers import WRITTEN_ANSWERS, kinds_given_away
from fine_tune_assets.phi.replacement.surrogates import value_forms, value_hash
from fine_tune_assets.tables.phi import IdentifierValue
from fine_tune_assets.tables.records import table_of

REMOVED = ("Harriet Blomquist", "48151623", "Ng")


def _is_original(normalised: str) -> bool:
    return any(normalised in value_forms(value) for value in REMOVED)


@pytest.mark.parametrize(
    ("finding", "allowed", "removed", "made_up"),
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
def test_each_identifier_is_sorted_by_whose_it_is(
    finding: tuple[str, str], allowed: str, removed: bool, made_up: bool
) -> None:
    """What the input or the reference holds is no leak; one name alone is half a town's; only direct kinds count."""
    found = kinds_given_away([finding], allowed, _is_original)
    assert (bool(found["removed"]), bool(found["made_up"])) == (removed, made_up)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, request_of: dict[str, Any]) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("answers")
    key = Path(request_of["key_file"]).read_bytes()
    hashes = {value_hash(key, form) for value in REMOVED for form in value_forms(value)}
    values = [{"value_hash": value, "role": "original"} for value in sorted(hashes)]
    write_table(folder / "values.parquet", table_of(values, IdentifierValue.SCHEMA))
    rows = [
        ("adapter", "Dr. Harriet Blomquist saw the patient, MRN 48151623.", "The patient coughs."),
        ("adapter", "Dr. Harriet Blomquist saw the patient.", "Seen by Dr. Harriet Blomquist."),
        ("adapter", "The patient coughs and has no fever.", "The patient coughs."),
        ("base", "Call Mr. Tobias Wrenfield at 617-555-0142.", "The patient coughs."),
    ]
    table = table_of([dict(zip(("model", "answer", "allowed"), row, strict=True)) for row in rows], WRITTEN_ANSWERS)
    write_table(folder / "answers.parquet", table)
    files = {"answers": str(folder / "answers.parquet"), "other_values": [str(folder / "values.parquet")]}
    return {**request_of, **files}


def test_the_scrubber_reads_every_answer_and_counts(answered: dict[str, Any]) -> None:
    """With the real scrubber: an answer counts once, whatever it holds."""
    found = scan_answers(answered, silent)["found"]
    assert found["adapter"] == {
        "removed": {"answers": 1, "kinds": {"MRN": 1, "NAME": 1}},
        "made_up": {"answers": 0, "kinds": {}},
    }
    assert found["base"]["removed"]["answers"] == 0
    assert found["base"]["made_up"] == {"answers": 1, "kinds": {"NAME": 1, "PHONE": 1}}


def test_no_value_is_told(answered: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """The result is shown in the UI, and what a worker prints is its log."""
    told = json.dumps(scan_answers(answered, silent))
    printed = capfd.readouterr()
    for planted in ("Blomquist", "48151623", "Wrenfield", "0142"):
        assert planted not in told + printed.out + printed.err
