"""What people typed into an example is looked at before it is trained on; what the scrubber invented is nobody."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import silent
from fine_tune_assets.phi.__main__ import scan_final_texts, scrub
from fine_tune_assets.phi.measurement.final_texts import FINAL_TEXTS
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.reports import Report

REPORT = (
    "Dr. Harriet Blomquist of Larkmoor General Hospital saw Mr. Tobias Wrenfield, aged 45, on 03/14/2024. "
    "He lives at 12 Quillford Street, call 617-555-0142. MRN 48151623."
)
Find = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("final_texts")


@pytest.fixture(scope="module")
def scrubbed(folder: Path, request_of: dict[str, Any]) -> str:
    """The report as it is trained on, with invented values."""
    row = {"report_id": "b/1", "batch": "b", "source": "s", "patient_key": "k", "origin_file": "f", "fingerprint": "x"}
    rows = [{**row, "text": REPORT, "known_identifiers": [], "written_on": None}]
    write_table(folder / "in.parquet", table_of(rows, Report.SCHEMA))
    made = {name: str(folder / f"{name}.parquet") for name in ("scrubbed", "spans", "held", "values")}
    assert scrub({**request_of, "reports": str(folder / "in.parquet"), **made}, silent)["held"] == 0
    return str(pq.read_table(made["scrubbed"]).to_pylist()[0]["text"])


@pytest.fixture
def find(folder: Path, request_of: dict[str, Any], scrubbed: str) -> Find:  # noqa: ARG001
    def found(text: str, passed: str | None = None, settings: dict[str, Any] | None = None) -> dict[str, Any]:
        row = {"example_id": "e1", "text": text, "passed": passed}
        write_table(folder / "texts.parquet", table_of([row], FINAL_TEXTS))
        request = {
            **request_of,
            "texts": str(folder / "texts.parquet"),
            "other_values": [str(folder / "values.parquet")],
        }
        request["settings"] = {**request["settings"], **(settings or {})}
        return dict(scan_final_texts(request, silent)["findings"])

    return found


def test_invented_values_are_nobody(find: Find, scrubbed: str) -> None:
    """Else every example with a surrogate would close the gate."""
    assert "Blomquist" not in scrubbed
    assert find(scrubbed) == {}


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        ("As Mrs. Henrietta Oakbarrow told me.", "NAME"),
        ("Call back on 617-555-0177.", "PHONE"),
        ("Seen again on 21 March 2024.", "DATE"),
        ("Write to h.oakbarrow@larkmoor.org.", "EMAIL"),
        ("SSN 219-09-9999.", "SSN"),
    ],
)
def test_what_a_reviewer_typed_is_found_beside_them(find: Find, scrubbed: str, typed: str, kind: str) -> None:
    """Nobody scrubs a repaired output; this look is the last one before training."""
    assert kind in find(f"{scrubbed}\n\n{typed}")["e1"]


def test_the_same_name_that_the_report_really_held_is_found(find: Find) -> None:
    """It is no surrogate, whatever was put in its place elsewhere."""
    assert find("Dr. Harriet Blomquist agrees.") == {"e1": {"NAME": 1}}


def test_what_passed_the_scrubber_in_its_own_text_passes_here(find: Find) -> None:
    """Surrogates of corrections are on no list; their texts were looked at twice."""
    correction = "Dr. Amelia Thornquill saw the patient."
    assert find(correction) == {"e1": {"NAME": 1}}
    assert find(correction, passed=correction) == {}
    assert find(f"{correction} So did Mrs. Oakbarrow.", passed=correction) == {"e1": {"NAME": 1}}


def test_a_day_may_stay_where_the_profile_keeps_days(find: Find) -> None:
    """A limited data set keeps dates; Safe Harbor only years."""
    said = "Seen again on 21 March 2024, first in 2019, at the age of 45."
    assert find(said) == {"e1": {"DATE": 1}}
    assert find(said, settings={"profile": "limited_dataset"}) == {}
