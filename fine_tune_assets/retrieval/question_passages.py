"""Retrieval for one question of users: the live index, passages in the release's template, and the check of the answer.

The gateway's contract, per request:

    knowledge = LiveKnowledge(settings, ledger)                             # once a process; safe for threads
    prepared = knowledge.prepare(messages, labels, contract, now)           # messages without the system's, before plain_messages
    if prepared.answer is not None: answer with it, ask no model            # nothing relevant: it says so
    else: ask the model with prepared.messages, then
    check = check_answer(answer, prepared)                                  # counts and offsets of what no passage holds
    tell the caller prepared.citations and prepared.passages.index_fingerprint beside the release id

A correction of an answer names the index and the passages that the answer told: `knowledge.carried(index, ids, labels)` is what
they say, while an index holds them.

`labels` are those of the caller's key or token; everybody holds `everyone`. `contract` is the release's `knowledge_index.json`.
Owns opening and remembering the live index. Which one is live is the ledger's.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.prompts.chat import Message
from fine_tune_assets.core.prompts.retrieval_contract import (
    EVERYONE,
    AnsweredFrom,
    CarriedPassage,
    Passage,
    RetrievalContract,
    with_passages,
)
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.live_knowledge import format_of_knowledge, live_knowledge
from fine_tune_assets.retrieval.citations import CitationCheck, check_citations
from fine_tune_assets.retrieval.index_build import open_index, store_of
from fine_tune_assets.retrieval.search import Index, Passages, last_question, retrieve
from fine_tune_assets.retrieval.stores import Store

LOOK_AGAIN_SECONDS = 1.0
"""How old the knowledge of which index is live may be."""


class NoLiveKnowledgeError(FineTuneError):
    """No index of the release's format passed its checks: nobody is answered from documents."""


class UnknownIndexError(FineTuneError):
    """No index of that fingerprint ever answered."""


class UnknownPassageError(FineTuneError):
    """An index has no such passage, or none that the caller may see: it is not said which."""


@dataclass(frozen=True)
class Prepared:
    messages: tuple[Message, ...]
    passages: Passages
    question: str
    answer: str | None
    """What is answered without asking the model, since nothing relevant was found; None: ask it."""

    @property
    def citations(self) -> list[dict[str, Any]]:
        """What stands beside an answer, in the order of the numbers in it."""
        return [_citation(number, passage) for number, passage in enumerate(self.passages.found, start=1)]


class LiveKnowledge:
    def __init__(self, settings: Settings, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._ledger, self._clock = settings, ledger, clock
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[float, Index]] = {}

    def prepare(
        self, messages: Sequence[Message], labels: Collection[str], contract: RetrievalContract, now: datetime
    ) -> Prepared:
        """Raises NoLiveKnowledgeError, KnowledgeStoreError."""
        question = last_question(messages)
        passages = retrieve(
            self.index(contract.index_format),
            question,
            labels={EVERYONE, *labels},
            now=now,
            limit=contract.passages,
            minimum_score=contract.minimum_score,
        )
        asked = with_passages(messages, passages.found, contract.template, contract.nothing_found)
        return Prepared(tuple(asked), passages, question, None if passages.found else contract.nothing_found)

    def index(self, index_format: str) -> Index:
        """The live index of a format, as the ledger says now or said a second ago. Raises NoLiveKnowledgeError."""
        with self._lock:
            known = self._opened.get(index_format)
            if known is not None and self._clock() - known[0] < LOOK_AGAIN_SECONDS:
                return known[1]
            live = self._live(index_format)
            index = known[1] if known and known[1].fingerprint == live else self._open(live)
            self._opened[index_format] = (self._clock(), index)
            return index

    def _live(self, index_format: str) -> str:
        live = live_knowledge(self._ledger, index_format)
        if live is None:
            raise NoLiveKnowledgeError(
                "No knowledge index that fits the live release has passed its checks. "
                + materialize_hint("knowledge_indexes", "served_knowledge")
            )
        return live.index_fingerprint

    def carried(self, index_fingerprint: str, passage_ids: Sequence[str], labels: Collection[str]) -> AnsweredFrom:
        """What an answer was given from, by what it told. Of an index that was removed since, passages that the live one still
        has are taken from there: an id follows from the text, its headings and its document. Else they are gone.

        Raises UnknownIndexError, UnknownPassageError, KnowledgeStoreError.
        """
        index_format = format_of_knowledge(self._ledger, index_fingerprint)
        if index_format is None:
            raise UnknownIndexError("No knowledge index with that fingerprint has answered.")
        store = store_of(self._settings.layout.knowledge_indexes, self._settings.knowledge.url)
        is_there = short(index_fingerprint) in store.built()
        # Not what is open for questions: that may be a second old, and its folder gone.
        rows = _named(
            store, index_fingerprint if is_there else self._live(index_format), passage_ids, {EVERYONE, *labels}
        )
        if rows.keys() >= set(passage_ids):
            passages = tuple(_carried(rows[one]) for one in passage_ids)
            return AnsweredFrom(index_fingerprint, tuple(passage_ids), passages)
        if is_there:
            raise UnknownPassageError("That index has no such passage for this caller.")
        return AnsweredFrom(index_fingerprint, tuple(passage_ids), ())

    def _open(self, fingerprint: str) -> Index:
        from fine_tune_assets.embeddings.encoder import bundled_encoder

        folder = self._settings.layout.knowledge_indexes
        store = store_of(folder, self._settings.knowledge.url)
        return open_index(folder, store, fingerprint, bundled_encoder().encode)


def check_answer(answer: str, prepared: Prepared) -> CitationCheck:
    return check_citations(answer, prepared.passages.found, prepared.question)


def _named(
    store: Store, index_fingerprint: str, passage_ids: Sequence[str], labels: Collection[str]
) -> dict[str, dict[str, Any]]:
    opened = store.open(index_fingerprint)
    try:
        return {row["chunk_id"]: row for row in opened.named(passage_ids, labels)}
    finally:
        opened.close()


def _carried(row: Mapping[str, Any]) -> CarriedPassage:
    headings, labels = tuple(row["heading_path"]), tuple(row["labels"])
    return CarriedPassage(row["chunk_id"], row["title"], row["source"], row["version"], headings, row["text"], labels)


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
