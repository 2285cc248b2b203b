"""Stage 9, live facts: from documents to the index that answers.

Belongs here: reading the documents, making the index in a process of its own, its gate, and the switch to it. Must stay out: how
a document is cut and an index searched (see `retrieval/`).
"""

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
from fine_tune_assets.core.settings import Settings, knowledge_variable
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    WHY,
    checked,
    definition_metadata,
    result,
    table_outs,
    warned,
)
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.embeddings.encoder import piece_counter
from fine_tune_assets.ledger.serving.live_knowledge import kept_knowledge, make_knowledge_live
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.isolation import IsolatedDocuments
from fine_tune_assets.reports.ocr import find_ocr
from fine_tune_assets.reports.unreadable_files import UnreadableError
from fine_tune_assets.retrieval.document_index import Asked, chunk_table
from fine_tune_assets.retrieval.documents import Block, DocumentFault, UnreadableDocumentError
from fine_tune_assets.retrieval.index_build import prune_indexes, require_index, store_of
from fine_tune_assets.retrieval.knowledge_reader import ReadKnowledge, read_knowledge
from fine_tune_assets.retrieval.queries import run_query
from fine_tune_assets.retrieval.retrieval_quality import OWN_QUESTIONS
from fine_tune_assets.tables.records import conform, table_of
from fine_tune_assets.tables.serving import KnowledgeIndex, ServedKnowledge, UnreadableDocument

GROUP = "s09_served_models"
_FIGURES = ("recall", "mrr", "refused", "own_questions", "own_recall", "known_items", "known_recall")

knowledge = dg.AssetSpec(
    "knowledge",
    group_name=GROUP,
    description="The organisation's documents that answers may rest on (`data/knowledge`), without patients.",
    owners=OWNERS["data"],
    kinds={"file"},
)

labelled_questions = dg.AssetSpec(
    "labelled_questions",
    group_name=GROUP,
    description="Questions whose passage is known: those that come with the project, and the installation's own.",
    owners=OWNERS["clinical"],
    kinds={"json"},
)


@contextmanager
def read_documents(settings: Settings) -> Iterator[ReadKnowledge]:
    """Every document of the installation. PDFs are read by the reports' reader, in its own process."""
    with IsolatedDocuments(ReadLimits(), find_ocr()) as documents:

        def query(asked: Mapping[str, Any]) -> list[Block]:
            return run_query(asked, settings.layout.keys, knowledge_variable)

        def pdf(content: bytes) -> str:
            try:
                return documents("pdf", content).text
            except UnreadableError as error:
                detail = f"{error.reason.value}: {error.detail}"
                raise UnreadableDocumentError(DocumentFault.NOT_READ, detail) from error

        yield read_knowledge(settings.layout.knowledge, pdf, query)


@dg.multi_asset(
    outs=table_outs(
        {
            "knowledge_chunks": "The documents in parts of one section each, with source, version, days and who may see them.",
            "unreadable_documents": "Documents that are in no index, and why.",
        },
        group=GROUP,
        owners=OWNERS["data"],
        condition=with_new_inputs(),
    ),
    deps=[knowledge, recipe_section("knowledge")],
)
def knowledge_documents(installation: Installation) -> Iterator[dg.MaterializeResult]:
    with errors_for_people(), read_documents(installation.settings) as read:
        chunks = chunk_table(read.documents, installation.recipe.retrieval.chunk_tokens, piece_counter())
    rows = [{"source": one.source, "reason": one.fault.value, "detail": one.detail} for one in read.unreadable]
    unreadable = table_of(rows, UnreadableDocument.SCHEMA)
    yield result("knowledge_chunks", chunks, fingerprint_table(chunks), documents=len(read.documents))
    yield result("unreadable_documents", unreadable, fingerprint_table(unreadable))


@dg.asset_check(
    asset="unreadable_documents",
    description="Every document of the knowledge folder is in the index. Others are missing from answers until repaired.",
)
def every_document_was_read(unreadable_documents: pa.Table) -> dg.AssetCheckResult:
    found = unreadable_documents["reason"].value_counts().to_pylist()
    counts = {f"unreadable_{one['values']}": one["counts"] for one in found}
    return warned(unreadable_documents.num_rows == 0, **counts)


@dg.asset(
    group_name=GROUP,
    deps=[labelled_questions, recipe_section("knowledge")],
    automation_condition=with_new_inputs(),
    description="The index that questions are answered from, by meaning and by words; and how well it finds what it holds.",
    owners=OWNERS["ml"],
    kinds={"lancedb"},
    metadata=definition_metadata("knowledge_indexes"),
)
def knowledge_indexes(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker, knowledge_chunks: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with installation.scratch(context, "knowledge_chunks") as (source,):
        write_table(source, knowledge_chunks)
        with errors_for_people():
            gone = _prune(installation)
            request = index_request(installation.settings, installation.recipe, str(source))
        table = conform(worker.make_table(context, "retrieval", request), KnowledgeIndex.SCHEMA)
    shown = {**_shown(table.to_pylist()[0]), "removed_indexes": len(gone)}
    return result("knowledge_indexes", table, fingerprint_table(table), **shown)


def _prune(installation: Installation) -> list[str]:
    """Before an index is made, since no other one is on its way then but that of the last run, which may be about to go live."""
    layout, settings = installation.layout, installation.settings
    last = installation.stored("knowledge_indexes").rows(("index_fingerprint",))
    with installation.ledger() as ledger:
        kept = kept_knowledge(ledger, max(1, settings.knowledge.keep_last))
    store = store_of(layout.knowledge_indexes, settings.knowledge.url)
    return prune_indexes(layout.knowledge_indexes, store, [*kept, *(row["index_fingerprint"] for row in last)])


def index_request(settings: Settings, recipe: Recipe, chunks: str) -> dict[str, Any]:
    layout, wanted = settings.layout, asdict(recipe.retrieval)
    return {
        "action": "make_index",
        "chunks": chunks,
        "folder": str(layout.knowledge_indexes),
        "cache": str(layout.cache / "knowledge_vectors.npz"),
        "knowledge_url": settings.knowledge.url,
        "threads": settings.threads or os.cpu_count() or 1,
        "shipped": str(layout.evaluation / "abilities" / "pubmed_qa.jsonl"),
        "own": str(layout.evaluation / "retrieval" / OWN_QUESTIONS),
        "asked": {name: wanted[name] for name in Asked.__dataclass_fields__},
        "now": datetime.now(UTC).isoformat(),
    }


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """What people see of an index: the figures that there are, and why it failed."""
    shown = {name: row[name] for name in _FIGURES if row[name] is not None}
    return {
        **shown,
        WHY: row["why"] or ("within all limits" if row["chunks"] else "no document: nothing is found in it"),
    }


@dg.asset_check(
    asset="knowledge_indexes",
    blocking=True,
    description="Labelled questions find their passage, and questions that no document answers find none.",
)
def retrieval_finds_the_passage(knowledge_indexes: pa.Table) -> dg.AssetCheckResult:
    row = knowledge_indexes.to_pylist()[0]
    return checked(row["is_passed"] is True, **_shown(row))


@dg.asset(
    group_name=GROUP,
    automation_condition=with_new_inputs(),
    description="The knowledge index that answers now. The gateway learns of another one within a second.",
    owners=OWNERS["ops"],
    kinds={"sqlite"},
    metadata=definition_metadata("served_knowledge"),
)
def served_knowledge(installation: Installation, knowledge_indexes: pa.Table) -> dg.MaterializeResult[pa.Table]:
    row, folder = knowledge_indexes.to_pylist()[0], installation.layout.knowledge_indexes
    with errors_for_people(), installation.ledger() as ledger:
        if row["is_passed"] is True:  # what is missing or was changed does not become live
            require_index(folder, store_of(folder, installation.settings.knowledge.url), row["index_fingerprint"])
        live = make_knowledge_live(
            ledger,
            index_fingerprint=row["index_fingerprint"],
            format_fingerprint=row["format_fingerprint"],
            store=row["store"],
            chunks=row["chunks"],
            is_passed=row["is_passed"],
            evidence={name: row[name] for name in _FIGURES},
            by="served_knowledge",
        )
    kept = {name: getattr(live, name) for name in ServedKnowledge.SCHEMA.names}
    table = table_of([kept], ServedKnowledge.SCHEMA)
    return result("served_knowledge", table, fingerprint_table(table))
