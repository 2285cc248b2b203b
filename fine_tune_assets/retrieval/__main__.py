"""The retrieval worker: serves one request per process (core/processes/worker.py)."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.processes.worker_requests import FindQuestionsRequest, IndexFields, MakeIndexRequest
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.tables.judging_rows import DocumentQuestion
from fine_tune_assets.tables.record_classes import conform, table_from_records, table_from_rows
from fine_tune_assets.tables.serving_rows import KnowledgeChunk, KnowledgeIndex

if TYPE_CHECKING:
    from fine_tune_assets.embeddings.vector_cache import CachedEncoder
    from fine_tune_assets.retrieval.document_index import IndexEnvironment


def make_index(request: MakeIndexRequest, progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.retrieval import document_index
    from fine_tune_assets.retrieval.retrieval_quality import read_bundled_questions, read_own_questions

    at, remembered = _open_environment(request, progress)
    row = document_index.make_index(
        conform(pq.read_table(request["chunks"]), KnowledgeChunk.SCHEMA),
        at,
        document_index.IndexRequirements(**request["requirements"]),
        read_bundled_questions(Path(request["bundled_questions"])),
        read_own_questions(Path(request["own_questions"])),
        datetime.fromisoformat(request["now"]),
    )
    remembered.remove_unused()
    write_table(Path(request["output"]), table_from_rows([row], KnowledgeIndex.SCHEMA))
    return {}


def find_questions(request: FindQuestionsRequest, progress: Progress) -> dict[str, Any]:
    """The installation's labelled questions, then the bundled ones, with their passages."""
    from fine_tune_assets.retrieval.document_index import IndexRequirements, build_chunk_table, temporary_index
    from fine_tune_assets.retrieval.document_questions import find_document_questions
    from fine_tune_assets.retrieval.retrieval_quality import read_bundled_questions, read_own_questions

    at, _ = _open_environment(request, progress)
    wanted, items = IndexRequirements(**request["requirements"]), request["items"]
    bundled = read_bundled_questions(Path(request["bundled_questions"]))
    own = read_own_questions(Path(request["own_questions"]))[:items]
    own_chunks = conform(pq.read_table(request["chunks"]), KnowledgeChunk.SCHEMA)
    bundled_chunks = build_chunk_table(bundled.documents, wanted.chunk_tokens, at.count)
    found: list[DocumentQuestion] = []
    for chunks, questions in ((own_chunks, own), (bundled_chunks, bundled.answerable[: items - len(own)])):
        if questions and chunks.num_rows:
            with temporary_index(chunks, at) as index:
                now = datetime.fromisoformat(request["now"])
                found += find_document_questions(index, questions, wanted.passages, wanted.minimum_score, now)
    write_table(Path(request["output"]), table_from_records(DocumentQuestion, found))
    return {"questions": len(found)}


def _open_environment(request: IndexFields, progress: Progress) -> "tuple[IndexEnvironment, CachedEncoder]":
    from fine_tune_assets.embeddings.encoder import bundled_encoder, encoder_version, piece_counter
    from fine_tune_assets.embeddings.vector_cache import CachedEncoder
    from fine_tune_assets.retrieval.document_index import IndexEnvironment
    from fine_tune_assets.retrieval.index_build import create_store
    from fine_tune_assets.retrieval.search import index_format

    encoder, threads, folder = bundled_encoder(), request["threads"], Path(request["folder"])
    remembered = CachedEncoder(
        lambda texts: encoder.encode_passages(texts, threads, progress), encoder_version(), Path(request["cache"])
    )
    at = IndexEnvironment(
        folder,
        create_store(folder, request["knowledge_url"]),
        index_format(encoder_version()),
        remembered,
        lambda texts: encoder.encode(texts, threads),
        piece_counter(),
    )
    return at, remembered


if __name__ == "__main__":
    serve_request({"make_index": make_index, "find_questions": find_questions})
