"""Model drafts in the graph: what is missing waits in sight, and what was written stays."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
import yaml

from fine_tune_assets.approval.draft_generation import build_model_draft
from fine_tune_assets.approval.task_kinds import DraftRequest, ReportText, build_requests, read_section_rules
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s04_approved_examples.drafting_models import (
    NO_MODEL,
    NO_VERIFIER,
    NOT_NEEDED,
    drafting_model_version,
    verifier_folder,
)
from fine_tune_assets.defs.s04_approved_examples.model_drafts import every_model_draft_is_written, model_drafts
from fine_tune_assets.judging.evaluation.draft_support import describe_check, find_verifier_failure
from fine_tune_assets.tables.approval_rows import ModelDraft
from fine_tune_assets.tables.record_classes import iter_records, table_from_records, table_from_rows
from fine_tune_assets.tables.training_rows import BaseModel
from fine_tune_assets_tests.approval.examples import reports, supported
from fine_tune_assets_tests.clinical_domain import SECTION_NAMES

SUMMARY = {"name": "summary", "instruction": "Summarize.", "kind": "model", "input_sections": ["FINDINGS"]}


@pytest.fixture
def asked(installation_dir: Path) -> Path:
    """An installation whose recipe has a task for a model."""
    path = installation_dir / "recipe.yaml"
    values = yaml.safe_load(path.read_text())
    del values["review"]["guidelines"], values["gate"]["untested_tasks"]  # of other tasks
    path.write_text(yaml.safe_dump({**values, "tasks": [{**SUMMARY, "max_new_tokens": 8}]}))
    return installation_dir


def run(instance: dg.DagsterInstance, unique: pa.Table) -> dg.MaterializeResult[pa.Table]:
    with dg.build_asset_context(instance=instance) as context:
        return model_drafts(context, installation=Installation(), worker=Worker(), unique_reports=unique)  # type: ignore[return-value]


def _requests(unique: pa.Table) -> list[DraftRequest]:
    read, tasks = partial(iter_records, ReportText, unique), Installation().recipe.tasks
    return list(build_requests(read, tasks, read_section_rules(read, tasks, SECTION_NAMES)))


@pytest.mark.usefixtures("installation_dir")
def test_a_recipe_without_such_a_task_waits_for_no_model(instance: dg.DagsterInstance) -> None:
    """Most recipes: another release must not touch their drafts."""
    assert drafting_model_version(Installation()) == NOT_NEEDED
    assert run(instance, reports("FINDINGS\nSprain.")).value.num_rows == 0


def test_without_any_model_drafts_wait_in_sight_and_the_check_closes(asked: Path, instance: dg.DagsterInstance) -> None:
    """The first run comes before the base model was imported; its drafts must not be forgotten."""
    assert asked.is_dir()
    unique = reports("FINDINGS\nSprain.")
    made = run(instance, unique)
    assert (made.value.num_rows, (made.metadata or {})["not_written"]) == (0, 1)
    assert drafting_model_version(Installation()) == NO_MODEL
    checked: Any = every_model_draft_is_written(Installation(), made.value, unique)
    assert not checked.passed
    write_table(
        Installation().layout.table("base_models"),
        table_from_rows([_base_model(Path("m"), "f" * 64)], BaseModel.SCHEMA),
    )
    assert drafting_model_version(Installation()) == f"{'f' * 64}, {describe_check()}"


def test_drafts_are_kept_until_their_report_disappears(asked: Path, instance: dg.DagsterInstance) -> None:
    """The draft of a withheld report may contain the text for which the report was withheld."""
    assert asked.is_dir()
    before = reports("FINDINGS\nSprain.", "FINDINGS\nFracture.")
    requests = _requests(before)
    rows = [supported(build_model_draft(request, "A draft.", True, "abc")) for request in requests]
    write_table(Installation().layout.table("model_drafts"), table_from_records(ModelDraft, rows))
    made = run(instance, reports("FINDINGS\nSprain."))
    assert made.value.column("report_id").to_pylist() == ["b/1"]
    checked: Any = every_model_draft_is_written(Installation(), made.value, reports("FINDINGS\nSprain."))
    assert checked.passed


def test_without_a_usable_verifier_no_draft_is_made_and_the_reason_is_shown(
    asked: Path, instance: dg.DagsterInstance
) -> None:
    """A gate without its evidence stays closed: the model must not even write."""
    path = asked / "recipe.yaml"
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, "judge": {**values["judge"], "verifier": "verifiers/none"}}))
    write_table(
        Installation().layout.table("base_models"),
        table_from_rows([_base_model(Path("m"), "f" * 64)], BaseModel.SCHEMA),
    )
    made = run(instance, reports("FINDINGS\nSprain."))
    metadata = made.metadata or {}
    assert (made.value.num_rows, metadata["not_written"]) == (0, 1)
    assert metadata["not_written_because"] == find_verifier_failure(verifier_folder(Installation()))
    assert drafting_model_version(Installation()).endswith(NO_VERIFIER)
    checked: Any = every_model_draft_is_written(Installation(), made.value, reports("FINDINGS\nSprain."))
    assert not checked.passed


def test_an_unchecked_draft_closes_the_check(asked: Path) -> None:
    assert asked.is_dir()
    unique = reports("FINDINGS\nSprain.")
    (request,) = _requests(unique)
    unchecked = build_model_draft(request, "A draft.", True, "abc")
    for draft, is_passed in ((unchecked, False), (supported(unchecked), True)):
        checked: Any = every_model_draft_is_written(Installation(), table_from_records(ModelDraft, [draft]), unique)
        assert checked.passed is is_passed


@pytest.mark.slow
def test_written_drafts_are_checked_in_a_process_of_their_own(asked: Path) -> None:
    """With the real worker and the real verifier: the contradiction is dropped and counted, the other gets its source."""
    text = "FINDINGS\nThe left knee of Zyxwvutquark is swollen.\nNo fever was measured."
    unique = reports(text, text.replace("left", "right"))
    requests = _requests(unique)
    rows = [build_model_draft(request, "The left knee is swollen.", True, "abc") for request in requests]
    write_table(Installation().layout.table("model_drafts"), table_from_records(ModelDraft, rows))
    assert asked.is_dir()

    @dg.asset
    def unique_reports() -> pa.Table:
        return unique

    from fine_tune_assets.defs.platform.resources import parquet_io_manager

    with dg.DagsterInstance.get() as instance:
        done = dg.materialize(
            [unique_reports, model_drafts],
            resources={"installation": Installation(), "worker": Worker(), "io_manager": parquet_io_manager},
            instance=instance,
        )
        assert done.success
        (event,) = done.asset_materializations_for_node("model_drafts")
        messages = [str(json.dumps(str(r.message))) for r in instance.all_logs(done.run_id)]
    found = {draft.report_id: draft for draft in iter_records(ModelDraft, done.output_for_node("model_drafts"))}
    right, wrong = found["b/1"], found["b/2"]
    assert right.is_supported
    assert [(one.start, one.end) for one in right.sources or ()] == [(0, 25)]
    assert wrong.dropped == "rule: sides"
    assert wrong.checked_by == describe_check()
    assert [event.metadata[name].value for name in ("dropped", "not_checked", "with_sources")] == [1, 0, 1]
    assert not any("Zyxwvutquark" in message or "swollen" in message for message in [*messages, str(event.metadata)])


@pytest.mark.slow
def test_the_base_model_writes_what_is_missing_in_a_process_of_its_own(asked: Path, smollm2: Path) -> None:
    """Through Dagster, with the real worker and the real model; the draft says which model it was."""
    fingerprint = fingerprint_folder(smollm2)
    layout = Installation().layout
    write_table(layout.table("base_models"), table_from_rows([_base_model(smollm2, fingerprint)], BaseModel.SCHEMA))
    text = "FINDINGS\nThe patient Zyxwvutquark has had a cough for three weeks."

    @dg.asset
    def unique_reports() -> pa.Table:
        return reports(text)

    from fine_tune_assets.defs.platform.resources import parquet_io_manager

    with dg.DagsterInstance.get() as instance:
        done = dg.materialize(
            [unique_reports, model_drafts],
            resources={"installation": Installation(), "worker": Worker(), "io_manager": parquet_io_manager},
            instance=instance,
        )
        assert done.success
        messages = [str(json.dumps(str(r.message))) for r in instance.all_logs(done.run_id)]
    (row,) = done.output_for_node("model_drafts").to_pylist()
    assert row["drafted_by"].startswith("model ")
    assert row["output"]
    assert row["checked_by"] == describe_check()
    assert not any("Zyxwvutquark" in message for message in messages)
    assert not list((asked / "run" / "scratch").rglob("*.parquet"))


def _base_model(folder: Path, fingerprint: str) -> dict[str, Any]:
    names = {field.name: None if field.nullable else "x" for field in BaseModel.SCHEMA}
    return {**names, "folder": str(folder), "fingerprint": fingerprint, "parameter_count": 1}
