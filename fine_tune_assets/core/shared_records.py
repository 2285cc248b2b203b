"""Records that several packages exchange. Stages create them and the ledger stores them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fine_tune_assets.core.prompts.retrieval_contract import AnswerSources


@dataclass(frozen=True)
class Decision:
    """A reviewer's decision about one draft, bound to its exact content by the fingerprint."""

    decision_id: str
    example_id: str
    fingerprint: str
    """Fingerprint of the draft that the reviewer saw."""
    report_id: str | None
    """The source report or correction. None for decisions of older versions."""
    task: str | None
    decision: Literal["approve", "reject"]
    output: str | None
    """The repaired output; None if the draft was not repaired."""
    reviewer: str
    decided_at: datetime
    role: Literal["review", "adjudicate"] = "review"
    """`adjudicate` if a third person decided after a disagreement."""
    approved_fingerprint: str | None = None
    """Fingerprint of the approved content including the repair. None for rejections and decisions of older versions."""
    meaning: str = ""
    """The meaning of the signature."""
    reason_code: str = ""


@dataclass(frozen=True)
class Correction:
    """A user's better answer. It can contain identifiers, so only the ledger (encrypted) and the scrubber read it."""

    correction_id: str
    release_id: str
    author: str
    instruction: str
    input: str
    answer: str
    corrected_answer: str
    received_at: datetime
    error_kind: str | None = None
    """One of CORRECTION_ERROR_KINDS; None if not given."""
    severity: str | None = None
    """One of SEVERITIES; None if not given."""
    seconds_spent: int | None = None
    """The user's working time."""
    answer_sources: AnswerSources | None = None
    """None if the prompt contained no passages."""


CLEAR = "clear"
"""The quarantine state of a correction that no rule flagged."""


@dataclass(frozen=True)
class QuarantineDecision:
    """An approver's decision about a correction in quarantine."""

    decision_id: str
    correction_id: str
    fingerprint: str
    """Fingerprint of the scrubbed texts that the approver saw."""
    outcome: str
    """`accept` or `reject`."""
    reasons: str
    """Codes of the quarantine rules that flagged it."""
    person: str
    reason: str
    decided_at: datetime


CANDIDATE_KEY = ("adapter_id", "base_fingerprint", "instruction_set_fingerprint")
"""The fields that identify a candidate, to which a verdict is bound."""


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate can be released, bound to everything that was measured."""

    verdict_id: str
    decision: Literal["promote", "hold", "refuse"]
    line: str
    """The product line: the name of the candidate's recipe."""
    adapter_id: str
    base_fingerprint: str
    instruction_set_fingerprint: str
    incumbent: str
    reasons: tuple[str, ...]
    evidence: str
    """All metrics of the verdict, as canonical JSON."""


@dataclass(frozen=True)
class Release:
    """A built release, with its folder and the verdict that allowed it."""

    release_id: str
    folder: str
    """Relative to the data folder."""
    line: str
    """The product line: the name of its recipe."""
    verdict_id: str
    adapter_id: str
    base_fingerprint: str
    instruction_set_fingerprint: str
    weights_fingerprint: str
    prompt_fingerprint: str


@dataclass(frozen=True)
class TextPair:
    """Two duplicate texts of one list, by index; `first` is lower."""

    first: int
    second: int
    kind: Literal["exact", "near", "semantic"]
    similarity: float
    """Jaccard similarity of shingles (exact, near) or cosine of embeddings (semantic), 0 to 1."""


PairFinder = Callable[[Sequence[str], Sequence[str]], list[TextPair]]
"""(Texts, group of each) → every pair of duplicates with different groups, sorted by index. Lets a package search for duplicates
without importing `dedup`: `defs` passes the function."""
