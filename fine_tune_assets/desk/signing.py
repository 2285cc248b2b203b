"""What a reviewer is about to sign: exactly the text that would be recorded, its fingerprint, and what the signature means.

Pure: reads nothing. What is recorded is `approval`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.approval.signing import MEANINGS, Word, approved_content, completed


@dataclass(frozen=True)
class Signing:
    """An approval before it is signed."""

    text: str
    fingerprint: str
    """Of instruction, input and this text."""
    is_repaired: bool

    @property
    def meaning_key(self) -> str:
        return "approve_repaired" if self.is_repaired else "approve"

    @property
    def meaning(self) -> str:
        return MEANINGS[self.meaning_key]


def signing_of(draft: Mapping[str, Any], output: str, reviewer: str) -> Signing:
    """What is recorded if `reviewer` approves this output of the draft. Raises ReviewError where nothing can be."""
    word = completed(Word(reviewer, "review", "approve", output, "", "", ""), draft)
    fingerprint = approved_content(word, draft)
    assert fingerprint is not None
    return Signing(draft["output"] if word.output is None else word.output, fingerprint, word.output is not None)
