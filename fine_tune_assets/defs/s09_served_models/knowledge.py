"""Stage 9: builds and checks the index of the organization's documents, and switches to it (see `retrieval/`)."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.processes.worker_requests import MakeIndexRequest
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    REASON,
    check_result,
    definition_metadata,
    table_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s01_raw_reports.knowledge_documents import index_request, labelled_questions
from fine_tune_assets.ledger.serving.live_indexes import activate_index, list_retained_indexes
from fine_tune_assets.retrieval.index_build import create_store, prune_indexes, require_index
from fine_tune_assets.tables.record_classes import conform, table_from_rows
from fine_tune_assets.tables.serving_rows import KnowledgeIndex, ServedKnowledge

GROUP = "s09_served_models"
_METRICS = (
    "recall",
    "mrr",
    "refusal_rate",
    "custom_question_count",
    "custom_recall",
    "known_item_count",
    "known_item_recall",
)


@dg.asset(
    group_name=GROUP,
    deps=[labelled_questions],
    code_version=code_version("knowledge"),
    automation_condition=with_new_inputs(),
    description="The index that is searched by meaning and by words to answer questions, with its measured recall.",
    owners=OWNERS["ml"],
    kinds={"lancedb"},
    metadata=definition_metadata("knowledge_indexes"),
)
def knowledge_indexes(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker, knowledge_chunks: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with installation.scratch(context, "knowledge_chunks") as (source,):
        write_table(source, knowledge_chunks)
        with user_facing_errors():
            removed = _prune_stale_indexes(installation)
            request: MakeIndexRequest = {
                "action": "make_index",
                **index_request(installation.settings, installation.recipe, str(source)),
            }
        table = conform(worker.make_table(context, "retrieval", request), KnowledgeIndex.SCHEMA)
    shown = {**_index_metadata(table.to_pylist()[0]), "removed_indexes": len(removed)}
    return table_result("knowledge_indexes", table, fingerprint_table(table), **shown)


def _prune_stale_indexes(installation: Installation) -> list[str]:
    """Remove indexes that are neither retained nor from the last run, which may be about to go live.

    Called before an index is built, when no other one is in progress.
    """
    layout, settings = installation.layout, installation.settings
    last = installation.stored("knowledge_indexes").rows(("index_fingerprint",))
    with installation.ledger() as ledger:
        retained = list_retained_indexes(ledger, max(1, settings.knowledge.keep_last))
    store = create_store(layout.knowledge_indexes, settings.knowledge.url)
    return prune_indexes(layout.knowledge_indexes, store, [*retained, *(row["index_fingerprint"] for row in last)])


def _index_metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    """The known metrics of an index, and the reason of a failure."""
    metrics = {name: row[name] for name in _METRICS if row[name] is not None}
    return {
        **metrics,
        REASON: row["failure_reason"] or ("within all limits" if row["chunks"] else "the index is empty: no documents"),
    }


@dg.asset_check(
    asset="knowledge_indexes",
    blocking=True,
    description="The index finds the passages of labelled questions, and finds none for questions that no document answers.",
)
def retrieval_meets_floors(knowledge_indexes: pa.Table) -> dg.AssetCheckResult:
    row = knowledge_indexes.to_pylist()[0]
    return check_result(row["is_passed"] is True, **_index_metadata(row))


@dg.asset(
    group_name=GROUP,
    automation_condition=with_new_inputs(),
    description="The knowledge index that answers use. The gateway switches to a new one within a second.",
    owners=OWNERS["ops"],
    kinds={"sqlite"},
    metadata=definition_metadata("served_knowledge"),
)
def served_knowledge(installation: Installation, knowledge_indexes: pa.Table) -> dg.MaterializeResult[pa.Table]:
    row, folder = knowledge_indexes.to_pylist()[0], installation.layout.knowledge_indexes
    with user_facing_errors(), installation.ledger() as ledger:
        if row["is_passed"] is True:  # a missing or modified index must not go live
            require_index(folder, create_store(folder, installation.settings.knowledge.url), row["index_fingerprint"])
        live = activate_index(
            ledger,
            index_fingerprint=row["index_fingerprint"],
            format_fingerprint=row["format_fingerprint"],
            store=row["store"],
            chunks=row["chunks"],
            is_passed=row["is_passed"],
            evidence={name: row[name] for name in _METRICS},
            by="served_knowledge",
        )
    live_row = {name: getattr(live, name) for name in ServedKnowledge.SCHEMA.names}
    table = table_from_rows([live_row], ServedKnowledge.SCHEMA)
    return table_result("served_knowledge", table, fingerprint_table(table))
