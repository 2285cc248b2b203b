"""Laboratory values end to end: from other systems' formats through the report text to values with a direction."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.approval.lab_values import LabValues, read_lab_values
from fine_tune_assets_tests.reports.sample_files import REPORT, as_ccda
from fine_tune_assets_tests.reports.test_formats import read

LOW = {"value": 3.1, "unit": "mmol/l", "system": "http://unitsofmeasure.org", "code": "mmol/L"}
HIGH = {**LOW, "value": 6.2}


def values_in(folder: Path) -> LabValues:
    reading = read(folder)
    (row,) = reading.reports.to_pylist()
    return read_lab_values(row["text"], has_decimal_commas=False)


def from_fhir(folder: Path, *observations: dict[str, Any]) -> LabValues:
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "identifier": [{"value": "4711"}],
        "name": [{"given": ["Ann"], "family": "Lee"}],
    }
    shared = {
        "resourceType": "Observation",
        "status": "final",
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2026-03-01T09:30:10+01:00",
        "code": {"coding": [{"system": "http://loinc.org", "code": "15074-8"}], "text": "Glucose"},
        "valueQuantity": {**LOW, "value": 6.3},
    }
    found = [{**shared, "id": f"o{number}", **changes} for number, changes in enumerate(observations)]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in (patient, *found)]}
    (folder / "b.json").write_text(json.dumps(bundle))
    return values_in(folder)


@pytest.mark.parametrize(
    ("span", "reference", "direction"),
    [
        ({"low": LOW, "high": HIGH}, "3.1 - 6.2", "high"),
        ({"low": LOW}, ">= 3.1", "normal"),
        ({"high": HIGH}, "<= 6.2", "high"),
        ({"text": "3.1-6.2 mmol/l"}, "3.1-6.2", "high"),
        ({"text": "<6.2"}, "<6.2", "high"),
    ],
)
def test_range_of_a_fhir_observation_is_read_in_each_form(
    tmp_path: Path, span: dict[str, Any], reference: str, direction: str
) -> None:
    """Most laboratories send two bounds, each with a unit."""
    found = from_fhir(tmp_path, {"referenceRange": [span]})
    (value,) = found.values
    assert found.unparsed_lines == 0
    assert (value.name, value.raw_value, value.unit) == ("Glucose", "6.3", "mmol/l")
    assert (value.reference, value.direction, value.reported_direction) == (reference, direction, None)


@pytest.mark.parametrize(
    "unit",
    ["g/dL", "%", "10*9/L", "10*3/uL", "x10^9/L", "mL/min/{1.73_m2}", "mm[Hg]", "[iU]/L", "m[IU]/L", "mL/min/1.73m2"],
)
def test_units_after_the_value_and_both_bounds_are_read(tmp_path: Path, unit: str) -> None:
    """Units contain digits and brackets, which are not bounds."""
    quantities = {name: {"value": number, "unit": unit} for name, number in (("low", 12.5), ("high", 15.5))}
    changes = {"valueQuantity": {"value": 9.8, "unit": unit}, "referenceRange": [quantities]}
    found = from_fhir(tmp_path, {**changes, "interpretation": [{"coding": [{"code": "L"}]}]})
    (value,) = found.values
    assert (value.unit, value.reference, value.direction, value.reported_direction) == (
        unit,
        "12.5 - 15.5",
        "low",
        "low",
    )


@pytest.mark.parametrize("ends", [("g/L", "g/L"), ("mmol/l", "g/L"), ("g/L", "mmol/l")])
def test_range_in_another_unit_is_counted_and_not_read(tmp_path: Path, ends: tuple[str, str]) -> None:
    """A value in mmol/l must not be compared with bounds in g/L."""
    span = {"low": {"value": 0.56, "unit": ends[0]}, "high": {"value": 1.1, "unit": ends[1]}}
    found = from_fhir(tmp_path, {"referenceRange": [span]})
    assert (found.values, found.unparsed_lines) == ((), 1)


@pytest.mark.parametrize(
    ("span", "reference", "direction"),
    [
        ("12.0-15.5", "12.0-15.5", "low"),
        ("<5", "<5", "high"),
        (">3", ">3", "normal"),
        ("12.0 g/dL - 15.5 g/dL", "12.0 - 15.5", "low"),
    ],
)
def test_range_of_an_hl7_message_is_read_in_each_form(
    tmp_path: Path, span: str, reference: str, direction: str
) -> None:
    """OBX-7 is free text: most systems write `low-high`, `<high` or `>low`."""
    lines = [
        "MSH|^~\\&|LAB|H|||20260301||ORU^R01|1|P|2.5",
        "PID|1||4711^^^H^MR||Lee^Ann",
        "OBR|1|||CBC^Blood count",
        f"OBX|1|NM|718-7^Haemoglobin^LN||9.8|g/dL|{span}||||F",
    ]
    (tmp_path / "m.hl7").write_text("\r".join(lines))
    found = values_in(tmp_path)
    (value,) = found.values
    assert (value.name, value.unit, value.reference, value.direction) == ("Haemoglobin", "g/dL", reference, direction)


def test_results_table_of_a_clinical_document_is_read_by_its_heading(tmp_path: Path) -> None:
    """The unit is in the value's cell, and sometimes after both bounds."""
    rows = [
        ("Component", "Value", "Reference Range"),
        ("Haemoglobin", "9.8 g/dL (L)", "12.0 g/dL - 15.5 g/dL"),
        ("Potassium", "6.1 mmol/L H", "3.5-5.1"),
        ("Sodium", "139 mmol/L", "135 - 145 mmol/L"),
        ("Calcium", "2.2 mmol/L", "8.5 mg/dL - 10.5 mg/dL"),
    ]
    cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<section><title>LABS</title><text><table><tbody>{cells}</tbody></table></text></section>"
    document = as_ccda(REPORT).decode().replace("</structuredBody>", f"<component>{table}</component></structuredBody>")
    (tmp_path / "d.xml").write_text(document)
    found = values_in(tmp_path)
    labs = [value for value in found.values if value.name in ("Haemoglobin", "Potassium", "Sodium", "Calcium")]
    assert [(v.name, v.unit, v.direction, v.reported_direction) for v in labs] == [
        ("Haemoglobin", "g/dL", "low", "low"),
        ("Potassium", "mmol/L", "high", "high"),
        ("Sodium", "mmol/L", "normal", None),
    ]
    assert found.unparsed_lines >= 1
