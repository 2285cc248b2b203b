"""Model drafts in the graph: what is missing waits in sight, and what was written stays."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
import yaml

from fine_tune_assets.approval.model_drafts import draft_row
from fine_tune_assets.approval.task_kinds import ReportText, model_requests
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s04_approved_examples.drafting_models import NOBODY, NOT_ASKED_FOR, drafting_model_version
from fine_tune_assets.defs.s04_approved_examples.model_drafts import every_model_draft_is_written, model_drafts
from fine_tune_assets.tables.approval import ModelDraft
from fine_tune_assets.tables.records import records_of, table_from, table_of
from fine_tune_assets.tables.training import BaseModel
from fine_tune_assets_tests.approval.examples import reports

SUMMARY = {"name": "summary", "instruction": "Summarise.", "kind": "model", "input_sections": ["FINDINGS"]}


@pytest.fixture
def asked(installation_dir: Path) -> Path:
    """An installation whose recipe has a task for a model."""
    path = installation_dir / "recipe.yaml"
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, "tasks": [{**SUMMARY, "max_new_tokens": 8}]}))
    return installation_dir


def run(instance: dg.DagsterInstance, unique: pa.Table) -> dg.MaterializeResult[pa.Table]:
    with dg.build_asset_context(instance=instance) as context:
        return model_drafts(context, installation=Installation(), worker=Worker(), unique_reports=unique)  # type: ignore[return-value]


@pytest.mark.usefixtures("installation_dir")
def test_a_recipe_without_such_a_task_waits_for_no_model(instance: dg.DagsterInstance) -> None:
    """Most recipes: another release must not touch their drafts."""
    assert drafting_model_version(Installation()) == NOT_ASKED_FOR
    assert run(instance, reports("FINDINGS\nSprain.")).value.num_rows == 0


def test_without_any_model_drafts_wait_in_sight_and_the_check_closes(asked: Path, instance: dg.DagsterInstance) -> None:
    """The first run comes before the base model was imported; its drafts must not be forgotten."""
    assert asked.is_dir()
    unique = reports("FINDINGS\nSprain.")
    made = run(instance, unique)
    assert (made.value.num_rows, (made.metadata or {})["not_written"]) == (0, 1)
    assert drafting_model_version(Installation()) == NOBODY
    checked: Any = every_model_draft_is_written(Installation(), made.value, unique)
    assert not checked.passed
    write_table(
        Installation().layout.table("base_models"), table_of([_base_model(Path("m"), "f" * 64)], BaseModel.SCHEMA)
    )
    assert drafting_model_version(Installation()) == "f" * 64


def test_what_was_written_stays_and_what_no_report_says_any_more_goes(
    asked: Path, instance: dg.DagsterInstance
) -> None:
    """A held-back report's draft may hold what it was held back for."""
    assert asked.is_dir()
    before = reports("FINDINGS\nSprain.", "FINDINGS\nFracture.")
    requests = model_requests(lambda: records_of(ReportText, before), Installation().recipe.tasks)
    rows = [draft_row(request, "A draft.", True, "abc") for request in requests]
    write_table(Installation().layout.table("model_drafts"), table_from(ModelDraft, rows))
    made = run(instance, reports("FINDINGS\nSprain."))
    assert made.value.column("report_id").to_pylist() == ["b/1"]
    checked: Any = every_model_draft_is_written(Installation(), made.value, reports("FINDINGS\nSprain."))
    assert checked.passed


@pytest.mark.slow
def test_the_base_model_writes_what_is_missing_in_a_process_of_its_own(asked: Path, smollm2: Path) -> None:
    """Through Dagster, with the real worker and the real model; the draft says which model it was."""
    fingerprint = fingerprint_folder(smollm2)
    layout = Installation().layout
    write_table(layout.table("base_models"), table_of([_base_model(smollm2, fingerprint)], BaseModel.SCHEMA))
    text = "FINDINGS\nThe patient Zyxwvutquark has had a cough for three weeks."

    @dg.asset
    def unique_reports() -> pa.Table:
        return reports(text)

    from fine_tune_assets.defs.platform.resources import parquet_tables

    with dg.DagsterInstance.get() as instance:
        done = dg.materialize(
            [unique_reports, model_drafts],
            resources={"installation": Installation(), "worker": Worker(), "io_manager": parquet_tables},
            instance=instance,
        )
        assert done.success
        messages = [str(json.dumps(str(r.message))) for r in instance.all_logs(done.run_id)]
    (row,) = done.output_for_node("model_drafts").to_pylist()
    assert row["drafted_by"].startswith("model ")
    assert row["output"]
    assert not any("Zyxwvutquark" in message for message in messages)
    assert not list((asked / "run" / "scratch").rglob("*.parquet"))


def _base_model(folder: Path, fingerprint: str) -> dict[str, Any]:
    names = {field.name: None if field.nullable else "x" for field in BaseModel.SCHEMA}
    return {**names, "folder": str(folder), "fingerprint": fingerprint, "parameters": 1}
