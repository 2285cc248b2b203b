"""Finds the passages that answer a question, among those that a caller may see.

Owns how an index is searched (by meaning and by words, joined by reciprocal rank fusion, ranked again) and when a passage counts
as relevant. The weights were measured: docs/decisions/0039-which-documents-answer.md.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.prompts.chat import Message
from fine_tune_assets.core.prompts.retrieval_contract import Passage
from fine_tune_assets.retrieval.stores import Floats, Hit, OpenStore, Sees
from fine_tune_assets.retrieval.words import Rarity, shared_share, words_of

FORMAT = "1: chunks of sections, title and headings before the text, RRF 60 of 40 and 40, 0.6 cosine + 0.4 shared words"
"""Raise the number when an index is made or searched in another way: those of before then answer no new release."""
_EACH_WAY = 40
_FUSED = 30
_RRF = 60
"""Cormack, Clarke and Büttcher 2009."""
_COSINE, _SHARED = 0.6, 0.4
_LONGEST_QUESTION = 800
"""Characters, which the encoder reads to their end. Of a longer one the end is taken: that is where people ask."""


@dataclass(frozen=True)
class Passages:
    """What was found, best first; empty if nothing is relevant."""

    found: tuple[Passage, ...]
    index_fingerprint: str
    best_score: float | None
    """Of the best passage, relevant or not; None if the caller sees none."""


@dataclass(frozen=True)
class Index:
    """An index that is open for questions."""

    fingerprint: str
    store: OpenStore
    rarity: Rarity
    encode: Callable[[Sequence[str]], Floats]


def index_format(encoder_version: str) -> str:
    """Fingerprint of all that decides how an index is made and searched, but for its documents."""
    return combine([FORMAT, encoder_version])


def retrieve(
    index: Index, question: str, *, labels: Collection[str], now: datetime, limit: int, minimum_score: float
) -> Passages:
    """At most `limit` passages that are relevant. What none of `labels` allows is not looked at, and neither is what does not
    hold on the day of `now`."""
    ranked = rank(index, question, Sees(frozenset(labels), now.date()))
    relevant = tuple(passage for passage in ranked[:limit] if passage.score >= minimum_score)
    return Passages(relevant, index.fingerprint, ranked[0].score if ranked else None)


def rank(index: Index, question: str, sees: Sees) -> list[Passage]:
    """The candidates of both ways, best first, relevant or not."""
    asked = question[-_LONGEST_QUESTION:]
    if not asked.strip():
        return []
    vector = index.encode([asked])[0]
    ways = (index.store.nearest(vector, sees, _EACH_WAY), index.store.matching(asked, vector, sees, _EACH_WAY))
    words = sorted(set(words_of(asked)))
    scored = [_passage(hit, words, index.rarity) for hit in fuse(ways)[:_FUSED]]
    return sorted(scored, key=lambda passage: (-passage.score, passage.passage_id))


def fuse(ways: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Reciprocal rank fusion: a chunk's weight is the sum over the ways of 1 / (60 + its place)."""
    weights: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    for way in ways:
        for place, hit in enumerate(way, start=1):
            name = hit.row["chunk_id"]
            weights[name] = weights.get(name, 0.0) + 1 / (_RRF + place)
            hits.setdefault(name, hit)
    return [hits[name] for name in sorted(hits, key=lambda name: (-weights[name], name))]


def _passage(hit: Hit, words: Sequence[str], rarity: Rarity) -> Passage:
    row = hit.row
    headings = tuple(row["heading_path"])
    held = "\n".join((row["title"], *headings, row["text"]))
    score = _COSINE * max(0.0, hit.cosine) + _SHARED * shared_share(words, held, rarity)
    return Passage(row["chunk_id"], row["title"], row["source"], row["version"], headings, row["text"], round(score, 4))


def last_question(messages: Sequence[Message]) -> str:
    """What is asked: the user's last turn."""
    return next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
