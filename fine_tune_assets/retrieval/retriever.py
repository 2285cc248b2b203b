"""Retrieves passages for a user's question from the live index and checks the answer against them.

Usage by the gateway, per request:

    retriever = Retriever(settings, ledger)                                 # once per process; thread-safe
    prepared = retriever.prepare(messages, labels, contract, now)           # messages without the system prompt
    if prepared.fallback_answer is not None: return it without the model    # nothing relevant was found
    else: send prepared.messages to the model, then
    check = check_answer(answer, prepared)                                  # counts and offsets of unsupported claims
    return prepared.citations and prepared.search_result.index_fingerprint with the release id

A correction names the index and the passages of its answer; `retriever.find_cited_passages(index, ids, labels)` returns their
texts while an index contains them.

`labels` come from the caller's key or token; everyone has `everyone`. `contract` is the release's `knowledge_index.json`. The
ledger decides which index is live; this module opens and caches it.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fine_tune_assets.claims.citations import CitationCheck, check_citations
from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.prompts.conversations import Message
from fine_tune_assets.core.prompts.retrieval_contract import (
    EVERYONE,
    AnswerSources,
    CorrectionPassage,
    Passage,
    RetrievalContract,
    add_passages,
)
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.live_indexes import find_index_format, find_live_index
from fine_tune_assets.retrieval.index_build import create_store, open_index
from fine_tune_assets.retrieval.search import Index, SearchResult, find_last_question, retrieve
from fine_tune_assets.retrieval.stores import Store

CACHE_SECONDS = 1.0
"""Maximum age of the cached live index, in seconds."""


class NoLiveIndexError(FineTuneError):
    """No index of the release's format passed its checks, so no question can be answered from documents."""


class UnknownIndexError(FineTuneError):
    """No index with this fingerprint has ever been live."""


class UnknownPassageError(FineTuneError):
    """The index lacks the passage, or the caller may not see it; the error does not tell which."""


@dataclass(frozen=True)
class PreparedPrompt:
    messages: tuple[Message, ...]
    search_result: SearchResult
    question: str
    fallback_answer: str | None
    """Answer to return without asking the model, because nothing relevant was found; None to ask it."""

    @property
    def citations(self) -> list[dict[str, Any]]:
        """Citations of an answer, in the order of their numbers."""
        return [_citation(number, passage) for number, passage in enumerate(self.search_result.passages, start=1)]


class Retriever:
    def __init__(self, settings: Settings, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._ledger, self._clock = settings, ledger, clock
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[float, Index]] = {}

    def prepare(
        self, messages: Sequence[Message], labels: Collection[str], contract: RetrievalContract, now: datetime
    ) -> PreparedPrompt:
        """Raises NoLiveIndexError, KnowledgeStoreError."""
        question = find_last_question(messages)
        passages = retrieve(
            self.open_live_index(contract.index_format),
            question,
            labels={EVERYONE, *labels},
            now=now,
            limit=contract.passages,
            minimum_score=contract.minimum_score,
        )
        prompt = add_passages(messages, passages.passages, contract.template, contract.nothing_found)
        return PreparedPrompt(tuple(prompt), passages, question, None if passages.passages else contract.nothing_found)

    def open_live_index(self, index_format: str) -> Index:
        """Return the live index of a format, at most CACHE_SECONDS old. Raises NoLiveIndexError."""
        with self._lock:
            known = self._opened.get(index_format)
            if known is not None and self._clock() - known[0] < CACHE_SECONDS:
                return known[1]
            live = self._live_fingerprint(index_format)
            index = known[1] if known and known[1].fingerprint == live else self._open(live)
            self._opened[index_format] = (self._clock(), index)
            return index

    def _live_fingerprint(self, index_format: str) -> str:
        live = find_live_index(self._ledger, index_format)
        if live is None:
            raise NoLiveIndexError(
                "No knowledge index for the production model's release has passed its checks. "
                + materialize_hint("knowledge_indexes", "served_knowledge")
            )
        return live.index_fingerprint

    def find_cited_passages(
        self, index_fingerprint: str, passage_ids: Sequence[str], labels: Collection[str]
    ) -> AnswerSources:
        """Return the passages that an answer cited.

        If its index was removed, reads passages from the live index, which has them if it contains the same text: a chunk id
        follows from text, headings and document. Other passages are missing.

        Raises UnknownIndexError, UnknownPassageError, KnowledgeStoreError.
        """
        index_format = find_index_format(self._ledger, index_fingerprint)
        if index_format is None:
            raise UnknownIndexError("No knowledge index with this fingerprint has been live.")
        store = create_store(self._settings.layout.knowledge_indexes, self._settings.knowledge.url)
        is_there = short(index_fingerprint) in store.list_indexes()
        # Not the cached index: it may be outdated and its folder removed.
        rows = _find_rows(
            store,
            index_fingerprint if is_there else self._live_fingerprint(index_format),
            passage_ids,
            {EVERYONE, *labels},
        )
        if rows.keys() >= set(passage_ids):
            passages = tuple(_cited_passage(rows[one]) for one in passage_ids)
            return AnswerSources(index_fingerprint, tuple(passage_ids), passages)
        if is_there:
            raise UnknownPassageError("The index has no such passage for this caller.")
        return AnswerSources(index_fingerprint, tuple(passage_ids), ())

    def _open(self, fingerprint: str) -> Index:
        from fine_tune_assets.embeddings.encoder import bundled_encoder

        folder = self._settings.layout.knowledge_indexes
        store = create_store(folder, self._settings.knowledge.url)
        return open_index(folder, store, fingerprint, bundled_encoder().encode)


def check_answer(answer: str, prepared: PreparedPrompt) -> CitationCheck:
    return check_citations(answer, prepared.search_result.passages, prepared.question)


def _find_rows(
    store: Store, index_fingerprint: str, passage_ids: Sequence[str], labels: Collection[str]
) -> dict[str, dict[str, Any]]:
    opened = store.open(index_fingerprint)
    try:
        return {row["chunk_id"]: row for row in opened.find_chunks(passage_ids, labels)}
    finally:
        opened.close()


def _cited_passage(row: Mapping[str, Any]) -> CorrectionPassage:
    headings, labels = tuple(row["heading_path"]), tuple(row["labels"])
    return CorrectionPassage(
        row["chunk_id"], row["title"], row["source"], row["version"], headings, row["text"], labels
    )


def _citation(number: int, passage: Passage) -> dict[str, Any]:
    return {
        "number": number,
        "passage_id": passage.passage_id,
        "title": passage.title,
        "source": passage.source,
        "version": passage.version,
        "headings": list(passage.headings),
        "score": passage.score,
    }
