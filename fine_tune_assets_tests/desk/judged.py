"""A comparison of two models for the desk's tests: the set of the ward's drafts, answers to them, and the judge's grades."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.chat import conversation
from fine_tune_assets.core.files import write_table, write_text
from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.tables import INSTRUCTION_PROVENANCE, INSTRUCTION_SETS, JUDGE_SCORES, table_of
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.spot_checks import answer_id_of
from fine_tune_assets_tests.desk.installation import drafts_of
from fine_tune_assets_tests.ledger.made import record_decision
from fine_tune_assets_tests.lineage.made import store

BASE, ADAPTER = "b" * 64, "c" * 64
SET = fingerprint_text("the set that was judged on")
SYSTEM = "You are careful."
WHY = "recall 0.61, F1 0.58"
"""The judge's reason, which must not be seen by a rater."""


def judge_the_drafts(settings: Settings, ledger: Ledger) -> list[dict[str, Any]]:
    """Every draft is approved, put into a set and answered by base model and candidate; the rows of JUDGE_SCORES."""
    drafts = drafts_of(settings)
    decided = [_approve(ledger, draft) for draft in drafts]
    store_set(settings, drafts, decided)
    row = {"adapter_id": ADAPTER, "base_fingerprint": BASE, "instruction_set_fingerprint": SET}
    store(settings.layout, "adapters", [row])
    scores = [
        _scored(draft, role, number) for role in ("base", "adapter") for number, draft in enumerate(drafts)
    ]
    write_table(settings.layout.table("judge_scores"), table_of(scores, JUDGE_SCORES))
    return scores


def store_set(settings: Settings, drafts: Sequence[dict[str, Any]], decided: Sequence[str]) -> None:
    folder = settings.layout.instruction_sets / short(SET)
    rows = [
        {
            **draft,
            "split": "test",
            "is_general": False,
            "messages": conversation(SYSTEM, draft["instruction"], draft["input"], draft["output"]),
            "report_fingerprint": None,
            "approved_by": "Approver",
            "approval_kind": "expert",
            "decision_ids": [decision_id],
            "scrubber_version": None,
        }
        for draft, decision_id in zip(drafts, decided, strict=True)
    ]
    for name, schema in (("instruction_set", INSTRUCTION_SETS), ("provenance", INSTRUCTION_PROVENANCE)):
        kept = [{column: row[column] for column in schema.names} for row in rows]
        write_table(folder / f"{name}.parquet", table_of(kept, schema))
    write_text(folder / "manifest.json", json.dumps({"fingerprint": SET, "facts": {}}))


def id_of(row: dict[str, Any]) -> str:
    """Of an answer, as the desk calls it."""
    return answer_id_of(row["example_id"], fingerprint_text(row["answer"]))


def regrade(settings: Settings, **changes: Any) -> None:
    """The table of scores, written anew."""
    path = settings.layout.table("judge_scores")
    rows = [{**row, **changes} for row in pq.read_table(path).to_pylist()]
    write_table(path, table_of(rows, JUDGE_SCORES))


def _approve(ledger: Ledger, draft: dict[str, Any]) -> str:
    facts = {name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")}
    made = record_decision(ledger, decision="approve", output=None, reviewer="Approver", **facts)
    return made.decision_id


def _scored(draft: dict[str, Any], role: str, number: int) -> dict[str, Any]:
    """The first answer is the same by both; the others get better with their number, the candidate's more so."""
    text = "It is a cough." if number == 0 else f"{'Cough' if role == 'base' else 'A cough, and fever,'} seen as number {number}."
    score = 2.2371 if number == 0 else min(9.9371, 1.2371 + number + (2 if role == "adapter" else 0))
    return {
        "model": role,
        "model_fingerprint": BASE if role == "base" else ADAPTER,
        "adapter_id": ADAPTER,
        "example_id": draft["example_id"],
        "patient_key": draft["patient_key"],
        "answer": text,
        "score": score,
        "reason": WHY,
        "unsupported_numbers": 0,
        "is_finished": True,
        "judge_version": "j" * 64,
    }
