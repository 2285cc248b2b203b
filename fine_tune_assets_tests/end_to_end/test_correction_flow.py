"""The path of a correction: encrypted in the ledger, scrubbed, drafted, approved by another person, trained on."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.prompts.retrieval_contract import AnswerSources, CorrectionPassage
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets_tests.conftest import drop_dialogues, write_recipe
from fine_tune_assets_tests.defs.ingest_selection import INGEST
from fine_tune_assets_tests.ledger.ledger_rows import record_decision, record_promoted

pytestmark = pytest.mark.slow  # the scrubber's process loads Presidio
PATIENT = "Rosalind Quillfeather"
"""An invented name, planted to check that it is removed."""


def _corrections_in(data: Path, asset: str) -> list[dict[str, Any]]:
    rows = pq.read_table(data / "tables" / asset / f"{asset}.parquet").to_pylist()
    return [row for row in rows if row["source"] == CORRECTION]


def test_a_correction_is_trained_on_only_after_another_person_approved_it(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Its author can't approve it, and identifiers of the patient are removed before anyone reads it."""
    settings = load_settings()
    drop_dialogues(installation_dir, "2026-02", 0, 24)
    assert materialize_stale(defs, instance, only=INGEST).failed == []

    ledger = open_ledger(settings)
    answered = record_promoted(ledger, "answered")
    record_correction(
        ledger,
        read_or_create_key(settings.layout.keys, KEY_NAME),
        release_id=answered.release_id,
        author="ward-7",
        instruction="Summarize this part of the visit as a section of the medical note.",
        input=f"Doctor: Good morning, Mrs. {PATIENT}. Any fever?\nPatient: No, none.",
        answer="Fever.",
        corrected_answer=f"{PATIENT} denies fever.",
        idempotency_key="one",
    )
    assert materialize_stale(defs, instance, only=INGEST).failed == []
    draft = _corrections_in(installation_dir, "drafted_examples")[0]
    assert "denies fever" in draft["output"]
    assert PATIENT not in draft["input"] + draft["output"]
    assert _corrections_in(installation_dir, "approved_examples") == []

    def decide(reviewer: str) -> None:
        record_decision(
            ledger,
            example_id=draft["example_id"],
            fingerprint=draft["fingerprint"],
            report_id=draft["report_id"],
            task=draft["task"],
            decision="approve",
            output=None,
            reviewer=reviewer,
        )
        assert materialize_stale(defs, instance, only=INGEST).failed == []

    decide("ward-7")
    assert _corrections_in(installation_dir, "approved_examples") == []
    decide("another-person")
    approved = _corrections_in(installation_dir, "approved_examples")[0]
    assert approved["approved_by"] == "another-person"
    assert [row["fingerprint"] for row in _corrections_in(installation_dir, "instruction_sets")] == [
        approved["fingerprint"]
    ]
    ledger.close()


def test_a_correction_is_trained_on_with_its_passages_and_without_identifiers(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """A document may contain a doctor's name and a date. Both are removed from passage, version and answer; otherwise the check
    of the final texts would close the gate for the whole set."""
    write_recipe(installation_dir, retrieval={"enabled": True}, corrections={"maximum_author_fraction": 1.0})
    settings = load_settings()
    drop_dialogues(installation_dir, "2026-02", 0, 24)
    ledger = open_ledger(settings)
    answered = record_promoted(ledger, "answered")
    text = f"Full-time staff have 20 days of leave. Since 4 May 2024 Dr. {PATIENT} grants it, phone 212-555-0187."
    passage = CorrectionPassage("p1", "Leave", "leave.md", "4 May 2024", ("Who grants it",), text, ("everyone",))
    sent = record_correction(
        ledger,
        read_or_create_key(settings.layout.keys, KEY_NAME),
        release_id=answered.release_id,
        author="ward-7",
        instruction="Who grants leave?",
        input="",
        answer="Nobody.",
        corrected_answer=f"Dr. {PATIENT} grants it [1].",
        idempotency_key="one",
        answer_sources=AnswerSources("f" * 64, ("p1",), (passage,)),
    )
    assert materialize_stale(defs, instance, only=INGEST).failed == []
    draft = _corrections_in(installation_dir, "drafted_examples")[0]
    named = {name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")}
    record_decision(ledger, **named, decision="approve", output=None, reviewer="another-person")
    assert materialize_stale(defs, instance, only=INGEST).failed == []
    (row,) = _corrections_in(installation_dir, "instruction_sets")
    asked, said = (message["content"] for message in row["messages"][1:])
    assert asked.startswith(load_recipe(settings.recipe).retrieval.template.partition("{passages}")[0])
    assert asked.endswith("Question: Who grants leave?")
    assert "Full-time staff have 20 days of leave." in asked
    for identifier in (PATIENT, "Quillfeather", "4 May", "0187"):
        assert identifier not in asked + said
    sets = [path for path in settings.layout.instruction_sets.iterdir() if path.is_dir()]
    known = {path: pq.read_table(path / "provenance.parquet").to_pylist() for path in sets}
    ((stored, carried),) = [(path, row) for path in sets for row in known[path] if row["source"] == CORRECTION]
    assert (carried["report_id"], carried["passage_count"]) == (f"correction/{sent}", 1)
    evidence = json.loads((stored / "manifest.json").read_text(encoding="utf-8"))["evidence"]
    assert evidence["identifiers"]["findings"] == {}
    ledger.close()
