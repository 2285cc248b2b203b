"""Stage 4: outputs that a model writes, for an expert to repair.

Belongs here: what is missing, who writes it, and keeping it. Must stay out: how a model is asked (see
`approval/model_drafts.py`).
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import dagster as dg
import pyarrow as pa

from fine_tune_assets.approval.model_drafts import (
    EngineAwayError,
    LiveEngine,
    missing_requests,
    still_wanted,
    write_with_engine,
)
from fine_tune_assets.approval.task_kinds import ReportText, Request, model_requests
from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, result, warned
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people, progress_shown
from fine_tune_assets.defs.s04_approved_examples.drafting_models import BaseModel, drafting_models, find_drafting_model
from fine_tune_assets.tables.approval import ModelDraft
from fine_tune_assets.tables.columns import sorted_by
from fine_tune_assets.tables.records import conform, records_of, table_from
from fine_tune_assets.tables.stored_tables import without_patients


@dg.asset(
    group_name="s04_approved_examples",
    deps=["base_models", recipe_section("tasks"), drafting_models],
    # `drafting_models` says when another model would write.
    automation_condition=with_new_inputs(untriggered=["base_models"]),
    description="What a model wrote for tasks of the kind `model`. Written once, kept, and always looked at by an expert.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("model_drafts"),
)
def model_drafts(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker, unique_reports: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with errors_for_people():
        requests = list(model_requests(partial(records_of, ReportText, unique_reports), installation.recipe.tasks))
        stored = without_patients(installation.stored("model_drafts").table(), installation.erased_patients())
        kept = still_wanted(requests, stored)
        missing = missing_requests(requests, kept)
    written = _write(context, installation, worker, missing) if missing else ModelDraft.SCHEMA.empty_table()
    table = sorted_by(pa.concat_tables([kept, written]), "request")
    waiting = len(missing) - written.num_rows
    return result("model_drafts", table, fingerprint_table(table), new=written.num_rows, not_written=waiting)


def _write(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker, missing: Sequence[Request]
) -> pa.Table:
    with errors_for_people():
        model = find_drafting_model(installation)
    if model is None:
        context.log.warning(f"{len(missing)} drafts wait for a model. {materialize_hint('base_models')}")
        return ModelDraft.SCHEMA.empty_table()
    if isinstance(model, LiveEngine):
        return _by_engine(context, missing, model)
    return _by_base_model(context, installation, worker, missing, model)


def _by_engine(context: dg.AssetExecutionContext, missing: Sequence[Request], engine: LiveEngine) -> pa.Table:
    drafts = []
    with errors_for_people(), progress_shown(context) as report:
        try:
            for draft in write_with_engine(missing, engine, report):
                drafts.append(draft)  # what was written before the engine went away is kept
        except EngineAwayError as error:
            context.log.warning(str(error))
    return table_from(ModelDraft, drafts)


def _by_base_model(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    missing: Sequence[Request],
    model: BaseModel,
) -> pa.Table:
    with installation.scratch(context, "requests") as (asked,):
        write_table(asked, pa.Table.from_pylist([asdict(request) for request in missing]))
        request = {
            "action": "write_drafts",
            "requests": str(asked),
            "folder": str(model.folder),
            "fingerprint": model.fingerprint,
            "system_prompt": installation.recipe.system_prompt,
            "threads": installation.settings.threads,
        }
        return conform(worker.make_table(context, "approval", request), ModelDraft.SCHEMA)


@dg.asset_check(
    asset="model_drafts",
    additional_ins={"unique_reports": dg.AssetIn("unique_reports")},
    description="A model wrote a draft for everything that the recipe's tasks ask one for.",
)
def every_model_draft_is_written(
    installation: Installation, model_drafts: pa.Table, unique_reports: pa.Table
) -> dg.AssetCheckResult:
    requests = list(model_requests(partial(records_of, ReportText, unique_reports), installation.recipe.tasks))
    missing = len(missing_requests(requests, model_drafts))
    return warned(missing == 0, asked=len(requests), missing=missing)
