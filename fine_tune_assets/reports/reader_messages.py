"""The messages between the platform and its confined reader. Decoding checks every type: the sender may be compromised."""

import dataclasses
from datetime import date
from pathlib import Path
from typing import Any

from fine_tune_assets.reports.heading_marks import BOLD_LEVEL, TITLE_LEVEL, MarkedLine
from fine_tune_assets.reports.report_metadata import ParsedReport, ReportMetadata
from fine_tune_assets.reports.report_readers import RecordOutcome
from fine_tune_assets.reports.stated_identifiers import AcceptedReport, Identifier, read_kind, validate_id
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

FILE, READ, MAX_BYTES, SOURCE, REJECTED, OUTCOME, FINISHED = (
    "file", "read", "max_bytes", "source", "rejected", "outcome", "finished",
)  # fmt: skip
"""Keys of the messages about a batch."""
_MAX_LINES = 2**31
_REASON, _DETAIL, _WRITTEN_ON = "reason", "detail", "written_on"


def encode_error(error: UnreadableError) -> dict[str, Any]:
    return {_REASON: error.reason.value, _DETAIL: error.detail}


def decode_error(message: dict[str, Any]) -> UnreadableError:
    """Raises KeyError or ValueError."""
    return UnreadableError(UnreadableReason(message[_REASON]), str(message[_DETAIL]))


def encode_report(report: ParsedReport) -> dict[str, Any]:
    message = dataclasses.asdict(report)
    message["metadata"][_WRITTEN_ON] = _encode_date(report.metadata.written_on)
    return message


def decode_report(message: dict[str, Any]) -> ParsedReport:
    """Raises UnreadableError for a reported error, and KeyError, TypeError or ValueError if malformed."""
    if _REASON in message:
        raise decode_error(message)
    metadata = dict(message["metadata"])
    found = ReportMetadata(
        _text(metadata["subject_id"]),
        _text(metadata["subject_name"]),
        _text(metadata["report_id"]),
        _decode_identifiers(metadata["identifiers"]),
        _decode_date(metadata[_WRITTEN_ON]),
    )
    reference = message["reference_text"]
    return ParsedReport(
        _text(message["text"]),
        found,
        None if reference is None else _text(reference),
        bool(message["is_reference_complete"]),
        _decode_headings(message["headings"]),
    )


def encode_outcome(outcome: RecordOutcome) -> dict[str, Any]:
    place = {"path": str(outcome.path), "record": outcome.record, "size_bytes": outcome.size_bytes}
    if isinstance(outcome.result, UnreadableError):
        return {**place, **encode_error(outcome.result)}
    report = dataclasses.asdict(outcome.result)
    return {**place, **report, _WRITTEN_ON: _encode_date(outcome.result.written_on)}


def decode_outcome(message: dict[str, Any]) -> RecordOutcome:
    """Raises KeyError, TypeError, ValueError, or UnreadableError for an invalid report id."""
    record, size = message["record"], message["size_bytes"]
    place = Path(_text(message["path"]))
    return RecordOutcome(
        place,
        None if record is None else int(record),
        decode_error(message) if _REASON in message else _decode_accepted(message),
        None if size is None else int(size),
    )


def _decode_accepted(message: dict[str, Any]) -> AcceptedReport:
    return AcceptedReport(
        validate_id(_text(message["local_id"])),
        _text(message["subject"]),
        _text(message["text"]),
        _decode_identifiers(message["identifiers"]),
        _decode_date(message[_WRITTEN_ON]),
        _decode_headings(message["headings"]),
    )


def _decode_headings(items: Any) -> tuple[MarkedLine, ...]:
    headings = tuple(MarkedLine(int(item["line"]), int(item["level"])) for item in items)
    if not all(0 < one.line < _MAX_LINES and TITLE_LEVEL <= one.level <= BOLD_LEVEL for one in headings):
        raise ValueError("not a heading")
    return headings


def _decode_identifiers(items: Any) -> tuple[Identifier, ...]:
    return tuple(Identifier(read_kind(item["kind"]), _text(item["value"])) for item in items)


def _encode_date(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _decode_date(day: str | None) -> date | None:
    return None if day is None else date.fromisoformat(day)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
