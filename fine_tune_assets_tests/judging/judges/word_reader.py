"""A reader that compares words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading


@dataclass(frozen=True)
class WordReader:
    """Supports a statement as far as its words are in the record; stands in for a model behind our own interface."""

    failure: str = ""

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"reader": "words"}

    def for_repeat(self) -> "WordReader":
        return self

    def read(self, claims: Sequence[Claim], progress: Progress) -> list[Reading]:
        progress(len(claims), len(claims), "statements")
        return [self._read(claim) for claim in claims]

    def _read(self, claim: Claim) -> Reading:
        words = claim.statement.lower().strip(".").split()
        share = sum(word in claim.record.lower() for word in words) / len(words)
        return Reading(share, (1 - share) / 2, (1 - share) / 2, claim.record.partition(".")[0], self.failure)
