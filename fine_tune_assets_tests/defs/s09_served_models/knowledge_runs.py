"""Runs that index documents."""

import dagster as dg

from fine_tune_assets.defs.platform.resources import Installation, Worker, parquet_io_manager
from fine_tune_assets.defs.s01_raw_reports.knowledge_documents import every_document_is_readable, knowledge_chunks
from fine_tune_assets.defs.s09_served_models.knowledge import (
    knowledge_indexes,
    retrieval_meets_floors,
    served_knowledge,
)

GRAPH = [
    knowledge_chunks, every_document_is_readable, knowledge_indexes, retrieval_meets_floors, served_knowledge,
]  # fmt: skip


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    resources = {"installation": Installation(), "worker": Worker(), "io_manager": parquet_io_manager}
    return dg.materialize(GRAPH, instance=instance, resources=resources, raise_on_error=False)
