"""Records that several packages pass to each other. Owns their fields; the ledger stores them, stages make them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fine_tune_assets.core.prompts.retrieval_contract import AnsweredFrom


@dataclass(frozen=True)
class Decision:
    """What an expert decided about one drafted example. Bound to the exact content by its fingerprint."""

    decision_id: str
    example_id: str
    fingerprint: str
    """Fingerprint of the draft that the reviewer saw."""
    report_id: str | None
    """The report or correction that the draft was made of. None for decisions of before this was kept."""
    task: str | None
    decision: Literal["approve", "reject"]
    output: str | None
    """The output as the reviewer repaired it; None when the draft was right as it was."""
    reviewer: str
    decided_at: datetime
    role: Literal["review", "adjudicate"] = "review"
    """`adjudicate` for the word of a third person about two that disagree."""
    approved_fingerprint: str | None = None
    """Of exactly what was approved, with the repair. None for a rejection, and for decisions of before this was kept."""
    meaning: str = ""
    """What the reviewer declared by signing."""
    reason_code: str = ""


@dataclass(frozen=True)
class Correction:
    """A user's better answer. Can hold identifiers: only the ledger (encrypted) and the scrubber see it."""

    correction_id: str
    release_id: str
    author: str
    instruction: str
    input: str
    answer: str
    corrected_answer: str
    received_at: datetime
    error_kind: str | None = None
    """One of KINDS_OF_CORRECTION; None if the user did not say."""
    severity: str | None = None
    """One of SEVERITIES; None if the user did not say."""
    seconds_spent: int | None = None
    """How long the user worked on it."""
    answered_from: AnsweredFrom | None = None
    """None where no passage stood before the question."""


ORDINARY = "ordinary"
"""The state of a correction that was examined and that nothing was against."""


@dataclass(frozen=True)
class QuarantineDecision:
    """What an approver decided about a correction in quarantine, and about which texts of it."""

    decision_id: str
    correction_id: str
    fingerprint: str
    """Of the scrubbed texts that the person saw."""
    outcome: str
    """`let_through` or `reject`."""
    reasons: str
    """Why it was in quarantine, by code."""
    person: str
    reason: str
    decided_at: datetime


CANDIDATE_KEY = ("adapter_id", "base_fingerprint", "instruction_set_fingerprint")
"""The fields that name a candidate: what a verdict is bound to."""


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may be served, bound to everything that it was measured on."""

    verdict_id: str
    decision: Literal["promote", "hold", "refuse"]
    line: str
    """The product line: the name of the recipe that the candidate was made by."""
    adapter_id: str
    base_fingerprint: str
    instruction_set_fingerprint: str
    incumbent: str
    reasons: tuple[str, ...]
    evidence: str
    """Every figure that the verdict rests on, as canonical JSON."""


@dataclass(frozen=True)
class Release:
    """A release that was put together: where it lies and what allowed it."""

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
    """Two texts of one list that say the same, by their places in it; `first` is lower."""

    first: int
    second: int
    kind: Literal["exact", "near", "semantic"]
    similarity: float
    """Jaccard similarity of shingles (exact, near) or cosine of embeddings (semantic), 0 to 1."""


PairFinder = Callable[[Sequence[str], Sequence[str]], list[TextPair]]
"""Texts and the group of each → every pair of duplicates whose groups differ, sorted by place. How a package asks for
duplicates without knowing how they are found: `dedup` makes one, `defs` hands it over."""
