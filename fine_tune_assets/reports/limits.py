"""How much of a file is read, and for how long.

Owns the numbers. What lies above one is quarantined, so that no file stops its batch.
"""

from dataclasses import dataclass, field

from fine_tune_assets.reports.archives import ArchiveLimits


@dataclass(frozen=True)
class ReadLimits:
    largest_file_bytes: int = 50_000_000
    """A file above it is not read. Reading takes about ten times its size in memory."""
    longest_report_characters: int = 500_000
    """A report above it is not taken: spaCy refuses a text of more than 1,000,000, and with it the report's whole batch."""
    document_seconds: float = 300.0
    """A PDF, DOCX, RTF, HTML or C-CDA file that takes longer is not read. OCR takes about 3 s a page on one core."""
    document_memory_bytes: int = 4_000_000_000
    """Address space of the process that reads such a file."""
    archives: ArchiveLimits = field(default_factory=ArchiveLimits)
