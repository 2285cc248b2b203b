"""Drafts as Label Studio tasks, and annotations as decisions, in real export formats."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest

from fine_tune_assets.approval.decision_exchange import ImportedDecision, ImportIssue
from fine_tune_assets.approval.label_studio import build_label_config, build_tasks, parse_export
from fine_tune_assets.approval.sign_off import REASON_CODES, ReviewError
from fine_tune_assets_tests.approval.examples import drafted, drafts

(DRAFT,) = drafted(drafts())
PEOPLE = {"3": "Ann", "ben@clinic.example": "Ben"}


def result(name: str, kind: str, *values: str) -> dict[str, Any]:
    value = {"choices" if kind == "choices" else "text": list(values)}
    return {"value": value, "id": f"r-{name}", "from_name": name, "to_name": "input", "type": kind, "origin": "manual"}


def annotation(*results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An annotation as in the export `JSON` of a project."""
    return {
        "id": 17,
        "completed_by": 3,
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-02-03T09:10:11.123456Z",
        "updated_at": "2026-02-03T09:12:00.654321Z",
        "draft_created_at": None,
        "lead_time": 42.5,
        "prediction": {},
        "result_count": 0,
        "unique_id": "0b7f3c1e-0001-4000-8000-000000000001",
        "import_id": None,
        "last_action": None,
        "task": 5,
        "project": 2,
        "updated_by": 3,
        "parent_prediction": None,
        "parent_annotation": None,
        "last_created_by": None,
    } | changes


def exported(*annotations: dict[str, Any]) -> list[dict[str, Any]]:
    (task,) = build_tasks([DRAFT])
    return [
        {
            "id": 5,
            "annotations": list(annotations),
            "file_upload": "tasks.json",
            "drafts": [],
            "predictions": [],
            "data": task["data"],
            "meta": {},
            "created_at": "2026-02-03T09:00:00.000000Z",
            "updated_at": "2026-02-03T09:12:00.700000Z",
            "inner_id": 1,
            "total_annotations": len(annotations),
            "project": 2,
        }
    ]


def read(*annotations: dict[str, Any]) -> list[ImportedDecision | ImportIssue]:
    return list(parse_export(exported(*annotations), PEOPLE))


def test_task_contains_the_draft_and_its_output_as_pre_annotation() -> None:
    """Control and object of the pre-annotation must match the interface, or nothing is shown."""
    (task,) = build_tasks([replace(DRAFT, flags=("number not in input: 80 mg",))])
    assert task["data"]["input"] == DRAFT.input
    assert task["data"]["flags"] == "number not in input: 80 mg"
    (made,) = task["predictions"][0]["result"]
    assert (made["type"], made["value"]) == ("textarea", {"text": [DRAFT.output]})
    view = ET.fromstring(build_label_config())
    names = {element.get("name"): element for element in view.iter() if element.get("name")}
    assert names[made["from_name"]].tag == "TextArea"
    assert names[made["from_name"]].get("toName") == made["to_name"]


def test_labelling_interface_matches_task_fields_and_controls() -> None:
    """A variable without a task field would stay empty on screen."""
    view, (task,) = ET.fromstring(build_label_config()), build_tasks([DRAFT])
    shown = {element.get("value", "")[1:] for element in view.iter() if element.get("value", "").startswith("$")}
    assert shown == {"instruction", "input", "output", "flags"}
    assert shown <= task["data"].keys()
    choices = {element.get("name"): [c.get("value") for c in element] for element in view.iter("Choices")}
    assert choices == {"decision": ["approve", "reject"], "reason_code": list(REASON_CODES)}


def test_repaired_approval_becomes_a_decision_of_the_mapped_reviewer() -> None:
    """With reviewer, time and id; the same annotation is the same decision on the next import."""
    annotated = annotation(result("output", "textarea", "Ice."), result("decision", "choices", "approve"))
    (entry,) = read(annotated)
    assert isinstance(entry, ImportedDecision)
    assert (entry.example_id, entry.fingerprint) == (DRAFT.example_id, DRAFT.fingerprint)
    assert (entry.submission.reviewer, entry.submission.decision, entry.submission.output) == ("Ann", "approve", "Ice.")
    assert entry.external_id == "label-studio/0b7f3c1e-0001-4000-8000-000000000001"
    assert entry.decided_at is not None
    assert entry.decided_at.isoformat() == "2026-02-03T09:12:00.654321+00:00"


def test_rejection_keeps_its_reason_and_drops_the_prefilled_output() -> None:
    """The pre-annotation is part of every annotation, including rejections."""
    annotated = [result("output", "textarea", DRAFT.output), result("decision", "choices", "reject")]
    coded, free = result("reason_code", "choices", "wrong_value"), result("reason", "textarea", "Twice the dose.")
    words = [
        entry.submission
        for entry in read(annotation(*annotated, coded), annotation(*annotated, free))
        if isinstance(entry, ImportedDecision)
    ]
    assert [(word.output, word.reason_code, word.reason) for word in words] == [
        (None, "wrong_value", ""),
        (None, "other", "Twice the dose."),
    ]


@pytest.mark.parametrize(
    "completed_by", [{"id": 9, "email": "BEN@clinic.example"}, {"id": 9, "email": "ben@clinic.example"}]
)
def test_annotator_is_identified_by_number_or_email(completed_by: dict[str, Any]) -> None:
    """Older exports and the API contain an object instead of the number."""
    (entry,) = read(annotation(result("decision", "choices", "approve"), completed_by=completed_by))
    assert isinstance(entry, ImportedDecision)
    assert entry.submission.reviewer == "Ben"


@pytest.mark.parametrize(
    ("annotated", "reason"),
    [
        (annotation(result("decision", "choices", "approve"), completed_by=4), "--reviewer ANNOTATOR=NAME"),
        (annotation(result("decision", "choices", "approve"), completed_by=None), "--reviewer ANNOTATOR=NAME"),
        (annotation(), "approve"),
        (annotation(result("decision", "choices", "approve", "reject")), "more than one decision"),
        (
            annotation(result("output", "textarea", "a", "b"), result("decision", "choices", "approve")),
            "more than one output",
        ),
    ],
)
def test_incomplete_or_ambiguous_annotation_is_reported(annotated: dict[str, Any], reason: str) -> None:
    """By its place in the file; the others are read."""
    good = annotation(result("decision", "choices", "approve"))
    fault, entry = read(annotated, good)
    assert isinstance(fault, ImportIssue)
    assert (fault.location, reason in fault.reason) == ("task 1, annotation 1", True)
    assert isinstance(entry, ImportedDecision)


def test_skipped_annotation_is_ignored() -> None:
    """Label Studio marks it as `was_cancelled`."""
    assert read(annotation(was_cancelled=True)) == []


@pytest.mark.parametrize("export", [{}, [[]], "x"])
def test_other_files_are_refused(export: Any) -> None:
    """JSON-MIN, for example, omits the annotator."""
    with pytest.raises(ReviewError, match="JSON-MIN"):
        list(parse_export(export, PEOPLE))


def test_task_of_another_project_or_without_annotations_is_reported() -> None:
    """By its number in the file."""
    export = exported(annotation(result("decision", "choices", "approve")))
    export[0]["data"] = {"text": "x"}
    faults = list(parse_export([*export, {"id": 6, "data": {}, "decision": "approve"}], PEOPLE))
    assert [fault.location for fault in faults] == ["task 1, annotation 1", "task 2"]
