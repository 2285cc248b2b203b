"""Converts drafts to Label Studio tasks, and annotations to decisions.

Formats: labelstud.io, "Label Studio JSON format of annotated tasks" and "Import pre-annotated data". Reads the export `JSON`, not
`JSON-MIN`, which omits the annotator.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from fine_tune_assets.approval.decision_exchange import ImportedDecision, ImportIssue, parse_decision
from fine_tune_assets.approval.sign_off import REASON_CODES, ReviewError
from fine_tune_assets.core.people import person_key
from fine_tune_assets.tables.approval_rows import DraftedExample

_CONTROLS = ("decision", "output", "reason_code", "reason")
_DRAFT = "draft"
"""`model_version` of the pre-annotation, which marks it as the draft and not a person's work."""


def build_label_config() -> str:
    """The labelling interface, for Settings > Labeling Interface > Code."""
    reasons = "\n".join(
        f"      <Choice value={quoteattr(code)} hint={quoteattr(label)}/>" for code, label in REASON_CODES.items()
    )
    return f"""<View>
  <Header value="$instruction"/>
  <Text name="input" value="$input"/>
  <Header value="Drafted output" size="5"/>
  <Text name="draft" value="$output"/>
  <Header value="$flags" size="5"/>
  <Header value="Repaired output, where it needs repair" size="5"/>
  <TextArea name="output" toName="input" editable="true" maxSubmissions="1" rows="12"/>
  <Choices name="decision" toName="input" choice="single" required="true" showInline="true">
    <Choice value="approve"/>
    <Choice value="reject"/>
  </Choices>
  <View visibleWhen="choice-selected" whenTagName="decision" whenChoiceValue="reject">
    <Choices name="reason_code" toName="input" choice="single">
{reasons}
    </Choices>
    <TextArea name="reason" toName="input" maxSubmissions="1" placeholder="In words, without text of the report"/>
  </View>
</View>
"""


def build_tasks(drafts: Iterable[DraftedExample]) -> list[dict[str, Any]]:
    """A task for each row of `drafted_examples`, with the drafted output as pre-annotation."""
    names = ("example_id", "fingerprint", "task", "instruction", "input", "output")
    return [
        {
            "data": {**{name: getattr(draft, name) for name in names}, "flags": "; ".join(draft.flags) or "no flags"},
            "predictions": [
                {
                    "model_version": _DRAFT,
                    "result": [
                        {
                            "id": f"{_DRAFT}-output",
                            "from_name": "output",
                            "to_name": "input",
                            "type": "textarea",
                            "value": {"text": [draft.output]},
                        }
                    ],
                }
            ],
        }
        for draft in drafts
    ]


def parse_export(export: Any, reviewers: Mapping[str, str]) -> Iterator[ImportedDecision | ImportIssue]:
    """The decisions in an export. `reviewers` maps an annotator's e-mail or number to a reviewer's name.

    Ignores skipped annotations. Raises ReviewError if the file is not such an export.
    """
    if not isinstance(export, list) or not all(isinstance(task, dict) for task in export):
        raise ReviewError("Not a Label Studio export: expected a list of tasks. Export as JSON, not JSON-MIN.")
    names = {person_key(key): name for key, name in reviewers.items()}
    for number, task in enumerate(export, start=1):
        annotations = task.get("annotations")
        if not isinstance(annotations, list):
            yield ImportIssue(f"task {number}", "it has no annotations; export as JSON, not JSON-MIN")
            continue
        for place, annotation in enumerate(annotations, start=1):
            where = f"task {number}, annotation {place}"
            if not isinstance(annotation, dict):
                yield ImportIssue(where, "not a JSON object")
            elif not annotation.get("was_cancelled"):
                try:
                    yield parse_decision(where, _parse_annotation(task, annotation, names))
                except ReviewError as error:
                    yield ImportIssue(where, str(error))


def _parse_annotation(
    task: Mapping[str, Any], annotation: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    data = task.get("data")
    if not isinstance(data, dict) or "example_id" not in data or "fingerprint" not in data:
        raise ReviewError("its task is not from this product: data lacks example_id and fingerprint")
    values = _control_values(annotation)
    decision = values.get("decision", "")
    if decision not in ("approve", "reject"):
        raise ReviewError("neither approve nor reject is selected")
    is_rejected = decision == "reject"
    project = task.get("project", annotation.get("project", ""))
    own_id = annotation.get("unique_id") or f"{project}/{annotation.get('id', '')}"
    return {
        "id": f"label-studio/{own_id}",
        "example_id": data["example_id"],
        "fingerprint": data["fingerprint"],
        "decision": decision,
        "output": None if is_rejected else values.get("output"),
        "reviewer": _find_reviewer(annotation.get("completed_by"), names),
        # A rejection without a reason code needs a written reason.
        "reason_code": (values.get("reason_code") or "other") if is_rejected else "",
        "reason": values.get("reason", "") if is_rejected else "",
        "decided_at": annotation.get("updated_at") or annotation.get("created_at"),
    }


def _control_values(annotation: Mapping[str, Any]) -> dict[str, str]:
    """Control name → its single value."""
    values: dict[str, str] = {}
    results = annotation.get("result")
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            continue
        listed = value.get({"choices": "choices", "textarea": "text"}.get(str(result.get("type")), ""), [])
        listed = [listed] if isinstance(listed, str) else listed
        name = str(result.get("from_name"))
        if not isinstance(listed, list) or len(listed) > 1 or (listed and name in values):
            raise ReviewError(f"it has more than one {name}" if name in _CONTROLS else "it has more than one value")
        if listed and isinstance(listed[0], str):
            values[name] = listed[0]
    return values


def _find_reviewer(completed_by: Any, names: Mapping[str, str]) -> str:
    """The reviewer's name for an annotator: an object in older and expanded exports, else a number."""
    keys = [completed_by.get("email"), completed_by.get("id")] if isinstance(completed_by, dict) else [completed_by]
    found = next(
        (names[person_key(str(key))] for key in keys if key is not None and person_key(str(key)) in names), None
    )
    if found is None:
        raise ReviewError("its annotator has no reviewer name: pass --reviewer ANNOTATOR=NAME")
    return found
