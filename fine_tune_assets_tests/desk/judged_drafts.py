"""A comparison of two models for the desk's tests: the set of the ward's drafts, answers to them, and the judge's grades."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table, write_text
from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.spot_check_ratings import make_answer_id
from fine_tune_assets.tables.instruction_rows import InstructionRow, ProvenanceRow
from fine_tune_assets.tables.judging_rows import JudgeScore
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.desk.installation import drafts_of
from fine_tune_assets_tests.ledger.ledger_rows import record_decision
from fine_tune_assets_tests.lineage.stored_data import store

BASE, ADAPTER = "b" * 64, "c" * 64
SET = fingerprint_text("the set that was judged on")
SYSTEM = "You are careful."
ACCURACY, COUNTED = "factual_accuracy", "1 of 3 statements are supported"
INVENTED_SIDE, UNMENTIONED = "The pain is in the left shoulder.", "The patient was seen again after a week."
WHY = "recall 0.61, F1 0.58"
"""The judge's reason, which must not be seen by a rater."""


def judge_the_drafts(
    settings: Settings, ledger: Ledger, decided: Mapping[str, list[str]] | None = None, padding: str = ""
) -> list[dict[str, Any]]:
    """A set of the drafts is answered by base model and candidate; the `JudgeScore` rows.

    `decided` names the drafts and the decisions that approved them; without it all of them are approved. `padding` lengthens
    the answers.
    """
    known = decided or {draft["example_id"]: [_approve(ledger, draft)] for draft in drafts_of(settings)}
    drafts = [draft for draft in drafts_of(settings) if draft["example_id"] in known]
    store_set(settings, drafts, known)
    row = {"adapter_id": ADAPTER, "base_fingerprint": BASE, "instruction_set_fingerprint": SET}
    store(settings.layout, "adapters", [row])
    answered = [(draft, role, number) for role in ("base", "adapter") for number, draft in enumerate(drafts)]
    scores = [_scored(draft, role, number, padding) for draft, role, number in answered]
    write_table(settings.layout.table("judge_scores"), table_from_rows(scores, JudgeScore.SCHEMA))
    return scores


def store_set(settings: Settings, drafts: Sequence[dict[str, Any]], decided: Mapping[str, list[str]]) -> None:
    """Sorted as real sets are."""
    folder = settings.layout.instruction_sets / short(SET)
    rows = [
        {
            **draft,
            "split": "test",
            "line": "a-line",
            "is_general": False,
            "messages": build_conversation(SYSTEM, draft["instruction"], draft["input"], draft["output"]),
            "report_fingerprint": None,
            "approved_by": "Approver",
            "approval_kind": "expert",
            "decision_ids": decided[draft["example_id"]],
            "scrubber_version": None,
        }
        for draft in sorted(drafts, key=lambda draft: str(draft["example_id"]))
    ]
    for name, schema in (("instruction_set", InstructionRow.SCHEMA), ("provenance", ProvenanceRow.SCHEMA)):
        kept = [{column: row.get(column) for column in schema.names} for row in rows]
        write_table(folder / f"{name}.parquet", table_from_rows(kept, schema))
    write_text(folder / "manifest.json", json.dumps({"fingerprint": SET, "facts": {}}))


def id_of(row: dict[str, Any]) -> str:
    """The desk's id of an answer."""
    return make_answer_id(row["example_id"], fingerprint_text(row["answer"]))


def regrade(settings: Settings, **changes: Any) -> None:
    """Rewrite the table of scores with changes."""
    path = settings.layout.table("judge_scores")
    rows = [{**row, **changes} for row in pq.read_table(path).to_pylist()]
    write_table(path, table_from_rows(rows, JudgeScore.SCHEMA))


def _approve(ledger: Ledger, draft: dict[str, Any]) -> str:
    facts = {name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")}
    return record_decision(ledger, decision="approve", output=None, reviewer="Approver", **facts).decision_id


def _scored(draft: dict[str, Any], role: str, number: int, padding: str) -> dict[str, Any]:
    """The first answer is the same by both; the others get better with their number, the candidate's more so."""
    words = "Cough" if role == "base" else "A cough, and fever,"
    text = "It is a cough." if number == 0 else f"{words} seen as number {number}."
    better = 2 if role == "adapter" and number else 0
    return {
        "model": role,
        "model_fingerprint": BASE if role == "base" else ADAPTER,
        "adapter_id": ADAPTER,
        "example_id": draft["example_id"],
        "subject_key": draft["subject_key"],
        "answer": text + padding,
        "score": min(9.9371, 1.2371 + number % 8 + better),
        "reason": WHY,
        "unsupported_numbers": 0,
        "is_finished": True,
        "judge_version": "j" * 64,
        "judge_kind": "verifier",
        "criteria": json.dumps({ACCURACY: {"score": 9.5 - number % 8, "reason": COUNTED, "evidence": ""}}),
        "statements": json.dumps([*_read(text, draft["input"], number), *_look_for(draft["output"], text)]),
    }


def _read(answer: str, record: str, number: int) -> list[dict[str, Any]]:
    """A statement that the record supports; in every second answer also one that it contradicts, and one without a line."""
    line = next(line for line in record.splitlines() if line.strip())
    read = [
        {"text": answer, "support": "supported", "probability": 0.93, "evidence": line, "veto": ""},
        {"text": INVENTED_SIDE, "support": "contradicted", "probability": 0.05, "evidence": line, "veto": "sides"},
        {"text": UNMENTIONED, "support": "not mentioned", "probability": 0.21, "evidence": "", "veto": ""},
    ]
    return [one | {"criterion": ACCURACY} for one in (read if number % 2 else read[:1])]


def _look_for(reference: str, answer: str) -> list[dict[str, Any]]:
    found = {"support": "not mentioned", "probability": 0.38, "evidence": answer, "veto": ""}
    return [found | {"text": reference, "criterion": "completeness"}]
