"""The named jobs: assets that are launched together. The Dagster UI lists them under Jobs."""

from collections.abc import Collection
from typing import Any

import dagster as dg

from fine_tune_assets.defs.platform.asset_keys import asset_key, line_tags
from fine_tune_assets.defs.platform.automation import has_changed_inputs, triggering_inputs
from fine_tune_assets.defs.platform.candidate import UNFINISHED_STATUSES, are_gates_open
from fine_tune_assets.defs.platform.recipe_versions import recipe_tags
from fine_tune_assets.defs.platform.resources import INGEST_JOB

BATCH_ASSETS = ("reports", "scrubbed_reports", "phi_spans")
"""One partition for each batch."""
TABLES_OF_ALL_BATCHES = (
    "unique_reports", "duplicate_reports", "model_drafts", "drafted_examples", "approved_examples", "instruction_sets",
)  # fmt: skip
MAY_BE_MISSING = ("erased_subjects", "rescrub_requests", "raw_reports")
"""Inputs of a batch that exist only if something was erased, marked or in conflict, and the batch itself."""


def _select(*names: str) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*map(asset_key, names))


INGEST_BATCH = dg.define_asset_job(
    INGEST_JOB,
    selection=_select(*BATCH_ASSETS, *TABLES_OF_ALL_BATCHES),
    description="Reads one batch folder, scrubs it, and updates examples and instruction sets.",
)
RETRAIN = dg.define_asset_job(
    "retrain",
    # The plan too, since a training that did not fit last week may fit now.
    selection=_select("training_plans", "adapters"),
    description="Plans and trains an adapter on the newest instruction set. The evaluation follows automatically.",
)
EVALUATE_CANDIDATE = dg.define_asset_job(
    "evaluate_candidate",
    selection=_select(
        "judge_scores", "retained_abilities", "robustness_results", "answer_checks", "memorization_results",
        "document_answers", "promotion_verdicts",
    ),
    description="Grades the newest adapter and decides about its promotion.",
)  # fmt: skip
RELEASE = dg.define_asset_job(
    "release",
    selection=_select("merged_weights", "quantized_weights", "releases", "served_models"),
    description="Merges, exports, signs and deploys the candidate, if its verdict allows it.",
)
JOBS = (INGEST_BATCH, RETRAIN, EVALUATE_CANDIDATE, RELEASE)


def plan_ingest(graph: Any, instance: dg.DagsterInstance, batches: Collection[str]) -> list[dg.RunRequest]:
    """One run that takes a changed batch to the instruction sets, if it can start now; otherwise none.

    Saves a start of a process and a tick of the automation sensor for each stage. In every other case the automation conditions
    start what is needed: several changed batches, a run in progress, or an input that does not exist, is about to change, or has
    a closed gate.
    """
    if len(batches) != 1 or instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_STATUSES), limit=1):
        return []
    job_assets = {asset_key(name) for name in (*BATCH_ASSETS, *TABLES_OF_ALL_BATCHES)}
    optional = {asset_key(name) for name in MAY_BE_MISSING}
    inputs = {parent for key in job_assets for parent in triggering_inputs(graph.get(key))} - job_assets - optional
    executable = [graph.get(key) for key in inputs if graph.get(key).is_executable]
    is_final = not any(has_changed_inputs(graph, node, instance) for node in executable)
    if not is_final or not are_gates_open(graph, instance, inputs):
        return []
    (batch,) = batches
    return [dg.RunRequest(partition_key=batch, tags={"trigger": "new batch", **line_tags(), **recipe_tags()})]
