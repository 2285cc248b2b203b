"""A subject is erased from batches, tables, instruction sets and ledger, despite a kill at each step, and stays erased.

One planted subject with reports in a separate file, in a file shared with another subject, and in an archive; the real
scrubber; all of stages 1 to 5; a training, a verdict and a release recorded by the functions that record real ones.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.shared_records import Release, Verdict
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import Summary, materialize_stale
from fine_tune_assets.defs.platform.automation import latest_event
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.subject_erasure import ErasureError, erase_subject
from fine_tune_assets.instructions.stored_sets import ErasedInstructionSetError, read_instruction_set
from fine_tune_assets.ledger.reviews.erasures import find_erasure
from fine_tune_assets.ledger.serving.deployments import record_state, request_deployment, switch_traffic
from fine_tune_assets.ledger.serving.release_records import record_release
from fine_tune_assets.ledger.serving.verdicts import compute_verdict_id, record_verdict
from fine_tune_assets.lineage.training_runs import record_training_run
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.conftest import DIALOGUES, drop_dialogues
from fine_tune_assets_tests.defs.ingest_selection import INGEST
from fine_tune_assets_tests.ledger.ledger_rows import record_decision
from fine_tune_assets_tests.marked_reports import mark_name

# Each of about ten scrubs starts a process that loads Presidio.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STAGES = INGEST
MARKER = "zyxomarkwort"
"""An invented lowercase word: no rule recognizes it as a name, so it passes through every stage."""
MISSED = "quorvelmark"
PATIENT_ID = "7-7-7"
OTHERS, OWN, SHARED, LATER = "2026-02", "2026-05", "2026-06", "2026-07"
OF_PATIENT = {f"{OWN}/visit", f"{OWN}/packed.zip/second", f"{SHARED}/s-1"}


class Planted:
    """A small installation that contains the subject."""

    def __init__(self, data: Path, instance: dg.DagsterInstance) -> None:
        self.data, self.instance = data, instance
        drop_dialogues(data, OTHERS, 0, 24)
        own = data / "raw_reports" / OWN
        own.mkdir()
        (own / "visit.txt").write_text(report(f"It is {MISSED} pain."))
        (own / "other.txt").write_text(report("It is a burn.", patient="8-8-8", marker="press"))
        with zipfile.ZipFile(own / "packed.zip", "w") as archive:
            archive.writestr("second.txt", report("It is a cough."))
        shared = data / "raw_reports" / SHARED
        shared.mkdir()
        about = yaml.safe_load((DIALOGUES / "batch.yaml").read_text(encoding="utf-8"))
        (shared / "batch.yaml").write_text(yaml.safe_dump(about))
        rows = [row("s-1", PATIENT_ID, MARKER), row("s-2", "9-9-9", "willow")]
        (shared / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))

    def materialize(self) -> Summary:
        summary = materialize_stale(defs, self.instance, only=STAGES)
        assert summary.failed == []
        return summary

    def rows(self, asset: str) -> list[dict[str, Any]]:
        paths = sorted((self.data / "tables" / asset).glob("*.parquet"))
        return [r for path in paths for r in pq.read_table(path).to_pylist()]

    @property
    def patient(self) -> str:
        return call("subjects", "key", entered=f" {PATIENT_ID}\n").strip()

    def approve(self) -> None:
        """An expert approves every draft of the subject, and repairs one of them."""
        with Installation().ledger() as ledger:
            for number, draft in enumerate(
                r for r in self.rows("drafted_examples") if r["subject_key"] == self.patient
            ):
                output = f"Better with {MARKER} tea." if number == 0 else None
                record_decision(
                    ledger,
                    **{name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")},
                    decision="approve",
                    output=output,
                    approved_fingerprint=content_fingerprint(
                        draft["instruction"], draft["input"], output or draft["output"]
                    ),
                    reviewer="expert-1",
                    reason=f"She said {MARKER}.",
                )

    def serve_what_was_learned(self) -> str:
        """Record a training on the current set, its verdict and a live release, as the stages do."""
        event = latest_event(self.instance, dg.AssetKey("instruction_sets"))
        assert event is not None
        set_fingerprint = str(event.version)
        installation = Installation()
        named = {"adapter_id": "a" * 64, "base_fingerprint": "b" * 64, "instruction_set_fingerprint": set_fingerprint}
        record_training_run(installation.layout.adapters, named["adapter_id"], set_fingerprint, too_long=[])
        figures: dict[str, Any] = {
            name: 1 if field_type in ("int64", "double") else "none"
            for name, field_type in ((f.name, str(f.type)) for f in Adapter.SCHEMA)
        }
        write_table(installation.layout.table("adapters"), table_from_rows([{**figures, **named}], Adapter.SCHEMA))
        facts: dict[str, Any] = {
            "decision": "promote", "line": "a-line", **named, "incumbent": named["base_fingerprint"],
            "reasons": ("Measured.",), "evidence": "{}"
        }  # fmt: skip
        verdict = Verdict(verdict_id=compute_verdict_id(**facts), **facts)
        release = Release("r-1", "releases/r-1", verdict.line, verdict.verdict_id, *named.values(), "w" * 64, "p" * 64)
        with installation.ledger() as ledger:
            record_verdict(ledger, verdict)
            record_release(ledger, release)
            deployment = request_deployment(ledger, release.release_id)
            record_state(ledger, deployment.deployment_id, "starting")
            record_state(ledger, deployment.deployment_id, "ready", engine_url="http://127.0.0.1:1/v1", engine_key=b"k")
            switch_traffic(ledger, deployment.deployment_id)
        return set_fingerprint

    def places(self) -> dict[str, set[str]]:
        """Map each remaining marker, key and report id of the subject to the files that contain it, including the ledger."""
        search_description = {"marker": {MARKER, MISSED}, "key": {self.patient}, "reports": OF_PATIENT}
        found: dict[str, set[str]] = {}
        for path, content in contents(self.data):
            for what, words in search_description.items():
                if any(word in content for word in words):
                    found.setdefault(what, set()).add(path)
        return found


def report(complaint: str, patient: str = PATIENT_ID, marker: str = MARKER) -> str:
    return (
        f"---\nsubject_name: Ann Quillfeather\nsubject_id: {patient}\n---\nCHIEF COMPLAINT\n\n{complaint}\n\n"
        f"HISTORY OF PRESENT ILLNESS\n\nShe is better with {marker} tea on 03/14/2024.\n"
    )


def row(report_id: str, patient: str, marker: str) -> dict[str, str]:
    said = f"Doctor: What helps? Patient: The {marker} tea helps with the {report_id} ache."
    return {
        "report_id": report_id, "subject_id": patient, "section_name": "medications", "section_text": f"Takes {marker} tea.",
        "dialogue": said,
    }  # fmt: skip


def contents(data: Path) -> Iterator[tuple[str, str]]:
    """Text of every file below the data folder: rows of Parquet, entries of archives, bytes of anything else."""
    for path in sorted(p for p in data.rglob("*") if p.is_file()):
        name = path.relative_to(data).as_posix()
        if path.suffix == ".parquet":
            yield name, str(pq.read_table(path).to_pylist())
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield name, "".join(archive.read(entry).decode() for entry in archive.namelist())
        yield name, path.read_bytes().decode("utf-8", "replace")


def call(*arguments: str, entered: str = "") -> str:
    done = CliRunner().invoke(main, list(arguments), input=entered)
    assert done.exit_code == 0, done.output
    return str(done.output)


class Killed(Exception):
    """Simulates a power failure."""


def erase(planted: Planted, killed_before: int | None = None) -> list[str]:
    """Erase as the command does, killed before the given step. Returns the steps that began."""
    begun: list[str] = []

    def tell(step: str) -> None:
        if len(begun) == killed_before:
            raise Killed
        begun.append(step)

    installation = Installation()
    with installation.ledger() as ledger:
        erase_subject(
            planted.instance,
            installation,
            ledger,
            subject_key=planted.patient,
            by="officer",
            reason="Art. 17",
            on_step=tell,
        )
    return begun


def test_a_subject_is_erased_despite_a_kill_at_every_step_and_stays_erased(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """One long test, because each scrub takes ten seconds."""
    planted = Planted(installation_dir, instance)
    planted.materialize()
    planted.approve()
    mark_name(Installation(), f"{OWN}/visit", MISSED)
    planted.materialize()
    old_set = planted.serve_what_was_learned()
    key = planted.patient
    before = planted.places()
    for where in (
        "tables/reports/",
        "tables/scrubbed_reports/",
        "tables/approved_examples/",
        "instruction_sets/",
        "ledger/",
    ):
        assert any(where in path for path in before["marker"]), where
    others = {r["example_id"] for r in planted.rows("instruction_sets") if r["subject_key"] != key}
    trace = json.loads(call("trace", "subject", key, "--json"))
    assert {r["report_id"] for r in trace["reports"]} == OF_PATIENT
    saw = {made["release_id"] for e in trace["examples"] for t in e["trainings"] for made in t["releases"]}
    assert saw == {"r-1"}

    outlook = call("subjects", "erase", key, "--reason", "Art. 17", "--dry-run")
    assert "Reports        3 in 2 batches" in outlook
    assert "Raw files      2 contain only this subject" in outlook
    assert f"{SHARED}/rows.jsonl, records 1" in outlook
    assert planted.places() == before

    # A run that began before the tombstone may still store what it read, so nothing is removed until it ends.
    of_reading = frozenset({dg.AssetKey("reports")})
    job = defs.resolve_implicit_global_asset_job_def()
    at_work = instance.create_run_for_job(job, asset_selection=of_reading)
    instance.report_run_canceling(at_work, "holds the erasure up")
    with pytest.raises(ErasureError, match="1 active run"):
        erase(planted)
    with Installation().ledger() as ledger:
        assert find_erasure(ledger, key) is not None
    assert "tables/reports/2026-05.parquet" in planted.places()["marker"]
    instance.report_run_canceled(at_work)

    for number in range(1, 20):
        try:
            steps = erase(planted, killed_before=number)
            break
        except Killed:
            assert "not finished" in call("trace", "subject", key)
    assert len(steps) == number > 10
    left = planted.places()
    assert left["marker"] == {f"raw_reports/{SHARED}/rows.jsonl"}
    assert "reports" not in left
    assert {path.partition("/")[0] for path in left["key"]} == {"ledger"}

    again = planted.materialize()
    read_again = {partition for asset, partition in again.materialized if asset == "reports"}
    assert read_again == {OWN, SHARED}
    assert planted.places() == left
    assert planted.materialize().runs == []
    assert {r["report_id"] for r in planted.rows("reports") if r["batch"] != OTHERS} == {
        f"{OWN}/other",
        f"{SHARED}/s-2",
    }
    refused = [r for r in planted.rows("unreadable_reports") if r["reason"] == "erased_subject"]
    assert [(r["batch"], r["origin_file"], r["record"]) for r in refused] == [(SHARED, "rows.jsonl", 1)]
    kept = {r["example_id"] for r in planted.rows("instruction_sets") if not r["is_general"]}
    assert kept == {e for e in others if e in kept} != set()

    with pytest.raises(ErasedInstructionSetError, match=old_set[:16]):
        read_instruction_set(Installation().layout.instruction_sets, old_set)
    assert "Erased  " in call("trace", "release", "r-1")

    # In a later batch the same subject is refused, and the other subjects are read.
    later = installation_dir / "raw_reports" / LATER
    later.mkdir()
    (later / "again.txt").write_text(report("It is back."))
    (later / "new.txt").write_text(report("It is new.", patient="6-6-6", marker="linden"))
    planted.materialize()
    assert [r["report_id"] for r in planted.rows("reports") if r["batch"] == LATER] == [f"{LATER}/new"]
    assert all(MARKER not in str(planted.rows(asset)) for asset in STAGES)
    assert fingerprint_table(pq.read_table(installation_dir / "tables/instruction_sets/instruction_sets.parquet"))

    # After the subject is restored, remaining files in the raw folders are read again.
    call("subjects", "restore", key, "--reason", "Order 4", "--yes")
    planted.materialize()
    assert {r["report_id"] for r in planted.rows("reports") if r["subject_key"] == key} == {
        f"{LATER}/again",
        f"{SHARED}/s-1",
    }
