"""How a release uses what is retrieved: one record with one fingerprint, which lies in a release as `knowledge_index.json`.

Owns its fields, how they are kept, and how a question and passages become one message. Not which index answers: that changes
with the documents, from one minute to the next (docs/decisions/0039-which-documents-answer.md).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fine_tune_assets.core.chat import Message, as_plain_for_any
from fine_tune_assets.core.fingerprints import fingerprint_json

PASSAGES, QUESTION = "{passages}", "{question}"
_PLACES = re.compile(r"\{(passages|question)\}")
_FENCE = re.compile(r"<(?=\s*/?\s*document\b)", re.IGNORECASE)


@dataclass(frozen=True)
class RetrievalContract:
    template: str
    """With `{passages}` and `{question}`, each once."""
    nothing_found: str
    """What is answered, and stands in the place of passages, when no document is relevant."""
    passages: int
    """At most as many are given to the model."""
    minimum_score: float
    """A passage below it is not relevant."""
    index_format: str
    """Fingerprint of the embedder and of how an index is made and searched: only an index of this format may answer."""
    enabled: bool = False
    """Whether questions are answered from documents at all. Releases of before it could be said do not."""

    @property
    def fingerprint(self) -> str:
        return fingerprint_json(asdict(self))

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False)


def retrieval_contract_from_json(text: str) -> RetrievalContract:
    """Raises ValueError, TypeError or KeyError if it is none."""
    values: dict[str, Any] = json.loads(text)
    return RetrievalContract(**values)


@dataclass(frozen=True)
class Passage:
    """A part of a document, as an answer cites it."""

    passage_id: str
    title: str
    source: str
    version: str
    headings: tuple[str, ...]
    text: str
    score: float
    """0 to 1: how well it fits the question."""

    @property
    def where(self) -> str:
        return " > ".join(dict.fromkeys((self.title, *self.headings)))


def with_passages(
    messages: Sequence[Message], passages: Sequence[Passage], template: str, nothing_found: str
) -> list[Message]:
    """The conversation with the passages put before its last question. Pure, and the same in training and in front of users.

    What a document says stays text: it can neither end its passage nor hold a control token of any known model.
    """
    *before, last = messages
    parts = {"passages": _joined(passages) or nothing_found, "question": last["content"]}
    # In one go: a passage that holds {question} is not filled in.
    content = _PLACES.sub(lambda place: parts[place[1]], template)
    return [*before, {**last, "content": content}]


def _joined(passages: Sequence[Passage]) -> str:
    return "\n\n".join(_fenced(number, passage) for number, passage in enumerate(passages, start=1))


def _fenced(number: int, passage: Passage) -> str:
    about = f"{passage.where} (version {passage.version})"
    return f"<document {number}>\n{_harmless(about)}\n{_harmless(passage.text)}\n</document {number}>"


def _harmless(text: str) -> str:
    return _FENCE.sub("< ", as_plain_for_any(text))
