"""What a reader of a format found: a report's text, what its own metadata states, and how to prove that nothing changed.

Owns the records that every reader returns. Does not know any format.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fine_tune_assets.reports.facts import NO_FACTS, Facts
from fine_tune_assets.reports.quarantine import UnreadableError


@dataclass(frozen=True)
class Found:
    """One report in a file."""

    text: str
    facts: Facts = NO_FACTS
    evidence: str | None = None
    """The same text by another route than the reader's, to compare the two; None where there is no other route."""
    is_all_evidence: bool = True
    """False: the text rightly holds more than the evidence, such as names of results or pages that were scanned."""


Finding = tuple[int | None, Found | UnreadableError]
"""Number of the report in its file from 1 (None: the file is one report), and the report or why it can't be read."""
ReadDocument = Callable[[str, bytes], Found]
"""Reads a document (`pdf`, `docx`, `rtf`, `html`, `ccda` or `text`) that is one report. Raises UnreadableError."""
Findings = Iterator[Finding]
