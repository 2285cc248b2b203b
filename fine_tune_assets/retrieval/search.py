"""Finds the passages that answer a question among those that a caller may see.

Searches by vectors and by words, joins both by reciprocal rank fusion, ranks again, and applies the relevance threshold. The
weights were measured: benchmarks/results/document-retrieval.md.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.prompts.conversations import Message
from fine_tune_assets.core.prompts.retrieval_contract import Passage
from fine_tune_assets.retrieval.stores import AccessFilter, Floats, Hit, OpenStore
from fine_tune_assets.retrieval.term_weights import TermStatistics, tokenize, weighted_overlap

FORMAT = "1: chunks of sections, title and headings before the text, RRF 60 of 40 and 40, 0.6 cosine + 0.4 shared words"
"""Raise the number when indexing or search changes: indexes of earlier formats then answer no new release."""
_CANDIDATES = 40
_RERANKED = 30
_RRF_K = 60
"""Cormack, Clarke and Büttcher 2009."""
_COSINE_WEIGHT, _OVERLAP_WEIGHT = 0.6, 0.4
_MAX_QUESTION_LENGTH = 800
"""Maximum characters that the encoder reads. Longer questions keep their end, where people usually ask."""


@dataclass(frozen=True)
class SearchResult:
    """The relevant passages, best first."""

    passages: tuple[Passage, ...]
    index_fingerprint: str
    best_score: float | None
    """Score of the best passage, relevant or not; None if the caller may see none."""


@dataclass(frozen=True)
class Index:
    """An index that is open for search."""

    fingerprint: str
    store: OpenStore
    term_statistics: TermStatistics
    encode: Callable[[Sequence[str]], Floats]


def index_format(encoder_version: str) -> str:
    """Fingerprint of everything that determines indexing and search, except the documents."""
    return combine([FORMAT, encoder_version])


def retrieve(
    index: Index, question: str, *, labels: Collection[str], now: datetime, limit: int, minimum_score: float
) -> SearchResult:
    """Return at most `limit` relevant passages that one of `labels` allows and that are valid on the day of `now`."""
    ranked = rank(index, question, AccessFilter(frozenset(labels), now.date()))
    relevant = tuple(passage for passage in ranked[:limit] if passage.score >= minimum_score)
    return SearchResult(relevant, index.fingerprint, ranked[0].score if ranked else None)


def rank(index: Index, question: str, access: AccessFilter) -> list[Passage]:
    """Return the candidates of both searches, best first, relevant or not."""
    query = question[-_MAX_QUESTION_LENGTH:]
    if not query.strip():
        return []
    vector = index.encode([query])[0]
    ways = (
        index.store.search_vectors(vector, access, _CANDIDATES),
        index.store.search_words(query, vector, access, _CANDIDATES),
    )
    words = sorted(set(tokenize(query)))
    scored = [_score_passage(hit, words, index.term_statistics) for hit in fuse_rankings(ways)[:_RERANKED]]
    return sorted(scored, key=lambda passage: (-passage.score, passage.passage_id))


def fuse_rankings(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Reciprocal rank fusion: a chunk's weight is the sum over the searches of weight / (60 + rank)."""
    weights: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    for way in rankings:
        for place, hit in enumerate(way, start=1):
            name = hit.row["chunk_id"]
            weights[name] = weights.get(name, 0.0) + 1 / (_RRF_K + place)
            hits.setdefault(name, hit)
    return [hits[name] for name in sorted(hits, key=lambda name: (-weights[name], name))]


def _score_passage(hit: Hit, words: Sequence[str], rarity: TermStatistics) -> Passage:
    row = hit.row
    headings = tuple(row["heading_path"])
    held = "\n".join((row["title"], *headings, row["text"]))
    score = _COSINE_WEIGHT * max(0.0, hit.cosine) + _OVERLAP_WEIGHT * weighted_overlap(words, held, rarity)
    return Passage(row["chunk_id"], row["title"], row["source"], row["version"], headings, row["text"], round(score, 4))


def find_last_question(messages: Sequence[Message]) -> str:
    """Return the last user turn."""
    return next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
