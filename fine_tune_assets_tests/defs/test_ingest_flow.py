"""Stages 1 to 5 on a few real reports, with the real scrubber: from dropped folders to an instruction set."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.definitions import build_defs, defs
from fine_tune_assets.defs.local_run import Summary, materialize_stale
from fine_tune_assets.instructions.certificate import check_separation
from fine_tune_assets.tables.asset_tables import AUXILIARY_TABLES, TABLES
from fine_tune_assets.tables.record_classes import list_displayable_columns
from fine_tune_assets_tests.conftest import count_of_examples, drop_dialogues, replace_file, write_recipe
from fine_tune_assets_tests.defs.ingest_selection import INGEST
from fine_tune_assets_tests.reports.sample_files import REPORT, WITH_PATIENT, WITH_SIDECAR, front_matter

pytestmark = pytest.mark.slow  # each scrub starts a process that loads Presidio

OF_A_BATCH = {"reports", "scrubbed_reports", "phi_spans"}
MARKER = "Zyxomarkwort"


def _materialize(instance: dg.DagsterInstance) -> Summary:
    return materialize_stale(build_defs(), instance, only=INGEST)


def _rows(data: Path, asset: str) -> list[dict[str, Any]]:
    """All rows of an asset, read as anybody would, from the files."""
    return [
        row for path in sorted((data / "tables" / asset).glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def _latest_metadata(instance: dg.DagsterInstance, asset: str) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_reports_flow_to_instruction_sets_and_only_what_is_new_runs(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """The path of the data, and that nothing runs for nothing: one story, since each scrub takes ten seconds."""
    visits = drop_dialogues(installation_dir, "2026-02", 0, 24) / "visits.csv"
    first = _materialize(instance)
    assert first.failed == []
    assert {asset for asset, _ in first.materialized} == INGEST
    assert all((partition == "2026-02") == (asset in OF_A_BATCH) for asset, partition in first.materialized)
    assert len(_rows(installation_dir, "reports")) == 24
    assert {row["source"] for row in _rows(installation_dir, "scrubbed_reports")} == {"mts-dialog"}
    made = pq.read_table(installation_dir / "tables" / "instruction_sets" / "instruction_sets.parquet")
    assert set(made.column("split").to_pylist()) == {"train", "validation", "test"}
    assert any(made.column("is_general").to_pylist())
    assert check_separation(made).is_clean

    assert _materialize(instance).runs == []

    replace_file(visits, visits.read_bytes())
    assert _materialize(instance).runs == []

    drop_dialogues(installation_dir, "2026-03", 30, 4)
    (installation_dir / "raw_reports" / "2026-04").mkdir()
    (installation_dir / "raw_reports" / "2026-04" / "scan.txt").write_bytes(b"\x00\x01\x02" * 100)
    (installation_dir / "raw_reports" / "2026-04" / "empty.txt").write_bytes(b"")
    second = _materialize(instance)
    assert second.failed == []
    assert {partition for asset, partition in second.materialized if asset in OF_A_BATCH} == {"2026-03", "2026-04"}
    assert "scrub_recall" not in {asset for asset, _ in second.materialized}
    assert len(_rows(installation_dir, "scrubbed_reports")) == 28
    reasons = {row["origin_file"]: row["reason"] for row in _rows(installation_dir, "unreadable_reports")}
    assert reasons == {"scan.txt": "not_text", "empty.txt": "empty"}
    after = pq.read_table(installation_dir / "tables" / "instruction_sets" / "instruction_sets.parquet")
    examples = count_of_examples(0, 24) + count_of_examples(30, 4)
    assert sum(not general for general in after.column("is_general").to_pylist()) == examples
    assert _materialize(instance).runs == []

    for asset in {*INGEST, *(table for table, owner in AUXILIARY_TABLES.items() if owner in INGEST)}:
        shown = _as_shown(_latest_metadata(instance, AUXILIARY_TABLES.get(asset, asset)))
        for row in _rows(installation_dir, asset):
            for column in set(TABLES[asset].names) - set(list_displayable_columns(TABLES[asset])):
                # The UI cuts a long value: its beginning is what would be seen.
                beginning = _as_shown(row[column])[:30]
                assert len(beginning) < 15 or beginning not in shown, f"{asset}.{column} is shown in the UI"


def test_the_first_set_waits_for_approvals_instead_of_failing_after_each_decision(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Fourteen failed attempts stood in the log of a reviewer's first afternoon, though nothing was wrong."""
    minimum = count_of_examples(0, 24) + 1
    write_recipe(installation_dir, split={"minimum_examples": minimum})
    drop_dialogues(installation_dir, "2026-02", 0, 24)
    first = _materialize(instance)
    assert first.failed == []
    assert {asset for asset, _ in first.materialized} == INGEST - {"instruction_sets"}
    shown = CliRunner().invoke(main, ["materialize", "--dry-run"])
    assert f"needs {minimum} approved examples, and {minimum - 1} are approved" in shown.stderr
    assert f"needs {minimum} approved" in CliRunner().invoke(main, ["status"]).stdout
    drop_dialogues(installation_dir, "2026-03", 30, 4)
    second = _materialize(instance)
    assert second.failed == []
    assert "instruction_sets" in {asset for asset, _ in second.materialized}
    assert "Waiting" not in CliRunner().invoke(main, ["status"]).stdout


def _as_shown(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _plant_and_ingest(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """Ingest a batch with a report whose text, and whose patient's name, hold a marker, and files that can't be read."""
    drop_dialogues(installation_dir, "2026-02", 0, 24)
    folder = installation_dir / "raw_reports" / "2026-05"
    folder.mkdir()
    (folder / "visit.txt").write_text(
        f"---\nsubject_name: Ann {MARKER}\nsubject_id: {MARKER}-7\n---\n"
        f"CHIEF COMPLAINT\n\nAnn {MARKER} has pain. {MARKER.upper()}\n\nASSESSMENT AND PLAN\n\nRest, said {MARKER}.\n"
    )
    (folder / "broken.txt").write_text(f"---\nsubject_name: [{MARKER}\n---\n{MARKER}\n")
    (folder / "rows.jsonl").write_text(f'{{"text": "{MARKER}", \n')
    assert _materialize(instance).failed == []


def test_a_planted_word_comes_out_nowhere(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """Dagster's home has no login: whatever of a report gets into it can be read by everybody."""
    _plant_and_ingest(installation_dir, instance)
    assert any(MARKER in row["text"] for row in _rows(installation_dir, "reports"))
    roots = Path(os.environ["DAGSTER_HOME"]), installation_dir / "ledger", installation_dir / "run"
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db", ".out", ".err"}
    assert [path for path in files if MARKER.lower().encode() in path.read_bytes().lower()] == []
    runs = instance.get_runs()
    assert len(runs) > 5
    for run in runs:
        assert MARKER.lower() not in str([run.tags, run.run_config, *instance.all_logs(run.run_id)]).lower()
    # What the report's own metadata states is always removed, in upper or lower case.
    for asset in sorted(INGEST - {"reports"}):
        assert MARKER.lower() not in str(_rows(installation_dir, asset)).lower(), asset


def test_documents_of_every_format_flow_to_instruction_sets_without_those_whom_they_name(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """What HL7, FHIR, C-CDA or a sidecar states is removed for certain; numbers and sides stay."""
    drop_dialogues(installation_dir, "2026-02", 0, 24)
    folder = installation_dir / "raw_reports" / "2026-05"
    folder.mkdir()
    named = f" {REPORT.subject_name} ({REPORT.subject_id}) was seen by Dr. {REPORT.physician_family}."
    sections = tuple((heading, text + named) for heading, text in REPORT.sections)
    report = replace(REPORT, sections=sections)
    for ending, write in {**WITH_PATIENT, **WITH_SIDECAR}.items():
        (folder / f"visit-{ending}.{ending}").write_bytes(write(report))
        if ending in WITH_SIDECAR:
            (folder / f"visit-{ending}.yaml").write_text(front_matter(report))
    assert _materialize(instance).failed == []
    raw = [row for row in _rows(installation_dir, "reports") if row["batch"] == "2026-05"]
    scrubbed = [row for row in _rows(installation_dir, "scrubbed_reports") if row["batch"] == "2026-05"]
    assert len(raw) == len(scrubbed) == len(WITH_PATIENT) + len(WITH_SIDECAR)
    for row in scrubbed:
        for name in (report.given, report.family, report.physician_family, report.subject_id):
            assert name.lower() not in row["text"].lower(), row["report_id"]
        assert "left wrist" in row["text"]
        assert "2.5 cm" in row["text"]


def _label_what_nobody_finds(installation_dir: Path) -> None:
    text = "The patient rests and drinks water."
    row = {"id": "1", "text": text, "spans": [{"start": text.index("water"), "end": len(text) - 1, "label": "NAME"}]}
    (installation_dir / "evaluation" / "phi" / "too_hard.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")


def test_a_scrubber_below_the_floor_scrubs_nothing_not_even_by_hand(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """The gate of all gates: a report that was not scrubbed well enough must not become an example."""
    write_recipe(installation_dir, scrub={"recall_floor": 1.0})
    _label_what_nobody_finds(installation_dir)
    drop_dialogues(installation_dir, "2026-02", 0, 2)
    stopped = _materialize(instance)
    assert "scrub_recall" in {asset for asset, _ in stopped.materialized}
    assert {asset for asset, _ in stopped.materialized} & {
        "scrubbed_reports",
        "unique_reports",
        "instruction_sets",
    } == set()
    by_hand = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey("scrubbed_reports"), dg.AssetKey("phi_spans")],
        partition_key="2026-02",
        raise_on_error=False,
    )
    assert not by_hand.success
    (failure,) = [event for event in by_hand.all_events if event.is_step_failure]
    assert failure.step_failure_data.error is not None
    assert "GateClosedError: The scrubber removes" in failure.step_failure_data.error.to_string()
    assert not (installation_dir / "tables" / "scrubbed_reports").exists()
    assert list((installation_dir / "run" / "scratch").rglob("*.parquet")) == []
