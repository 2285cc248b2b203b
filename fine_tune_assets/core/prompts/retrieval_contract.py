"""How a release uses what is retrieved: one record with one fingerprint, which lies in a release as `knowledge_index.json`.

Owns its fields, how they are kept, how a question and passages become one message, in training as in front of users, and how
both are told apart again. Not which index answers: that changes with the documents, from one minute to the next
(docs/decisions/0039-which-documents-answer.md).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.prompts.chat import Message, as_plain_for_any, parts_of, user_content

PASSAGES, QUESTION = "{passages}", "{question}"
_PLACES = re.compile(r"\{(passages|question)\}")
_FENCE = re.compile(r"<(?=\s*/?\s*document\b)", re.IGNORECASE)
_FENCED = re.compile(r"<document (\d+)>\n.*?\(version .*?\n</document \1>", re.DOTALL)
EVERYONE = "everyone"
"""The access label that every caller holds."""


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
class PassageText:
    """A part of a document, as the model is shown it."""

    passage_id: str
    title: str
    source: str
    version: str
    headings: tuple[str, ...]
    text: str

    @property
    def where(self) -> str:
        return " > ".join(dict.fromkeys((self.title, *self.headings)))


@dataclass(frozen=True)
class Passage(PassageText):
    """One that was found for a question, as an answer cites it."""

    score: float
    """0 to 1: how well it fits the question."""


@dataclass(frozen=True)
class CarriedPassage(PassageText):
    """One that an answer was given from, as a correction of that answer carries it."""

    labels: tuple[str, ...]
    """Who could see it when the correction came."""


def carried_passages(rows: Iterable[Mapping[str, Any]]) -> tuple[CarriedPassage, ...]:
    """Of plain values, such as a table's or JSON's."""
    return tuple(
        CarriedPassage(**{**row, "headings": tuple(row["headings"]), "labels": tuple(row["labels"])}) for row in rows
    )


def are_for_everyone(passages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every caller might see all of these plain values: what one could not see may not speak from the model to all."""
    return all(EVERYONE in row["labels"] for row in passages)


@dataclass(frozen=True)
class AnsweredFrom:
    """What a corrected answer was given from."""

    knowledge_index: str
    passage_ids: tuple[str, ...]
    """In the order in which they stood before the question."""
    passages: tuple[CarriedPassage, ...]
    """In the same order; empty where no index holds them any more."""

    @property
    def is_gone(self) -> bool:
        return not self.passages


def with_passages(
    messages: Sequence[Message], passages: Sequence[PassageText], template: str, nothing_found: str
) -> list[Message]:
    """The conversation with the passages put before its last question. Pure, and the same in training and in front of users.

    What a document says stays text: it can neither end its passage nor hold a control token of any known model.
    """
    *before, last = messages
    parts = {"passages": _joined(passages) or nothing_found, "question": last["content"]}
    # In one go: a passage that holds {question} is not filled in.
    content = _PLACES.sub(lambda place: parts[place[1]], template)
    return [*before, {**last, "content": content}]


def example_with_passages(
    instruction: str, input_text: str, passages: Sequence[PassageText], template: str
) -> tuple[str, str]:
    """Instruction and input of an example whose user's turn is what `with_passages` makes of that question, to the letter.

    The instruction is the template's first paragraph where no passage begins in it, as in any example; else all is.
    """
    question = [{"role": "user", "content": user_content(instruction, input_text)}]
    content = with_passages(question, passages, template, "")[-1]["content"]
    first, rest = parts_of(content)
    is_apart = _PLACES.search(parts_of(template)[0]) is None and user_content(first, rest) == content
    return (first, rest) if is_apart else (content, "")


@dataclass(frozen=True)
class BareQuestion:
    """An example's question, with what stands before it apart."""

    documents: tuple[str, ...]
    """The passages, as they stand there."""
    instruction: str
    input: str

    @property
    def subject(self) -> str:
        """What is asked about: the input, or the instruction itself where there is none."""
        return self.input.strip() or self.instruction


def bare_question(instruction: str, input_text: str) -> BareQuestion:
    """Two questions are compared without the passages before them: they fill the input, and may be the same in both.

    >>> passage = CarriedPassage("p", "Leave", "leave.md", "1", (), "20 days.", ("everyone",))
    >>> template = "Use these.\\n\\n{passages}\\n\\nQuestion: {question}"
    >>> bare_question(*example_with_passages("How long?", "", [passage], template)).subject
    'Question: How long?'
    """
    documents = tuple(found[0] for found in _FENCED.finditer(f"{instruction}\n{input_text}"))
    if not documents:
        return BareQuestion((), instruction, input_text)
    bare, about = (_FENCED.sub("", text).strip() for text in (instruction, input_text))
    return BareQuestion(documents, bare, about)


def _joined(passages: Sequence[PassageText]) -> str:
    return "\n\n".join(_fenced(number, passage) for number, passage in enumerate(passages, start=1))


def _fenced(number: int, passage: PassageText) -> str:
    about = f"{passage.where} (version {passage.version})"
    return f"<document {number}>\n{_harmless(about)}\n{_harmless(passage.text)}\n</document {number}>"


def _harmless(text: str) -> str:
    return _FENCE.sub("< ", as_plain_for_any(text))
