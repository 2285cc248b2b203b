"""Why something could not be read: a fixed list of reasons, each with what to do about it.

Owns the reasons and the error that carries one. A detail never holds report text: it is fixed words, counts and the
names that this project defines itself.
"""

from enum import StrEnum


class Reason(StrEnum):
    EMPTY = "empty"
    NOT_TEXT = "not_text"
    TOO_LARGE = "too_large"
    TOO_LONG = "too_long"
    INVALID_UTF8 = "invalid_utf8"
    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    NOT_A_FILE = "not_a_file"
    UNSUPPORTED_FORMAT = "unsupported_format"
    BAD_FRONT_MATTER = "bad_front_matter"
    NO_PATIENT = "no_patient"
    BAD_RECORD = "bad_record"
    MISSING_COLUMN = "missing_column"
    DUPLICATE_ID = "duplicate_id"
    BAD_ID = "bad_id"
    BAD_BATCH_FILE = "bad_batch_file"
    NO_REPORTS = "no_reports"
    BAD_SIDECAR = "bad_sidecar"
    CORRUPT_FILE = "corrupt_file"
    ENCRYPTED = "encrypted"
    NO_TEXT_LAYER = "no_text_layer"
    UNSURE_SCAN = "unsure_scan"
    NUMBERS_CHANGED = "numbers_changed"
    WITHDRAWN = "withdrawn"
    UNSAFE_ARCHIVE = "unsafe_archive"
    READER_FAILED = "reader_failed"
    ERASED_PATIENT = "erased_patient"


class UnreadableError(Exception):
    """One file or one record can't be read. Becomes a row of `unreadable_reports`; the rest of the batch goes on."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail
