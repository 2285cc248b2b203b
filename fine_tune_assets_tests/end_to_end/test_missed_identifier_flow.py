"""A reviewer marks a missed identifier: from the mark on the command line to the instruction set, and back.

One planted word, which no rule can find, in two batches of one patient; the real scrubber; all of stages 1 to 5.
"""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import Summary, materialize_stale
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import require_no_missed_identifiers
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets_tests.conftest import drop_dialogues
from fine_tune_assets_tests.defs.ingest_selection import INGEST
from fine_tune_assets_tests.ledger.ledger_rows import record_decision
from fine_tune_assets_tests.marked_reports import mark_name

# Each of ten scrubs starts a process that loads Presidio.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]
MISSED = "zyxomarkwort"
"""An invented lowercase word: no rule and no model recognizes it as a name."""
BEHIND_SCRUBBING = {
    "unique_reports",
    "duplicate_reports",
    "model_drafts",
    "drafted_examples",
    "approved_examples",
    "instruction_sets",
}
MARKED, OTHER_BATCH, UNTOUCHED = "2026-05", "2026-06", "2026-02"


class Small:
    """A small installation in which the word was missed."""

    def __init__(self, data: Path, instance: dg.DagsterInstance) -> None:
        self.data, self.instance = data, instance
        drop_dialogues(data, UNTOUCHED, 0, 24)
        for batch, complaint in ((MARKED, "pain"), (OTHER_BATCH, "a cough")):
            folder = data / "raw_reports" / batch
            folder.mkdir()
            (folder / "visit.txt").write_text(
                f"---\nsubject_name: Ann Quillfeather\nsubject_id: 7-7-7\n---\nCHIEF COMPLAINT\n\nIt is {complaint}.\n\n"
                f"HISTORY OF PRESENT ILLNESS\n\nShe has {complaint}, better with {MISSED} tea on 03/14/2024.\n"
            )
        (data / "raw_reports" / MARKED / "other.txt").write_text(
            "---\nsubject_id: 8-8-8\n---\nCHIEF COMPLAINT\n\nA burn.\n\nHISTORY OF PRESENT ILLNESS\n\n"
            f"It came from the {MISSED} press.\n"
        )

    def materialize(self, only: set[str] = INGEST) -> Summary:
        summary = materialize_stale(defs, self.instance, only=only)
        assert summary.failed == []
        return summary

    def rows(self, asset: str) -> list[dict[str, Any]]:
        paths = sorted((self.data / "tables" / asset).glob("*.parquet"))
        return [row for path in paths for row in pq.read_table(path).to_pylist()]

    def holding(self, asset: str) -> set[str]:
        """The reports of the subject whose row in this table contains the word."""
        rows = self.rows(asset)
        return {row["report_id"] for row in rows if MISSED in str(row) and row["subject_key"] == self.patient}

    @property
    def patient(self) -> str:
        return next(str(r["subject_key"]) for r in self.rows("reports") if r["report_id"] == f"{MARKED}/visit")

    def approve(self) -> None:
        """An expert approves every current draft of the subject."""
        with Installation().ledger() as ledger:
            for draft in self.rows("drafted_examples"):
                if draft["subject_key"] == self.patient:
                    record_decision(
                        ledger,
                        **{name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")},
                        decision="approve",
                        output=None,
                        reviewer="expert-1",
                    )
        self.materialize()


def call(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["phi", *arguments])
    assert done.exit_code == 0, done.output
    return str(done.output)


def test_a_marked_report_is_withheld_scrubbed_again_and_measured(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """One long test, because each scrub takes ten seconds."""
    small = Small(installation_dir, instance)
    small.materialize()
    small.approve()
    both = {f"{MARKED}/visit", f"{OTHER_BATCH}/visit"}
    assert small.holding("scrubbed_reports") == small.holding("approved_examples") == both
    floor = small.rows("scrub_recall")
    before = pq.read_table(installation_dir / "tables" / "instruction_sets" / "instruction_sets.parquet")
    require_no_missed_identifiers(Installation(), before)

    mark_id = mark_name(Installation(), f"{MARKED}/visit", MISSED)
    assert "1 withheld" in call("marks")
    with pytest.raises(GateClosedError, match=r"^2 examples"):
        require_no_missed_identifiers(Installation(), before)

    # Before reports are scrubbed again, and while the scrubber works: both reports and everything derived from them are withheld.
    at_once = small.materialize(BEHIND_SCRUBBING)
    assert {asset for asset, _ in at_once.materialized} == BEHIND_SCRUBBING
    assert small.holding("scrubbed_reports") == both
    for asset in ("unique_reports", "drafted_examples", "approved_examples"):
        assert both & {row["report_id"] for row in small.rows(asset)} == set(), asset
    assert small.patient not in {row["subject_key"] for row in small.rows("instruction_sets")}
    assert f"{MARKED}/other" in {row["report_id"] for row in small.rows("unique_reports")}

    again = small.materialize()
    scrubbed_again = {p for asset, p in again.materialized if asset == "scrubbed_reports"}
    assert scrubbed_again == {MARKED, OTHER_BATCH}
    assert [asset for asset, _ in again.materialized].count("scrub_recall") == 1
    assert "1 removed" in call("marks")
    texts = {row["report_id"]: row["tagged_text"] for row in small.rows("scrubbed_reports")}
    assert all("better with [NAME] tea on [DATE]" in texts[report_id] for report_id in both)
    # The word stays in another subject's reports: there it may be an ordinary word.
    assert MISSED in texts[f"{MARKED}/other"]
    # The expert approved a different text, so the new one waits.
    drafts = {row["report_id"] for row in small.rows("drafted_examples")}
    approved = {row["report_id"] for row in small.rows("approved_examples")}
    assert both <= drafts
    assert both & approved == set()

    recalls = [r for r in small.rows("scrub_recall") if r["measure"] == "masked_recall"]
    marked = {r["label"]: r for r in recalls if r["labelled_set"] == REVIEWER_MARKS}
    assert (marked["NAME"]["total"], marked["NAME"]["hits"], marked["DATE"]["hits"]) == (1, 0, 1)
    assert [row for row in small.rows("scrub_recall") if row["labelled_set"] != REVIEWER_MARKS] == floor
    assert small.materialize().runs == []
    _require_nowhere(small)

    call("withdraw", mark_id)
    back = small.materialize()
    assert {p for asset, p in back.materialized if asset == "scrubbed_reports"} == {MARKED, OTHER_BATCH}
    assert small.holding("scrubbed_reports") == small.holding("approved_examples") == both
    assert small.rows("scrub_recall") == floor
    assert small.materialize().runs == []


def _require_nowhere(small: Small) -> None:
    """The word is in the raw reports and in the other subject's text, and in plain text nowhere else."""
    roots = Path(os.environ["DAGSTER_HOME"]), small.data / "ledger", small.data / "run"
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db", ".out", ".err"}
    assert [path for path in files if MISSED.encode() in path.read_bytes().lower()] == []
    for run in small.instance.get_runs():
        assert MISSED not in str([run.tags, run.run_config, *small.instance.all_logs(run.run_id)]).lower()
    for asset in sorted(INGEST - {"reports"}):
        of_others = [row for row in small.rows(asset) if row.get("subject_key") == small.patient]
        assert MISSED not in str(of_others or small.rows(asset)).lower() or asset in _OF_THE_OTHER, asset


_OF_THE_OTHER = {"scrubbed_reports", "unique_reports", "drafted_examples", "approved_examples", "instruction_sets"}
