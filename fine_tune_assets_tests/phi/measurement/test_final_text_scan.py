"""Identifiers that people typed into examples are found before training; surrogates are not reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.phi.__main__ import scan_final_texts, scrub_reports
from fine_tune_assets.phi.measurement.final_text_scan import FinalText
from fine_tune_assets.tables.record_classes import table_from_records, table_from_rows
from fine_tune_assets.tables.report_rows import Report

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
    """The report as used in training, with surrogates."""
    row = {"report_id": "b/1", "batch": "b", "source": "s", "subject_key": "k", "origin_file": "f", "fingerprint": "x"}
    rows = [{**row, "text": REPORT, "known_identifiers": [], "written_on": None}]
    write_table(folder / "in.parquet", table_from_rows(rows, Report.SCHEMA))
    made = {name: str(folder / f"{name}.parquet") for name in ("scrubbed", "spans", "withheld", "values")}
    assert (
        scrub_reports({**request_of, "reports": str(folder / "in.parquet"), **made}, ignore_progress)["withheld"] == 0
    )
    return str(pq.read_table(made["scrubbed"]).to_pylist()[0]["text"])


Scan = Callable[..., dict[str, Any]]


@pytest.fixture
def scan(folder: Path, request_of: dict[str, Any], scrubbed: str) -> Scan:  # noqa: ARG001
    def scanned(text: str, trusted_text: str | None = None, settings: dict[str, Any] | None = None) -> dict[str, Any]:
        row = FinalText(example_id="e1", text=text, trusted_text=trusted_text)
        write_table(folder / "texts.parquet", table_from_records(FinalText, [row]))
        request = {
            **request_of,
            "texts": str(folder / "texts.parquet"),
            "other_values": [str(folder / "values.parquet")],
        }
        request["settings"] = {**request["settings"], **(settings or {})}
        return dict(scan_final_texts(request, ignore_progress))

    return scanned


@pytest.fixture
def find(scan: Scan) -> Find:
    """Id → kind → count."""

    def found(*arguments: Any, **options: Any) -> dict[str, Any]:
        findings = scan(*arguments, **options)["findings"]
        return {example: {kind: len(places) for kind, places in one.items()} for example, one in findings.items()}

    return found


def test_surrogates_are_not_findings(find: Find, scrubbed: str) -> None:
    """Otherwise every example with a surrogate would close the gate."""
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
def test_identifiers_typed_by_a_reviewer_are_found(find: Find, scrubbed: str, typed: str, kind: str) -> None:
    """No scrubber reads a repaired output; this scan is the last one before training."""
    assert kind in find(f"{scrubbed}\n\n{typed}")["e1"]


def test_original_name_of_the_report_is_found(find: Find) -> None:
    """It is not a surrogate, even if it was replaced elsewhere."""
    assert find("Dr. Harriet Blomquist agrees.") == {"e1": {"NAME": 1}}


def test_values_in_trusted_text_pass(find: Find) -> None:
    """Surrogates of corrections are on no list; the scrubber and its second pass checked their texts."""
    correction = "Dr. Amelia Thornquill saw the patient."
    assert find(correction) == {"e1": {"NAME": 1}}
    assert find(correction, trusted_text=correction) == {}
    assert find(f"{correction} So did Mrs. Oakbarrow.", trusted_text=correction) == {"e1": {"NAME": 1}}


def test_a_name_inside_a_word_of_the_trusted_text_is_found(find: Find) -> None:
    """A typed "Ann" is not trusted because the draft says "Annual"."""
    typed = "Dr. Rosalind agrees."
    assert find(typed, trusted_text=typed) == {}
    assert find(typed, trusted_text="Rosalindson's annual report.") == {"e1": {"NAME": 1}}
    assert find("Call 617-555-0142.", trusted_text="Call 617-555-01425.") == {"e1": {"PHONE": 1}}


DENSE_DRAFT = (
    "The seller brought claim HC-2026-004417 COS against Haney Gayna Seafoods before the court. Signed in the presence of Odile "
    "Marchetti and Isaac Cuffe. The money must go to the client account of Calderden, IBAN GB33BUKB20201555555555."
)


def test_an_unedited_draft_passes_and_a_name_typed_into_it_does_not(find: Find) -> None:
    """Names and numbers in a row: the second pass counts what is left next to a tag, which the draft has."""
    law = {"domain": "law"}
    assert find(DENSE_DRAFT, settings=law)
    assert find(DENSE_DRAFT, trusted_text=DENSE_DRAFT, settings=law) == {}
    edited = f"{DENSE_DRAFT}\n\nMrs. Henrietta Oakbarrow told me."
    assert find(edited, trusted_text=DENSE_DRAFT, settings=law) == {"e1": {"NAME": 1}}


def test_full_date_passes_if_the_profile_keeps_dates(find: Find) -> None:
    """A limited data set keeps dates; Safe Harbor keeps only years."""
    text = "Seen again on 21 March 2024, first in 2019, at the age of 45."
    assert find(text) == {"e1": {"DATE": 1}}
    assert find(text, settings={"profile": "limited_dataset"}) == {}


def test_each_finding_of_the_first_pass_names_its_place(scan: Scan, scrubbed: str) -> None:
    """A page marks the words, so that no reviewer has to guess which ones are meant."""
    typed = f"{scrubbed}\n\nAs Mrs. Henrietta Oakbarrow told me on 21 March 2024. She is 45; write to h.oakbarrow@larkmoor.org."
    places = scan(typed)["findings"]["e1"]
    found = {(kind, typed[place[0] : place[1]]) for kind, known in places.items() for place in known if place}
    assert ("EMAIL", "h.oakbarrow@larkmoor.org") in found
    assert ("DATE", "21 March 2024") in found
    assert any(kind == "NAME" and "Oakbarrow" in words for kind, words in found)
    assert {kind for kind, _ in found} == {"DATE", "EMAIL", "NAME"}  # the age and the year are not findings


def test_a_finding_of_the_second_pass_has_no_place(scan: Scan) -> None:
    """It searches the text with tags, whose places are others; the page says that the place is unknown."""
    only_doubtful = {"minimum_score": 1.0, "withhold_score": 0.3}
    (name,) = scan("The patient met Henrietta Oakbarrow.", settings=only_doubtful)["findings"].values()
    assert name == {"NAME": [None]}
