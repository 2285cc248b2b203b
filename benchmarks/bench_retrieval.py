"""Compare retrieval among many chunks with plain LanceDB vector search: recall, MRR, refused questions and time.

Questions and abstracts are the shipped PubMedQA ones, with every third abstract left out. The rest of the chunks are sentences of
other shipped texts with random unit vectors: encoding them would take longer than everything else, and searching a random vector
costs as much as a real one. Each question is encoded separately on one thread, as in the gateway. Both methods use the same
chunks and filter.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.embeddings.encoder import (
    bundled_encoder,
    encode_passages,
    encoder_version,
    mean_vectors,
    piece_counter,
)
from fine_tune_assets.retrieval.document_index import build_chunk_table
from fine_tune_assets.retrieval.documents import EVERYONE
from fine_tune_assets.retrieval.index_build import build_index, create_store, index_fingerprint, open_index
from fine_tune_assets.retrieval.retrieval_quality import measure_abstention, measure_retrieval, read_bundled_questions
from fine_tune_assets.retrieval.search import SearchResult, index_format, rank, retrieve
from fine_tune_assets.retrieval.stores import AccessFilter, build_search_texts
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.serving_rows import KnowledgeChunk

DATA = PROJECT_DIR / "data"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
LIMIT, MINIMUM = 3, 0.55
Search = Callable[[str], list[tuple[str, float]]]
"""A question → source and score of the best passages."""


def fillers(count: int) -> pa.Table:
    """Real sentences, so that the index of words is as large as it would be."""
    texts = [
        json.loads(line)["query"]
        for name in ("boolq", "openbook_qa", "arc_easy", "commonsense_qa", "strategy_qa")
        for line in (DATA / "evaluation" / "abilities" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    words = " ".join(texts).split()
    starts = np.random.default_rng(1).integers(0, len(words) - 110, count)
    rows = [
        {"chunk_id": f"filler-{number}", "source": f"filler-{number}", "kind": "text", "title": "Filler", "version": "1",
         "valid_from": None, "valid_to": None, "labels": [EVERYONE], "heading_path": [], "tokens": 140,
         "text": " ".join(words[start : start + 110])}
        for number, start in enumerate(starts)
    ]  # fmt: skip
    return table_from_rows(rows, KnowledgeChunk.SCHEMA)


def milliseconds(search: Callable[[str], Any], questions: list[str]) -> dict[str, float]:
    for question in questions[:5]:
        search(question)
    taken = []
    for question in questions:
        started = time.perf_counter()
        search(question)
        taken.append(1000 * (time.perf_counter() - started))
    return {"p50_ms": statistics.median(taken), "p95_ms": statistics.quantiles(taken, n=20)[-1]}


def main(chunks: int, url: str) -> None:
    shipped, count = read_bundled_questions(DATA / "evaluation" / "abilities" / "pubmed_qa.jsonl"), piece_counter()
    held = build_chunk_table(shipped.documents, 160, count)
    filled = fillers(chunks - held.num_rows)
    vectors = mean_vectors(*encode_passages(build_search_texts(held)))
    noise = np.random.default_rng(2).normal(size=(filled.num_rows, vectors.shape[1])).astype(np.float32)
    every = np.concatenate([vectors, noise / np.linalg.norm(noise, axis=1, keepdims=True)])
    table = pa.concat_tables([held, filled])
    questions = [asked.question for asked in shipped.answerable]
    with tempfile.TemporaryDirectory() as folder:
        results = {"ours": ours(Path(folder), url, table, every, shipped, questions)}
        results["LanceDB, vectors alone"] = plain(Path(folder), table, every, shipped, questions)
    show(results)
    print(json.dumps({"chunks": chunks, "store": "pgvector" if url else "lancedb", "results": results}))


def ours(folder: Path, url: str, table: pa.Table, vectors: Any, shipped: Any, questions: list[str]) -> dict[str, float]:
    store, encode = create_store(folder / "indexes", url), bundled_encoder().encode
    fingerprint = index_fingerprint(table, index_format(encoder_version()), store.name)
    started = time.perf_counter()
    build_index(folder / "indexes", store, fingerprint, table, lambda _: (vectors, np.ones(len(vectors), np.int32)))
    built = time.perf_counter() - started
    index = open_index(folder / "indexes", store, fingerprint, encode)

    def ask(question: str, labels: frozenset[str]) -> SearchResult:
        return retrieve(index, question, labels=labels, now=NOW, limit=LIMIT, minimum_score=MINIMUM)

    def ask_without_threshold(question: str, labels: frozenset[str]) -> SearchResult:
        return retrieve(index, question, labels=labels, now=NOW, limit=LIMIT, minimum_score=0.0)

    quality = measure_retrieval(shipped.answered, ask_without_threshold)
    kept = measure_retrieval(shipped.answered, ask)
    times = milliseconds(
        lambda question: rank(index, question, AccessFilter(frozenset({EVERYONE}), NOW.date())), questions
    )
    encoding = milliseconds(lambda question: encode([question]), questions)["p50_ms"]
    refused = measure_abstention(shipped.unanswered, ask)
    store.remove(fingerprint)
    return {
        "recall_at_3": quality.recall or 0.0, "mrr": quality.mrr or 0.0, "recall_with_threshold": kept.recall or 0.0,
        "refused": refused or 0.0, **times, "of_which_encoding_ms": encoding, "build_s": built,
    }  # fmt: skip


def plain(folder: Path, table: pa.Table, vectors: Any, shipped: Any, questions: list[str]) -> dict[str, float]:
    """As LanceDB's documentation shows it. Its threshold on the cosine is the best one for these very questions."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    started = time.perf_counter()
    opened = lancedb.connect(folder / "plain").create_table("chunks", table.append_column("vector", column))
    built = time.perf_counter() - started

    def search(question: str) -> list[tuple[str, float]]:
        query = opened.search(bundled_encoder().encode([question])[0]).distance_type("cosine")
        rows = (
            query.where(f"array_has_any(labels, ['{EVERYONE}'])")
            .limit(LIMIT)
            .select(["source", "text", "_distance"])
            .to_list()
        )
        return [(row["source"], 1 - row["_distance"]) for row in rows]

    wanted = [document.source for document in shipped.documents]
    found = [search(question) for question in questions]
    ranks = [
        next((place for place, (source, _) in enumerate(rows, 1) if source == right), None)
        for rows, right in zip(found, wanted, strict=True)
    ]
    tops, others = [rows[0][1] for rows in found], [search(question)[0][1] for question in shipped.unanswered]
    limit = max(
        np.linspace(0, 1, 201),
        key=lambda at: sum(t >= at for t in tops) / len(tops) + sum(o < at for o in others) / len(others),
    )
    kept = [rank for rank, top in zip(ranks, tops, strict=True) if rank and top >= limit]
    return {
        "recall_at_3": sum(rank is not None for rank in ranks) / len(ranks),
        "mrr": sum(1 / rank for rank in ranks if rank) / len(ranks),
        "recall_with_threshold": len(kept) / len(ranks),
        "refused": sum(other < limit for other in others) / len(others),
        **milliseconds(search, questions),
        "build_s": built,
    }


def show(results: dict[str, dict[str, float]]) -> None:
    table = Table("", *results)
    for name in next(iter(results.values())):
        table.add_row(name, *(f"{values[name]:.3f}" if name in values else "" for values in results.values()))
    Console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--url", default="", help="a PostgreSQL database with pgvector, instead of LanceDB")
    arguments = parser.parse_args()
    main(arguments.chunks, arguments.url)
