"""Stage 4: draft outputs that a model writes, for an expert to repair (see `approval/draft_generation.py`)."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import dagster as dg
import pyarrow as pa

from fine_tune_assets.approval.draft_generation import (
    EngineUnavailableError,
    LiveEngine,
    select_missing_requests,
    select_requested_drafts,
    write_with_engine,
)
from fine_tune_assets.approval.task_kinds import DraftRequest, ReportText, build_requests
from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, table_result, warning_result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, tracked_progress, user_facing_errors
from fine_tune_assets.defs.s04_approved_examples.drafting_models import (
    DraftingBaseModel,
    drafting_models,
    find_drafting_model,
)
from fine_tune_assets.tables.approval_rows import ModelDraft
from fine_tune_assets.tables.record_classes import conform, iter_records, table_from_records
from fine_tune_assets.tables.row_selection import sort_by_column
from fine_tune_assets.tables.stored_tables import drop_subjects


@dg.asset(
    group_name="s04_approved_examples",
    deps=[recipe_section("tasks"), drafting_models],
    automation_condition=with_new_inputs(),
    description="Drafts that a model wrote for tasks of the kind `model`. Each is written once and reviewed by an expert.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("model_drafts"),
)
def model_drafts(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker, unique_reports: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with user_facing_errors():
        requests = _build_requests(installation, unique_reports)
        stored = drop_subjects(installation.stored("model_drafts").table(), installation.erased_subjects())
        kept = select_requested_drafts(requests, stored)
        missing = select_missing_requests(requests, kept)
    written = _write_drafts(context, installation, worker, missing) if missing else ModelDraft.SCHEMA.empty_table()
    table = sort_by_column(pa.concat_tables([kept, written]), "request_fingerprint")
    waiting = len(missing) - written.num_rows
    return table_result("model_drafts", table, fingerprint_table(table), new=written.num_rows, not_written=waiting)


def _write_drafts(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker, missing: Sequence[DraftRequest]
) -> pa.Table:
    with user_facing_errors():
        model = find_drafting_model(installation)
    if model is None:
        context.log.warning(f"No model is available for {len(missing)} drafts. {materialize_hint('base_models')}")
        return ModelDraft.SCHEMA.empty_table()
    if isinstance(model, LiveEngine):
        return _draft_with_engine(context, missing, model)
    return _draft_with_base_model(context, installation, worker, missing, model)


def _draft_with_engine(
    context: dg.AssetExecutionContext, missing: Sequence[DraftRequest], engine: LiveEngine
) -> pa.Table:
    drafts = []
    with user_facing_errors(), tracked_progress(context) as report:
        try:
            for draft in write_with_engine(missing, engine, report):
                drafts.append(draft)  # drafts written before the engine became unavailable are kept
        except EngineUnavailableError as error:
            context.log.warning(str(error))
    return table_from_records(ModelDraft, drafts)


def _draft_with_base_model(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    missing: Sequence[DraftRequest],
    model: DraftingBaseModel,
) -> pa.Table:
    with installation.scratch(context, "requests") as (requests_file,):
        write_table(requests_file, pa.Table.from_pylist([asdict(request) for request in missing]))
        request = {
            "action": "write_drafts",
            "requests": str(requests_file),
            "folder": str(model.folder),
            "fingerprint": model.fingerprint,
            "system_prompt": installation.recipe.system_prompt,
            "threads": installation.settings.threads,
        }
        return conform(worker.make_table(context, "approval", request), ModelDraft.SCHEMA)


@dg.asset_check(
    asset="model_drafts",
    additional_ins={"unique_reports": dg.AssetIn("unique_reports")},
    description="Every draft that the recipe's tasks request from a model is written.",
)
def every_model_draft_is_written(
    installation: Installation, model_drafts: pa.Table, unique_reports: pa.Table
) -> dg.AssetCheckResult:
    requests = _build_requests(installation, unique_reports)
    missing = len(select_missing_requests(requests, model_drafts))
    return warning_result(missing == 0, requested=len(requests), missing=missing)


def _build_requests(installation: Installation, unique_reports: pa.Table) -> list[DraftRequest]:
    read = partial(iter_records, ReportText, unique_reports)
    return list(build_requests(read, installation.recipe.tasks, installation.pack.section_names))
