"""Stage 1: reads the organization's documents in chunks, for passages in examples (stage 4) and in answers (stage 9)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.processes.worker_requests import IndexFields
from fine_tune_assets.core.settings import Settings, read_knowledge_url
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.column_lineage import file_column
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    count_values,
    definition_metadata,
    grows_old,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, user_facing_errors
from fine_tune_assets.embeddings.encoder import piece_counter
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.isolated_reader import IsolatedReader
from fine_tune_assets.reports.ocr import find_ocr
from fine_tune_assets.reports.unreadable_files import UnreadableError
from fine_tune_assets.retrieval.document_index import IndexRequirements, build_chunk_table
from fine_tune_assets.retrieval.documents import Block, DocumentFault, UnreadableDocumentError
from fine_tune_assets.retrieval.knowledge_reader import KnowledgeDocuments, read_knowledge
from fine_tune_assets.retrieval.retrieval_quality import OWN_QUESTIONS
from fine_tune_assets.retrieval.sql_queries import run_query
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.serving_rows import UnreadableDocument

GROUP = "s01_raw_reports"

knowledge = dg.AssetSpec(
    "knowledge",
    group_name=GROUP,
    description="The organization's documents that answers may rest on (`data/knowledge`). They have no data about subjects.",
    owners=OWNERS["data"],
    kinds={"file"},
    metadata=file_column("A document, or a query whose rows are documents"),
    freshness_policy=grows_old(warn_days=90, fail_days=365),
)


labelled_questions = dg.AssetSpec(
    "labelled_questions",
    group_name=GROUP,
    description="Questions with known passages: those bundled with the project, and the organization's own.",
    owners=OWNERS["clinical"],
    kinds={"json"},
)


@contextmanager
def read_documents(settings: Settings) -> Iterator[KnowledgeDocuments]:
    """All documents of the installation. PDFs are read by the report reader, in an isolated process."""
    with IsolatedReader(ReadLimits(), find_ocr()) as reader:

        def read_query(query: Mapping[str, Any]) -> list[Block]:
            return run_query(query, settings.layout.keys, read_knowledge_url)

        def read_pdf(content: bytes) -> str:
            try:
                return reader("pdf", content).text
            except UnreadableError as error:
                detail = f"{error.reason.value}: {error.detail}"
                raise UnreadableDocumentError(DocumentFault.READ_FAILED, detail) from error

        yield read_knowledge(settings.layout.knowledge, read_pdf, read_query)


@dg.asset(
    group_name=GROUP,
    deps=[knowledge],
    code_version=code_version("knowledge"),
    automation_condition=with_new_inputs(),
    description="The documents in chunks of one section each, with source, version, dates and access rights. Documents that "
    "could not be read are in the table `unreadable_documents`, with the reason.",
    owners=OWNERS["data"],
    kinds={"parquet"},
    metadata=definition_metadata("knowledge_chunks"),
)
def knowledge_chunks(installation: Installation) -> dg.MaterializeResult:
    with user_facing_errors(), read_documents(installation.settings) as read:
        chunks = build_chunk_table(read.documents, installation.recipe.retrieval.chunk_tokens, piece_counter())
    rows = [
        {"source": document.source, "reason": document.fault.value, "detail": document.detail}
        for document in read.unreadable
    ]
    installation.stored("unreadable_documents").write(table_from_rows(rows, UnreadableDocument.SCHEMA))
    counts = {"documents": len(read.documents), "unreadable": len(read.unreadable)}
    return table_result("knowledge_chunks", chunks, fingerprint_table(chunks), **counts)


def index_request(settings: Settings, recipe: Recipe, chunks: str) -> IndexFields:
    """What the retrieval worker needs to index `chunks` and to search with labelled questions."""
    layout, wanted = settings.layout, asdict(recipe.retrieval)
    return {
        "chunks": chunks,
        "folder": str(layout.knowledge_indexes),
        "cache": str(layout.cache / "knowledge_vectors.npz"),
        "knowledge_url": settings.knowledge.url,
        "threads": settings.threads or os.cpu_count() or 1,
        "bundled_questions": str(layout.evaluation / "abilities" / "pubmed_qa.jsonl"),
        "own_questions": str(layout.evaluation / "retrieval" / OWN_QUESTIONS),
        "requirements": {name: wanted[name] for name in IndexRequirements.__dataclass_fields__},
        "now": datetime.now(UTC).isoformat(),
    }


@dg.asset_check(
    asset="knowledge_chunks",
    description="Every document of the knowledge folder is readable. Unreadable ones are not used for answers until repaired.",
)
def every_document_is_readable(installation: Installation) -> dg.AssetCheckResult:
    unreadable = installation.stored("unreadable_documents").table()
    counts = {f"unreadable_{reason}": count for reason, count in count_values(unreadable["reason"]).items()}
    return warning_result(unreadable.num_rows == 0, **counts)
