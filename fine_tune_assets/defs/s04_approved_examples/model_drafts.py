"""Stage 4: what a model writes (`approval/draft_generation`) and the verifier checks (`judging/evaluation/draft_support`)."""

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
from fine_tune_assets.approval.draft_sources import count_dropped, count_unchecked, record_checks, select_unchecked
from fine_tune_assets.approval.task_kinds import DraftRequest, ReportText, build_requests, read_section_rules
from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.processes.worker_requests import CheckDraftsRequest, WriteDraftsRequest
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    definition_metadata,
    markdown_table,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, tracked_progress, user_facing_errors
from fine_tune_assets.defs.s04_approved_examples.drafting_models import (
    DraftingBaseModel,
    drafting_models,
    find_drafting_model,
    verifier_folder,
)
from fine_tune_assets.judging.evaluation.draft_support import describe_check, find_verifier_failure
from fine_tune_assets.tables.approval_rows import CheckableDraft, DraftCheck, ModelDraft
from fine_tune_assets.tables.record_classes import conform, iter_records, table_from_records
from fine_tune_assets.tables.row_selection import sort_by_column
from fine_tune_assets.tables.stored_tables import drop_subjects


@dg.asset(
    group_name="s04_approved_examples",
    deps=[drafting_models],
    code_version=code_version("tasks"),
    automation_condition=with_new_inputs(),
    description="Drafts that a model wrote for tasks of the kind `model`, each sentence with its source in the report. "
    "Drafts with an unsupported sentence are dropped; an expert reviews the others.",
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
        failure = find_verifier_failure(verifier_folder(installation)) if requests else None
    written = ModelDraft.SCHEMA.empty_table()
    if failure is not None:
        context.log.warning(f"No drafts are written, because nothing can check them. {failure}")
    elif missing:
        written = _write_drafts(context, installation, worker, missing)
    table = sort_by_column(pa.concat_tables([kept, written]), "request_fingerprint")
    if failure is None and requests:
        table = _check_drafts(context, installation, worker, requests, table)
    waiting = len(select_missing_requests(missing, written))
    dropped = count_dropped(table)
    return table_result(
        "model_drafts",
        table,
        fingerprint_table(table),
        new=written.num_rows,
        not_written=waiting,
        not_checked=count_unchecked(table),
        dropped=sum(dropped.values()),
        dropped_by_reason=markdown_table([{"reason": why, "drafts": n} for why, n in sorted(dropped.items())]),
        with_sources=table.num_rows - sum(dropped.values()) - count_unchecked(table),
        **({} if failure is None else {"not_written_because": failure}),
    )


def _check_drafts(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    requests: Sequence[DraftRequest],
    written: pa.Table,
) -> pa.Table:
    folder = verifier_folder(installation)
    checks = installation.pack.pack.checks
    checked_by = describe_check(folder, checks)
    unchecked = select_unchecked(requests, written, checked_by)
    if not unchecked:
        return written
    with installation.scratch(context, "drafts") as (drafts_file,):
        write_table(drafts_file, table_from_records(CheckableDraft, unchecked))
        request: CheckDraftsRequest = {
            "action": "check_drafts",
            "drafts": str(drafts_file),
            "verifier": str(folder),
            "checks": list(checks),
            "checked_by": checked_by,
            "threads": installation.settings.threads,
        }
        found = conform(worker.make_table(context, "judging", request), DraftCheck.SCHEMA)
    return record_checks(written, list(iter_records(DraftCheck, found)))


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
        request: WriteDraftsRequest = {
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
    description="Every draft that the recipe's tasks request from a model is written and checked against its report.",
)
def every_model_draft_is_written(
    installation: Installation, model_drafts: pa.Table, unique_reports: pa.Table
) -> dg.AssetCheckResult:
    requests = _build_requests(installation, unique_reports)
    missing = len(select_missing_requests(requests, model_drafts))
    unchecked = count_unchecked(model_drafts)
    return warning_result(not missing and not unchecked, requested=len(requests), missing=missing, unchecked=unchecked)


def _build_requests(installation: Installation, unique_reports: pa.Table) -> list[DraftRequest]:
    read = partial(iter_records, ReportText, unique_reports)
    tasks = installation.recipe.tasks
    return list(build_requests(read, tasks, read_section_rules(read, tasks, installation.pack.section_names)))
