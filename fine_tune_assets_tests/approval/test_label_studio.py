"""Drafts as Label Studio tasks, and its annotations as decisions, in the shapes that it really exports."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest

from fine_tune_assets.approval.exchange import Entry, Fault
from fine_tune_assets.approval.label_studio import label_config, read_export, tasks_of
from fine_tune_assets.approval.signatures import REASON_CODES, ReviewError
from fine_tune_assets_tests.approval.examples import drafted, drafts

(DRAFT,) = drafted(drafts())
PEOPLE = {"3": "Ann", "ben@clinic.example": "Ben"}


def result(name: str, kind: str, *values: str) -> dict[str, Any]:
    value = {"choices" if kind == "choices" else "text": list(values)}
    return {"value": value, "id": f"r-{name}", "from_name": name, "to_name": "input", "type": kind, "origin": "manual"}


def annotation(*results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """As the export `JSON` of a project has it."""
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
    (task,) = tasks_of([DRAFT])
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


def read(*annotations: dict[str, Any]) -> list[Entry | Fault]:
    return list(read_export(exported(*annotations), PEOPLE))


def test_a_task_holds_the_draft_and_its_output_as_pre_annotation() -> None:
    """Control and object of the pre-annotation must be those of the labelling interface, or nothing is shown."""
    (task,) = tasks_of([replace(DRAFT, flags=("number not in input: 80 mg",))])
    assert task["data"]["input"] == DRAFT.input
    assert task["data"]["flags"] == "number not in input: 80 mg"
    (made,) = task["predictions"][0]["result"]
    assert (made["type"], made["value"]) == ("textarea", {"text": [DRAFT.output]})
    view = ET.fromstring(label_config())
    names = {element.get("name"): element for element in view.iter() if element.get("name")}
    assert names[made["from_name"]].tag == "TextArea"
    assert names[made["from_name"]].get("toName") == made["to_name"]


def test_the_labelling_interface_shows_what_the_tasks_hold_and_asks_what_is_read() -> None:
    """A variable that no task has stays empty on the screen."""
    view, (task,) = ET.fromstring(label_config()), tasks_of([DRAFT])
    shown = {element.get("value", "")[1:] for element in view.iter() if element.get("value", "").startswith("$")}
    assert shown == {"instruction", "input", "output", "flags"}
    assert shown <= task["data"].keys()
    choices = {element.get("name"): [c.get("value") for c in element] for element in view.iter("Choices")}
    assert choices == {"decision": ["approve", "reject"], "reason_code": list(REASON_CODES)}


def test_an_approval_with_a_repair_becomes_a_decision_of_the_mapped_reviewer() -> None:
    """By whom, when and under which id; the same annotation is the same decision at the next import."""
    said = annotation(result("output", "textarea", "Ice."), result("decision", "choices", "approve"))
    (entry,) = read(said)
    assert isinstance(entry, Entry)
    assert (entry.example_id, entry.fingerprint) == (DRAFT.example_id, DRAFT.fingerprint)
    assert (entry.word.reviewer, entry.word.decision, entry.word.output) == ("Ann", "approve", "Ice.")
    assert entry.external_id == "label-studio/0b7f3c1e-0001-4000-8000-000000000001"
    assert entry.decided_at is not None
    assert entry.decided_at.isoformat() == "2026-02-03T09:12:00.654321+00:00"


def test_a_rejection_takes_its_reason_and_leaves_the_prefilled_output() -> None:
    """The pre-annotation is part of every annotation, also of one that rejects."""
    said = [result("output", "textarea", DRAFT.output), result("decision", "choices", "reject")]
    coded, free = result("reason_code", "choices", "wrong_value"), result("reason", "textarea", "Twice the dose.")
    words = [
        entry.word for entry in read(annotation(*said, coded), annotation(*said, free)) if isinstance(entry, Entry)
    ]
    assert [(word.output, word.reason_code, word.reason) for word in words] == [
        (None, "wrong_value", ""),
        (None, "other", "Twice the dose."),
    ]


@pytest.mark.parametrize(
    "completed_by", [{"id": 9, "email": "BEN@clinic.example"}, {"id": 9, "email": "ben@clinic.example"}]
)
def test_an_annotator_is_known_by_number_or_by_e_mail(completed_by: dict[str, Any]) -> None:
    """Older exports and those of the API hold an object in place of the number."""
    (entry,) = read(annotation(result("decision", "choices", "approve"), completed_by=completed_by))
    assert isinstance(entry, Entry)
    assert entry.word.reviewer == "Ben"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (annotation(result("decision", "choices", "approve"), completed_by=4), "nobody said which reviewer"),
        (annotation(result("decision", "choices", "approve"), completed_by=None), "nobody said which reviewer"),
        (annotation(), "neither approve nor reject"),
        (annotation(result("decision", "choices", "approve", "reject")), "more than one decision"),
        (
            annotation(result("output", "textarea", "a", "b"), result("decision", "choices", "approve")),
            "more than one output",
        ),
    ],
)
def test_an_annotation_that_says_too_little_or_too_much_is_a_fault(said: dict[str, Any], reason: str) -> None:
    """Named by its place; the others are read."""
    good = annotation(result("decision", "choices", "approve"))
    fault, entry = read(said, good)
    assert isinstance(fault, Fault)
    assert (fault.place, reason in fault.reason) == ("task 1, annotation 1", True)
    assert isinstance(entry, Entry)


def test_what_was_skipped_there_is_passed_over() -> None:
    """`was_cancelled` is Label Studio's word for skipped."""
    assert read(annotation(was_cancelled=True)) == []


@pytest.mark.parametrize("export", [{}, [[]], "x"])
def test_another_file_is_refused(export: Any) -> None:
    """JSON-MIN and the like lose who annotated."""
    with pytest.raises(ReviewError, match="no Label Studio export"):
        list(read_export(export, PEOPLE))


def test_a_task_of_another_project_and_one_without_annotations_are_faults() -> None:
    """Each by its number in the file."""
    export = exported(annotation(result("decision", "choices", "approve")))
    export[0]["data"] = {"text": "x"}
    faults = list(read_export([*export, {"id": 6, "data": {}, "decision": "approve"}], PEOPLE))
    assert [fault.place for fault in faults] == ["task 1, annotation 1", "task 2"]
