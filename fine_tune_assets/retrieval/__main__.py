"""Making an index as a process: `make_index`, one request (core/processes/worker.py)."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.tables.records import conform, table_of
from fine_tune_assets.tables.serving import KnowledgeChunk, KnowledgeIndex


def make(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.embeddings.encoder import bundled_encoder, encoder_version, piece_counter
    from fine_tune_assets.embeddings.vector_cache import Remembered
    from fine_tune_assets.retrieval.document_index import Asked, Workplace, make_index
    from fine_tune_assets.retrieval.index_build import store_of
    from fine_tune_assets.retrieval.retrieval_quality import read_own_questions, read_shipped_set
    from fine_tune_assets.retrieval.search import index_format

    encoder, threads = bundled_encoder(), int(request["threads"])
    remembered = Remembered(
        lambda texts: encoder.encode_passages(texts, threads, progress), encoder_version(), Path(request["cache"])
    )
    folder = Path(request["folder"])
    at = Workplace(
        folder,
        store_of(folder, request["knowledge_url"]),
        index_format(encoder_version()),
        remembered,
        lambda texts: encoder.encode(texts, threads),
        piece_counter(),
    )
    row = make_index(
        conform(pq.read_table(request["chunks"]), KnowledgeChunk.SCHEMA),
        at,
        Asked(**request["asked"]),
        read_shipped_set(Path(request["shipped"])),
        read_own_questions(Path(request["own"])),
        datetime.fromisoformat(request["now"]),
    )
    remembered.forget_others()
    write_table(Path(request["output"]), table_of([row], KnowledgeIndex.SCHEMA))
    return {}


if __name__ == "__main__":
    serve_request({"make_index": make})
