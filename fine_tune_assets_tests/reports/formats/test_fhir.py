"""FHIR R4 as real systems send it: bundles, bulk exports, contained resources, attachments and invalid input."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.reports.batch_reader import BatchResult
from fine_tune_assets_tests.reports.formats.fhir_bundles import PATIENT, observation, read_bundle, report
from fine_tune_assets_tests.reports.read_files import FILES, check_signs, read, reasons
from fine_tune_assets_tests.reports.sample_files import REPORT, as_ndjson, as_pdf, as_rtf, attached, fhir_bundle


def texts(reading: BatchResult) -> list[str]:
    return reading.reports.column("text").to_pylist()


def identifiers(reading: BatchResult) -> set[tuple[str, str]]:
    return {(i["kind"], i["value"]) for row in reading.reports.to_pylist() for i in row["known_identifiers"]}


def test_a_synthetic_patient_is_read_report_by_report(tmp_path: Path) -> None:
    """A Synthea-like bundle: panels, and the vital signs of a visit as one report."""
    (tmp_path / "bundle.json").write_bytes((FILES / "bundle.json").read_bytes())
    reading = read(tmp_path)
    assert reasons(reading) == []
    assert len(set(reading.reports.column("subject_key").to_pylist())) == 1
    assert any("Systolic blood pressure: " in text for text in texts(reading))
    assert all("mg/dL" in text or "%" in text for text in texts(reading))
    assert {kind for kind, _ in identifiers(reading)} >= {"name", "id", "date"}


def test_a_bulk_export_resolves_patients_in_another_file(tmp_path: Path) -> None:
    """One file per type: without the patients' file, no name would be known."""
    for path in (FILES / "bulk_export").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    reading = read(tmp_path)
    assert reasons(reading) == []
    assert {row["origin_file"] for row in reading.reports.to_pylist()} == {
        "DiagnosticReport.ndjson",
        "Observation.ndjson",
    }
    assert len(set(reading.reports.column("subject_key").to_pylist())) == 2
    assert {name: reason.value for name, reason in reading.ignored.items()} == {
        "Encounter.ndjson": "resources", "Patient.ndjson": "resources", "Practitioner.ndjson": "resources",
    }  # fmt: skip
    assert "name" in {kind for kind, _ in identifiers(reading)}


def test_a_report_with_a_missing_patient_is_unreadable(tmp_path: Path) -> None:
    """Its names could not be removed, and its subject key is unknown."""
    assert reasons(read_bundle(tmp_path, report(conclusion="No bleed."))) == [("b.json", 1, "no_subject")]


def test_decimals_keep_their_written_form(tmp_path: Path) -> None:
    """6.10 states a precision of a hundredth; 6.1 does not."""
    text = json.dumps([PATIENT, observation(1)]).replace('"value": 1,', '"value": 6.10,')
    (tmp_path / "b.ndjson").write_text(
        "\n".join(json.dumps(r) for r in [PATIENT]) + "\n" + text[text.index('{"resourceType": "Obs') : -1]
    )
    assert texts(read(tmp_path)) == ["Test 1: 6.10 mg\n"]


def test_every_value_type_is_rendered_on_its_line(tmp_path: Path) -> None:
    """Range, flag, body site, components and notes belong to a result."""
    none = {"valueQuantity": None}
    systolic = {"code": {"text": "Systolic"}, "valueQuantity": {"value": 120, "unit": "mmHg"}}
    reading = read_bundle(
        tmp_path,
        PATIENT,
        observation(
            1,
            referenceRange=[{"low": {"value": 2, "unit": "mg"}, "high": {"value": 4, "unit": "mg"}}],
            interpretation=[{"coding": [{"code": "L"}]}],
        ),
        observation(2, bodySite={"text": "Left breast"}, valueQuantity={"value": 3, "comparator": "<", "code": "cm"}),
        observation(3, **none, valueString="No growth"),
        observation(4, **none, valueCodeableConcept={"coding": [{"code": "260385009", "display": "Negative"}]}),
        observation(5, **none, component=[systolic], note=[{"text": "Sitting"}]),
        observation(6, **none, valueBoolean=False),
        observation(7, **none, valueRatio={"numerator": {"value": 1}, "denominator": {"value": 128}}),
        observation(8, **none, dataAbsentReason={"text": "Not performed"}),
    )
    assert texts(reading) == [
        "Test 1: 1 mg (2 mg - 4 mg) L\nTest 2 (Left breast): <3 cm\nTest 3: No growth\nTest 4: Negative\nTest 5\n"
        "- Systolic: 120 mmHg\nSitting\nTest 6: no\nTest 7: 1 / 128\nTest 8: Not performed\n"
    ]


def test_the_presented_form_replaces_the_results(tmp_path: Path) -> None:
    """PDF and RTF of the same report are one report, which already contains its single results."""
    forms = [
        {"contentType": "application/pdf", "data": attached(as_pdf(REPORT))},
        {"contentType": "application/rtf", "data": attached(as_rtf(REPORT))},
    ]
    reading = read_bundle(
        tmp_path, PATIENT, observation(1), report(presentedForm=forms, result=[{"reference": "Observation/o1"}])
    )
    (text,) = texts(reading)
    check_signs(text)
    assert text.count("FINDINGS") == 1
    assert "Test 1" not in text


def test_a_document_reference_is_read_from_attachment_or_binary(tmp_path: Path) -> None:
    """Notes are often documents, with their content in a separate Binary."""

    def document(attachment: dict[str, str]) -> dict[str, Any]:
        return {
            "resourceType": "DocumentReference",
            "status": "current",
            "subject": {"reference": "Patient/p"},
            "content": [{"attachment": attachment}],
        }

    binary = {"resourceType": "Binary", "id": "x", "contentType": "text/plain", "data": attached(b"Second note.")}
    reading = read_bundle(
        tmp_path,
        PATIENT,
        document({"contentType": "text/plain", "data": attached(b"First note.")}),
        document({"contentType": "text/plain", "url": "Binary/x"}),
        document({"contentType": "text/plain", "url": "https://elsewhere.example/x"}),
        document({"contentType": "image/png", "data": attached(b"\x89PNG")}),
        binary,
    )
    assert texts(reading) == ["First note.\n", "Second note.\n"]
    assert reasons(reading) == [("b.json", 4, "unsupported_format"), ("b.json", 5, "unsupported_format")]


def test_a_composition_is_read_section_by_section(tmp_path: Path) -> None:
    """Observations that the narrative covers are not repeated as a separate report."""
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><p>{}</p></div>'
    entries = [{"reference": "Observation/o1"}, {"reference": "urn:uuid:7", "display": "Pneumonia"}]
    composition = {
        "resourceType": "Composition", "status": "final", "title": "Discharge summary",
        "subject": {"reference": "Patient/p"}, "author": [{"display": "Jo Hart"}],
        "section": [
            {"title": "Findings", "text": {"div": div.format("No bleed, 2.5 cm left.")}, "entry": entries},
            {"title": "Empty"},
            {"section": [{"title": "Plan", "text": {"div": div.format("Rest.")}}]},
        ],
    }  # fmt: skip
    reading = read_bundle(tmp_path, composition, PATIENT, observation(1))
    assert texts(reading) == ["Discharge summary\n\nFindings\n\nNo bleed, 2.5 cm left.\n\nPlan\n\nRest.\n"]
    assert {value for kind, value in identifiers(reading) if kind == "name"} == {"Jo Hart", "Ann Lee"}
    empty = read_bundle(tmp_path, {**composition, "section": []}, PATIENT)
    assert reasons(empty) == [("b.json", 1, "empty")]


@pytest.mark.parametrize(
    "withdrawn",
    [
        report(status="entered-in-error", conclusion="x"),
        report(result=[{"reference": "Observation/o1"}], conclusion="x"),
        {"resourceType": "DocumentReference", "status": "superseded", "subject": {"reference": "Patient/p"}},
    ],
)
def test_a_withdrawn_resource_is_unreadable(tmp_path: Path, withdrawn: dict[str, Any]) -> None:
    """A result entered in error must not reach the training data."""
    reading = read_bundle(tmp_path, PATIENT, withdrawn, observation(1, status="entered-in-error"))
    assert texts(reading) == []
    assert {reason for _, _, reason in reasons(reading)} == {"withdrawn"}


def test_unreferenced_observations_form_one_report_per_visit(tmp_path: Path) -> None:
    """Vital signs of two visits in one text would describe a visit that never happened."""
    visits = [observation(n, encounter={"reference": f"Encounter/{n % 2}"}) for n in (1, 2, 3)]
    assert texts(read_bundle(tmp_path, PATIENT, *visits)) == ["Test 1: 1 mg\nTest 3: 3 mg\n", "Test 2: 2 mg\n"]


def test_people_are_found_through_every_reference_type(tmp_path: Path) -> None:
    """Relative, contained, URN, identifier search, and display only."""

    def person(kind: str, given: str, family: str, **more: Any) -> dict[str, Any]:
        return {"resourceType": kind, "id": given, "name": [{"given": [given], "family": family}], **more}

    clinic = {"resourceType": "Organization", "id": "c", "name": "Westport Radiology"}
    clinic |= {"telecom": [{"system": "email", "value": "a@example.org"}]}
    encounter = {"resourceType": "Encounter", "id": "e", "identifier": [{"value": "V-88"}]}
    encounter |= {"serviceProvider": {"display": "Lakeside Clinic"}, "period": {"start": "2026-02-27T10:00:00Z"}}
    reading = read_bundle(
        tmp_path,
        PATIENT,
        person("Practitioner", "Peter", "Moore", identifier=[{"system": "npi", "value": "99"}]),
        person("RelatedPerson", "Ruth", "Lee", patient={"reference": "Patient/p"}),
        encounter,
        report(
            conclusion="No bleed.",
            encounter={"reference": "Encounter/e"},
            performer=[
                {"reference": "Practitioner?identifier=npi|99"},
                {"display": "Dr. Jo Hart"},
                {"reference": "#c"},
            ],
            contained=[clinic],
        ),
    )
    assert identifiers(reading) >= {
        ("id", "4711"), ("name", "Ann Lee"), ("name", "Peter Moore"), ("name", "Ruth Lee"), ("name", "Dr. Jo Hart"),
        ("facility", "Lakeside Clinic"), ("facility", "Westport Radiology"), ("email", "a@example.org"), ("id", "V-88"),
        ("date", "2026-02-27"),
    }  # fmt: skip


def test_names_of_results_are_not_identifiers(tmp_path: Path) -> None:
    """Removing "Haemoglobin" as a name would damage the report."""
    reading = read_bundle(
        tmp_path, *(entry["resource"] for entry in json.loads(json.dumps(fhir_bundle(REPORT)))["entry"])
    )
    assert not {value for kind, value in identifiers(reading) if kind == "name"} & {
        "Haemoglobin",
        "Potassium",
        "Report",
    }
    high = observation(
        1, interpretation=[{"coding": [{"display": "High"}]}], category=[{"coding": [{"display": "Lab"}]}]
    )
    reading = read_bundle(tmp_path, PATIENT, high)
    assert {value for kind, value in identifiers(reading) if kind == "name"} == {"Ann Lee"}


def test_a_bad_line_does_not_affect_the_others(tmp_path: Path) -> None:
    lines = as_ndjson(REPORT).split(b"\n")
    (tmp_path / "x.ndjson").write_bytes(b"\n".join([b"{broken", b'{"a": 1}', *lines]))
    reading = read(tmp_path)
    assert reasons(reading) == [("x.ndjson", 1, "corrupt_file"), ("x.ndjson", 2, "unsupported_format")]
    check_signs(texts(reading)[0])


def test_circular_references_terminate(tmp_path: Path) -> None:
    """Two organizations that are part of each other must not hang the batch."""
    circle = [
        {"resourceType": "Organization", "id": n, "name": f"Clinic {n}", "partOf": {"reference": f"Organization/{o}"}}
        for n, o in ("xy", "yx")
    ]
    panel = observation(1, hasMember=[{"reference": "Observation/o1"}])
    reading = read_bundle(
        tmp_path, PATIENT, *circle, panel,
        report(conclusion="x", performer=[{"reference": "Organization/x"}], result=[{"reference": "Observation/o1"}]),
    )  # fmt: skip
    assert identifiers(reading) >= {("facility", "Clinic x"), ("facility", "Clinic y")}
