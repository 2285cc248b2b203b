"""Worker subprocess for `make_index`; serves one request (see core/processes/worker.py)."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.tables.record_classes import conform, table_from_rows
from fine_tune_assets.tables.serving_rows import KnowledgeChunk, KnowledgeIndex


def handle_request(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.embeddings.encoder import bundled_encoder, encoder_version, piece_counter
    from fine_tune_assets.embeddings.vector_cache import CachedEncoder
    from fine_tune_assets.retrieval.document_index import IndexEnvironment, IndexRequirements, make_index
    from fine_tune_assets.retrieval.index_build import create_store
    from fine_tune_assets.retrieval.retrieval_quality import read_bundled_questions, read_own_questions
    from fine_tune_assets.retrieval.search import index_format

    encoder, threads = bundled_encoder(), int(request["threads"])
    remembered = CachedEncoder(
        lambda texts: encoder.encode_passages(texts, threads, progress), encoder_version(), Path(request["cache"])
    )
    folder = Path(request["folder"])
    at = IndexEnvironment(
        folder,
        create_store(folder, request["knowledge_url"]),
        index_format(encoder_version()),
        remembered,
        lambda texts: encoder.encode(texts, threads),
        piece_counter(),
    )
    row = make_index(
        conform(pq.read_table(request["chunks"]), KnowledgeChunk.SCHEMA),
        at,
        IndexRequirements(**request["requirements"]),
        read_bundled_questions(Path(request["bundled_questions"])),
        read_own_questions(Path(request["own_questions"])),
        datetime.fromisoformat(request["now"]),
    )
    remembered.remove_unused()
    write_table(Path(request["output"]), table_from_rows([row], KnowledgeIndex.SCHEMA))
    return {}


if __name__ == "__main__":
    serve_request({"make_index": handle_request})
