"""From a name that a reviewer typed to the places that the desk marks, and to an empty table when it was removed."""

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.lineage.final_text_findings import match_scanned_text, read_newest_findings
from fine_tune_assets_tests.conftest import drop_dialogues
from fine_tune_assets_tests.defs.ingest_selection import INGEST
from fine_tune_assets_tests.ledger.ledger_rows import record_decision

pytestmark = pytest.mark.slow  # the scrubber's process loads Presidio


def _rows(data: Path, asset: str) -> dict[str, dict[str, Any]]:
    return {row["example_id"]: row for row in pq.read_table(data / "tables" / asset / f"{asset}.parquet").to_pylist()}


def test_a_typed_name_is_found_at_its_place_until_the_example_is_repaired_again(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """No scrubber reads a repair: this scan is the last one, and its reader has to see what it means."""
    drop_dialogues(installation_dir, "2026-02", 0, 24)
    assert materialize_stale(defs, instance, only=INGEST).failed == []
    root = load_settings().layout.instruction_sets
    assert read_newest_findings(root) == []
    example_id = next(iter(_rows(installation_dir, "approved_examples")))
    draft, ledger = _rows(installation_dir, "drafted_examples")[example_id], open_ledger(load_settings())

    def repair(output: str) -> None:
        named = {name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")}
        signed = content_fingerprint(draft["instruction"], draft["input"], output)
        record_decision(ledger, **named, output=output, reviewer="A Reviewer", approved_fingerprint=signed)
        materialize_stale(defs, instance, only=INGEST)

    repair(f"{draft['output']} Mrs. Henrietta Oakbarrow called from 617-555-0177.")
    approved = _rows(installation_dir, "approved_examples")[example_id]
    found = read_newest_findings(root, example_id)
    assert read_newest_findings(root) == found
    outputs = {approved["fingerprint"]: approved["output"]}
    scanned = match_scanned_text(found, approved["instruction"], approved["input"], outputs)
    assert scanned is not None
    words = {(word.kind, word.part): word.text for word in scanned.words}
    assert words["PHONE", "output"] == "617-555-0177"
    assert "Oakbarrow" in words["NAME", "output"]
    repair(f"{draft['output']} His daughter called.")
    assert read_newest_findings(root) == []
    ledger.close()
