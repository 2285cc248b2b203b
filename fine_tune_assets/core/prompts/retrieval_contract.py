"""The retrieval contract: how a release answers from documents, stored in the release as `knowledge_index.json`.

Combines a question and its passages into one message, in the same way for training and serving, and splits them again. The
contract does not name the index, which changes with the documents (docs/decisions/0017-serving.md).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.prompts.conversations import (
    Message,
    escape_known_control_tokens,
    split_user_content,
    user_content,
)

PASSAGES, QUESTION = "{passages}", "{question}"
_PLACEHOLDERS = re.compile(r"\{(passages|question)\}")
_FENCE = re.compile(r"<(?=\s*/?\s*document\b)", re.IGNORECASE)
_FENCED = re.compile(
    r"<document (\d{1,9})>\n(?:(?!<document \d).)*?\(version (?:(?!<document \d).)*?\n</document \1>", re.DOTALL
)
EVERYONE = "everyone"
"""The access label that every caller has."""


@dataclass(frozen=True)
class RetrievalContract:
    template: str
    """Contains `{passages}` and `{question}` once each."""
    nothing_found: str
    """The answer if no document is relevant; in training it replaces the passages."""
    passages: int
    """Maximum number of passages in a prompt."""
    minimum_score: float
    """Passages with a lower score are not relevant."""
    index_format: str
    """Fingerprint of the embedder and of how an index is built and searched. Only an index of this format is used."""
    enabled: bool = False
    """Whether questions are answered from documents. False for older releases without this field."""

    @property
    def fingerprint(self) -> str:
        return fingerprint_json(asdict(self))

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False)


def parse_retrieval_contract(text: str) -> RetrievalContract:
    """Raises ValueError, TypeError or KeyError for an invalid contract."""
    values: dict[str, Any] = json.loads(text)
    return RetrievalContract(**values)


@dataclass(frozen=True)
class PassageText:
    """A part of a document, as inserted into a prompt."""

    passage_id: str
    title: str
    source: str
    version: str
    headings: tuple[str, ...]
    text: str

    @property
    def breadcrumb(self) -> str:
        return " > ".join(dict.fromkeys((self.title, *self.headings)))


@dataclass(frozen=True)
class Passage(PassageText):
    """A passage retrieved for a question."""

    score: float
    """Relevance for the question, 0 to 1."""


@dataclass(frozen=True)
class CorrectionPassage(PassageText):
    """A passage that a corrected answer was based on."""

    labels: tuple[str, ...]
    """Its access labels when the correction arrived."""


def parse_passages(rows: Iterable[Mapping[str, Any]]) -> tuple[CorrectionPassage, ...]:
    """Build passages from rows of a table or JSON."""
    return tuple(
        CorrectionPassage(**{**row, "headings": tuple(row["headings"]), "labels": tuple(row["labels"])}) for row in rows
    )


def are_public(passages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every caller can see all passages. Restricted passages must not be trained on: the model answers everyone."""
    return all(EVERYONE in row["labels"] for row in passages)


@dataclass(frozen=True)
class AnswerSources:
    """The sources of a corrected answer."""

    knowledge_index: str
    passage_ids: tuple[str, ...]
    """In the order of the prompt."""
    passages: tuple[CorrectionPassage, ...]
    """In the same order; empty if no index contains them any longer."""

    @property
    def is_missing(self) -> bool:
        return not self.passages


def add_passages(
    messages: Sequence[Message], passages: Sequence[PassageText], template: str, nothing_found: str
) -> list[Message]:
    """Insert the passages before the last question, in the same way for training and serving.

    Document text is escaped: it can neither end its passage nor contain a control token of a known model family.
    """
    *before, last = messages
    parts = {"passages": _format_passages(passages) or nothing_found, "question": last["content"]}
    # Replace both in one pass, so that `{question}` in a passage stays as it is.
    content = _PLACEHOLDERS.sub(lambda placeholder: parts[placeholder[1]], template)
    return [*before, {**last, "content": content}]


def add_passages_to_example(
    instruction: str, input_text: str, passages: Sequence[PassageText], template: str
) -> tuple[str, str]:
    """Instruction and input of an example whose user turn equals the one that `add_passages` builds.

    The instruction is the template's first paragraph, or the whole turn if that paragraph contains a placeholder.
    """
    question = [{"role": "user", "content": user_content(instruction, input_text)}]
    content = add_passages(question, passages, template, "")[-1]["content"]
    first, rest = split_user_content(content)
    is_separable = (
        _PLACEHOLDERS.search(split_user_content(template)[0]) is None and user_content(first, rest) == content
    )
    return (first, rest) if is_separable else (content, "")


@dataclass(frozen=True)
class BareQuestion:
    """An example's question, separated from its passages."""

    documents: tuple[str, ...]
    """The passages as formatted in the prompt."""
    instruction: str
    input: str

    @property
    def topic(self) -> str:
        """The input, or the instruction if the input is empty."""
        return self.input.strip() or self.instruction


def strip_passages(instruction: str, input_text: str) -> BareQuestion:
    """Separate a question from its passages, so that questions are compared without them.

    >>> passage = CorrectionPassage("p", "Leave", "leave.md", "1", (), "20 days.", ("everyone",))
    >>> template = "Use these.\\n\\n{passages}\\n\\nQuestion: {question}"
    >>> strip_passages(*add_passages_to_example("How long?", "", [passage], template)).topic
    'Question: How long?'
    """
    documents = tuple(found[0] for found in _FENCED.finditer(f"{instruction}\n{input_text}"))
    if not documents:
        return BareQuestion((), instruction, input_text)
    bare_instruction, bare_input = (_FENCED.sub("", text).strip() for text in (instruction, input_text))
    return BareQuestion(documents, bare_instruction, bare_input)


def _format_passages(passages: Sequence[PassageText]) -> str:
    return "\n\n".join(_format_passage(number, passage) for number, passage in enumerate(passages, start=1))


def _format_passage(number: int, passage: PassageText) -> str:
    heading = f"{passage.breadcrumb} (version {passage.version})"
    return f"<document {number}>\n{_escape_fences(heading)}\n{_escape_fences(passage.text)}\n</document {number}>"


def _escape_fences(text: str) -> str:
    return _FENCE.sub("< ", escape_known_control_tokens(text))
