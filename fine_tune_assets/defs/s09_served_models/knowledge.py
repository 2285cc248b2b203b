"""Stage 9: reads the organization's documents, builds and checks the knowledge index, and switches to it (see `retrieval/`)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.settings import Settings, read_knowledge_url
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    REASON,
    check_result,
    definition_metadata,
    table_outs,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.embeddings.encoder import piece_counter
from fine_tune_assets.ledger.serving.live_indexes import activate_index, list_retained_indexes
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.isolated_reader import IsolatedReader
from fine_tune_assets.reports.ocr import find_ocr
from fine_tune_assets.reports.unreadable_files import UnreadableError
from fine_tune_assets.retrieval.document_index import IndexRequirements, build_chunk_table
from fine_tune_assets.retrieval.documents import Block, DocumentFault, UnreadableDocumentError
from fine_tune_assets.retrieval.index_build import create_store, prune_indexes, require_index
from fine_tune_assets.retrieval.knowledge_reader import KnowledgeDocuments, read_knowledge
from fine_tune_assets.retrieval.retrieval_quality import OWN_QUESTIONS
from fine_tune_assets.retrieval.sql_queries import run_query
from fine_tune_assets.tables.record_classes import conform, table_from_rows
from fine_tune_assets.tables.serving_rows import KnowledgeIndex, ServedKnowledge, UnreadableDocument

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

knowledge = dg.AssetSpec(
    "knowledge",
    group_name=GROUP,
    description="The organization's documents that answers may rest on (`data/knowledge`). They have no data about subjects.",
    owners=OWNERS["data"],
    kinds={"file"},
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


@dg.multi_asset(
    outs=table_outs(
        {
            "knowledge_chunks": "The documents in chunks of one section each, with source, version, dates and access rights.",
            "unreadable_documents": "Documents that could not be read and are not in the index, with the reason.",
        },
        group=GROUP,
        owners=OWNERS["data"],
        condition=with_new_inputs(),
    ),
    deps=[knowledge, recipe_section("knowledge")],
)
def knowledge_documents(installation: Installation) -> Iterator[dg.MaterializeResult]:
    with user_facing_errors(), read_documents(installation.settings) as read:
        chunks = build_chunk_table(read.documents, installation.recipe.retrieval.chunk_tokens, piece_counter())
    rows = [
        {"source": document.source, "reason": document.fault.value, "detail": document.detail}
        for document in read.unreadable
    ]
    unreadable = table_from_rows(rows, UnreadableDocument.SCHEMA)
    yield table_result("knowledge_chunks", chunks, fingerprint_table(chunks), documents=len(read.documents))
    yield table_result("unreadable_documents", unreadable, fingerprint_table(unreadable))


@dg.asset_check(
    asset="unreadable_documents",
    description="Every document of the knowledge folder is readable. Unreadable ones are not used for answers until repaired.",
)
def every_document_is_readable(unreadable_documents: pa.Table) -> dg.AssetCheckResult:
    reasons = unreadable_documents["reason"].value_counts().to_pylist()
    counts = {f"unreadable_{reason['values']}": reason["counts"] for reason in reasons}
    return warning_result(unreadable_documents.num_rows == 0, **counts)


@dg.asset(
    group_name=GROUP,
    deps=[labelled_questions, recipe_section("knowledge")],
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
            request = index_request(installation.settings, installation.recipe, str(source))
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


def index_request(settings: Settings, recipe: Recipe, chunks: str) -> dict[str, Any]:
    layout, wanted = settings.layout, asdict(recipe.retrieval)
    return {
        "action": "make_index",
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
