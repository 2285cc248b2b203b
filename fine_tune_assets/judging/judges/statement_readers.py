"""The interface of what reads a statement next to a record: the trained verifier, or a language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from fine_tune_assets.core.progress import Progress


@dataclass(frozen=True)
class Claim:
    """A statement to check against a record. Both are text of reports."""

    record: str
    statement: str


@dataclass(frozen=True)
class Reading:
    """How a record relates to a statement. The three probabilities sum to 1."""

    supported: float
    contradicted: float
    not_mentioned: float
    evidence: str = ""
    """The line of the record that decides most; empty if none does."""
    failure: str = ""
    """Why there is no result; the probabilities then mean nothing."""
    wrong_word: float = 0.0
    """Highest probability that one of the statement's words is wrong, 0 to 1; 0 from a reader that does not say."""


class StatementReader(Protocol):
    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that affects a reading, as JSON: model, prompts, settings."""

    def read(self, claims: Sequence[Claim], progress: Progress) -> list[Reading]:
        """One reading per claim, in order. Claims of one record come one after another, so that it can be read once."""

    def for_repeat(self) -> "StatementReader":
        """The same reader without access to its first results, to measure repeatability."""


@runtime_checkable
class TrainedReader(Protocol):
    """A reader whose training contains labelled statements."""

    @property
    def training_groups(self) -> frozenset[str]:
        """Fingerprints of the records that the labels are about."""
