"""A user's correction on its way back: encrypted in the ledger, scrubbed, drafted, approved by somebody else, trained on."""

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.approval.drafting import CORRECTION
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale
from fine_tune_assets.ledger.corrections import record_correction
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets_tests.conftest import drop_dialogues
from fine_tune_assets_tests.defs.test_ingest_flow import INGEST
from fine_tune_assets_tests.ledger.made import record_decision, record_promoted

pytestmark = pytest.mark.slow  # the scrubber's process loads Presidio
PATIENT = "Rosalind Quillfeather"
"""Nobody's name: planted, to see that it is removed."""


def _corrections_in(data: Path, asset: str) -> list[dict[str, Any]]:
    rows = pq.read_table(data / "tables" / asset / f"{asset}.parquet").to_pylist()
    return [row for row in rows if row["source"] == CORRECTION]


def test_a_correction_is_trained_on_only_after_somebody_else_approved_it(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Its author can't approve it, and what identifies the patient is gone before anyone reads it."""
    settings = load_settings()
    drop_dialogues(installation_dir, "2026-02", 0, 24)
    assert materialize_stale(defs, instance, only=INGEST).failed == []

    ledger = open_ledger(settings.database_url)
    answered = record_promoted(ledger, "answered")
    record_correction(
        ledger,
        read_or_create_key(settings.layout.keys, KEY_NAME),
        release_id=answered.release_id,
        author="ward-7",
        instruction="Summarise this part of the visit as a section of the medical note.",
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
    decide("somebody-else")
    approved = _corrections_in(installation_dir, "approved_examples")[0]
    assert approved["approved_by"] == "somebody-else"
    assert [row["fingerprint"] for row in _corrections_in(installation_dir, "instruction_sets")] == [
        approved["fingerprint"]
    ]
    ledger.close()
