"""The reasons why a file or record can't be read.

Error details never contain report text, only fixed words, counts and names that this project defines.
"""

from enum import StrEnum


class UnreadableReason(StrEnum):
    EMPTY = "empty"
    NOT_TEXT = "not_text"
    TOO_LARGE = "too_large"
    TOO_LONG = "too_long"
    INVALID_UTF8 = "invalid_utf8"
    FILE_MISSING = "file_missing"
    UNREADABLE = "unreadable"
    NOT_A_FILE = "not_a_file"
    UNSUPPORTED_FORMAT = "unsupported_format"
    BAD_FRONT_MATTER = "bad_front_matter"
    NO_SUBJECT = "no_subject"
    BAD_RECORD = "bad_record"
    MISSING_COLUMN = "missing_column"
    DUPLICATE_ID = "duplicate_id"
    BAD_ID = "bad_id"
    BAD_BATCH_FILE = "bad_batch_file"
    UNKNOWN_KIND = "unknown_kind"
    NO_REPORTS = "no_reports"
    BAD_SIDECAR = "bad_sidecar"
    CORRUPT_FILE = "corrupt_file"
    ENCRYPTED = "encrypted"
    NO_TEXT_LAYER = "no_text_layer"
    LOW_OCR_CONFIDENCE = "low_ocr_confidence"
    TEXT_MISMATCH = "text_mismatch"
    WITHDRAWN = "withdrawn"
    UNSAFE_ARCHIVE = "unsafe_archive"
    READER_FAILED = "reader_failed"
    ERASED_SUBJECT = "erased_subject"


class UnreadableError(Exception):
    """A file or record can't be read. Becomes a row of `unreadable_reports`; the batch continues."""

    def __init__(self, reason: UnreadableReason, detail: str) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail
