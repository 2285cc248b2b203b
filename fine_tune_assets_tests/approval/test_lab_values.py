"""Laboratory values: parsed values are right, and ambiguous lines are counted, not guessed."""

from decimal import Decimal

import pytest

from fine_tune_assets.approval.lab_values import LabValue, format_abnormal_values, read_lab_values


def only(line: str, has_decimal_commas: bool = False) -> LabValue:
    found = read_lab_values(line, has_decimal_commas)
    assert found.unparsed_lines == 0
    (value,) = found.values
    return value


@pytest.mark.parametrize(
    ("line", "name", "written", "unit", "reference", "direction"),
    [
        ("Hemoglobin 9.8 g/dL (12.0-15.5)", "Hemoglobin", "9.8", "g/dL", "12.0-15.5", "low"),
        ("WBC: 13.2 x10^9/L [4.0 - 11.0] H", "WBC", "13.2", "x10^9/L", "4.0 - 11.0", "high"),
        ("- Cholesterol 240 mg/dL (Ref: <200)", "Cholesterol", "240", "mg/dL", "<200", "high"),
        ("Cholesterol 200 mg/dL (<200)", "Cholesterol", "200", "mg/dL", "<200", "high"),
        ("Cholesterol 200 mg/dL (≤200)", "Cholesterol", "200", "mg/dL", "≤200", "normal"),
        ("eGFR: 55 mL/min/1.73m2 (>=60)", "eGFR", "55", "mL/min/1.73m2", ">=60", "low"),
        ("Glucose 5.6 mmol/L, reference 3.9–5.5", "Glucose", "5.6", "mmol/L", "3.9–5.5", "high"),
        ("HbA1c 6.1% (4.0-5.6 %)", "HbA1c", "6.1", "%", "4.0-5.6", "high"),
        ("Platelets 150,000 /uL (150,000-400,000)", "Platelets", "150,000", "/uL", "150,000-400,000", "normal"),
        ("Na 139 (135-145)", "Na", "139", "", "135-145", "normal"),
        ("Potassium 4.1 mmol/L (3.5 to 5.1) N", "Potassium", "4.1", "mmol/L", "3.5 to 5.1", "normal"),
        ("D-dimer: <0.5 mg/L (<0.5)", "D-dimer", "<0.5", "mg/L", "<0.5", "normal"),
        ("CRP >250 mg/L (0-5)", "CRP", ">250", "mg/L", "0-5", "high"),
        ("2. Vitamin B12: 180 pg/mL (200 - 900) low", "Vitamin B12", "180", "pg/mL", "200 - 900", "low"),
    ],
)
def test_result_line_is_read_in_its_common_forms(
    line: str, name: str, written: str, unit: str, reference: str, direction: str
) -> None:
    """A model learns from these what is abnormal; a wrong direction is worse than a missing line."""
    value = only(line)
    assert (value.name, value.raw_value, value.unit, value.reference) == (name, written, unit, reference)
    assert value.direction == direction
    assert not value.is_contradicted


@pytest.mark.parametrize("between", [" | ", "\t", "   "])
def test_table_is_read_by_its_heading_line(between: str) -> None:
    """Columns are identified by name, not position."""
    rows = [
        ("Test", "Result", "Reference range", "Units", "Flag"),
        ("Sodium", "128", "135-145", "mmol/L", "L"),
        ("Potassium", "6.1", "3.5-5.1", "mmol/L", "H"),
    ]
    found = read_lab_values("\n".join(between.join(row) for row in rows), has_decimal_commas=False)
    assert [(v.name, v.raw_value, v.unit, v.direction, v.reported_direction) for v in found.values] == [
        ("Sodium", "128", "mmol/L", "low", "low"),
        ("Potassium", "6.1", "mmol/L", "high", "high"),
    ]


def test_markdown_table_is_read_up_to_an_empty_line() -> None:
    """The format of Markdown and of the DOCX and HTML readers."""
    text = "| Test | Result | Unit | Reference | Flag |\n| Sodium | 128 | mmol/L | 135-145 |  |\n\n| Sodium | 1 | 2 | 3-4 |  |"
    found = read_lab_values(text, has_decimal_commas=False)
    assert [value.raw_value for value in found.values] == ["128"]


@pytest.mark.parametrize(
    "line",
    [
        "Troponin <5 ng/L (3-10)",  # somewhere below 5, in the range or below it
        "Creatinine 1.2 mg/dL (60-110 umol/L)",  # another unit
        "Glucose 5,6 mmol/L (3,9-5,5)",  # decimal commas, which are not allowed
        "Bilirubin 0.8 mg/dL (1.2-0.3)",  # bounds in the wrong order
        "Ferritin 20 ug/L (30-400) XX",  # an unknown flag
    ],
)
def test_ambiguous_line_is_counted_and_not_guessed(line: str) -> None:
    """A person should check this laboratory's format."""
    found = read_lab_values(line, has_decimal_commas=False)
    assert (found.values, found.unparsed_lines) == ((), 1)


def test_prose_is_neither_read_nor_counted() -> None:
    """Most lines of a report are not results."""
    text = "He coughs since 3 weeks.\nBlood pressure 120/80.\nSeen on 2026-03-01 at 10:30.\nINR: 2.5"
    assert read_lab_values(text, has_decimal_commas=False) == read_lab_values("", has_decimal_commas=False)


def test_decimal_commas_are_read_if_the_recipe_says_so() -> None:
    """5.200 is then five thousand."""
    value = only("Leukozyten 5.200 /ul (4.000-10.000)", has_decimal_commas=True)
    assert value.value == Decimal(5200)
    assert only("Kalium 5,2 mmol/l (3,5-5,1)", has_decimal_commas=True).direction == "high"


def test_flag_that_contradicts_its_range_is_reported() -> None:
    """One of the two is wrong; only a person can decide which."""
    assert only("TSH 2.1 mIU/L (0.4-4.0) H").is_contradicted
    assert only("TSH 5.1 mIU/L (0.4-4.0) L").is_contradicted
    assert not only("TSH 2.1 mIU/L (0.4-4.0)").is_contradicted


def test_abnormal_values_are_listed_in_report_order() -> None:
    """Name, direction, value with unit, and reference range."""
    text = "WBC: 13.2 x10^9/L (4.0-11.0)\nNa 139 mmol/L (135-145)\nHemoglobin 9.8 g/dL (12.0-15.5)"
    assert format_abnormal_values(read_lab_values(text, has_decimal_commas=False).values) == [
        "WBC: high, 13.2 x10^9/L (4.0-11.0)",
        "Hemoglobin: low, 9.8 g/dL (12.0-15.5)",
    ]
