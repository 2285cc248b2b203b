"""HL7 v2 messages: results (ORU) and documents (MDM), one or more in a file.

Narrative lines stay as they are; results read "name: value unit (range) flag". The hl7 library splits messages, but escapes are
resolved here: its own resolver drops everything after a lone backslash and logs the field. The reference text comes from the raw
lines. hl7_people.py extracts the identifiers.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import hl7

from fine_tune_assets.reports.file_contents import decode_base64
from fine_tune_assets.reports.formats.document_formats import detect_attachment_kind
from fine_tune_assets.reports.formats.hl7_fields import read_field, read_repetitions, read_text, to_iso_date, unescape
from fine_tune_assets.reports.formats.hl7_people import extract_metadata
from fine_tune_assets.reports.heading_marks import format_mark
from fine_tune_assets.reports.report_metadata import ParsedRecords, ParsedReport, ReadDocument
from fine_tune_assets.reports.text_cleanup import normalize_marked
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_MESSAGE_START = re.compile(rb"^[\xef\xbb\xbf\x0b\s]*(?:MSH|FHS|BHS)[^A-Za-z0-9\s]")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}(?![A-Za-z0-9])")
_ENVELOPE = ("FHS", "BHS", "BTS", "FTS")
_CHARACTER_SETS = {
    "8859/1": "latin-1",
    "8859/15": "iso8859-15",
    "8859/2": "iso8859-2",
    "WINDOWS-1252": "cp1252",
    "": "utf-8",
}
_REPORT_TYPES = ("ORU", "MDM")
_NARRATIVE = ("TX", "FT")
_TEXT_TYPES = ("TX", "FT", "ST", "NM", "SN")
_WITHDRAWN_RESULT = frozenset("DW")
_WITHDRAWN_DOCUMENT = frozenset({"CA", "OB"})
_CANCELLED_EVENTS = frozenset({"T11"})
_REFERENCE_POINTER = "RP"
_NORMAL_FLAGS = frozenset({"N", ""})
"""Flags that mean a normal result."""


def is_hl7(content: bytes) -> bool:
    """Whether the content is HL7 v2, regardless of the file extension: many systems write .txt."""
    return _MESSAGE_START.match(content[:100]) is not None


def read_hl7(content: bytes, read_document: ReadDocument) -> ParsedRecords:
    """Yield one report per patient and message, with its number. Raises UnreadableError if no message is found."""
    number = 0
    for lines in _split_messages(_decode(content)):
        for group in _split_by_patient(lines):
            number += 1
            try:
                yield number, _read_report(group, read_document)
            except UnreadableError as error:
                yield number, error
            except (hl7.HL7Exception, IndexError, KeyError, ValueError, TypeError):
                yield (
                    number,
                    UnreadableError(UnreadableReason.BAD_RECORD, "The message can't be split into its fields."),
                )
    if number == 0:
        raise UnreadableError(UnreadableReason.EMPTY, "The file contains no messages.")


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        header = re.search(rb"MSH[^\r\n]*", content)
        declared = header.group().split(header.group()[3:4]) if header else []
        name = declared[17].split(b"~")[0].decode("ascii", "replace").upper() if len(declared) > 17 else ""
        try:
            return content.decode(_CHARACTER_SETS.get(name, "utf-8"))
        except UnicodeDecodeError as error:
            raise UnreadableError(
                UnreadableReason.INVALID_UTF8, "The message is neither UTF-8 nor in the character set named in MSH-18."
            ) from error


def _split_messages(content: str) -> Iterator[list[str]]:
    """Yield the segments of each message, without batch, file and MLLP envelopes."""
    message: list[str] = []
    separator = "|"
    for line in re.split(r"\r\n|[\r\n\x1c\x0b]", content):
        if line.startswith("MSH") and len(line) > 8:
            if message:
                yield message
            message, separator = [line], line[3]
        elif line.startswith(_ENVELOPE) or not message:
            continue
        elif _SEGMENT.match(line) and line[3:4] in (separator, ""):
            message.append(line)
        elif line.strip():
            # An unescaped line break: this line continues the field.
            message[-1] += rf"{message[0][6:7]}.br{message[0][6:7]}{line}"
    if message:
        yield message


def _split_by_patient(lines: Sequence[str]) -> Iterator[list[str]]:
    """Split a message by patient; each part keeps the header."""
    starts = [number for number, line in enumerate(lines) if line.startswith("PID")]
    if len(starts) < 2:
        yield list(lines)
        return
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield [*lines[: starts[0]], *lines[start:end]]


@dataclass
class _Writer:
    """Collects the text and, from the raw lines, the reference text."""

    lines: list[str] = field(default_factory=list)
    reference_lines: list[str] = field(default_factory=list)
    heading: str = ""
    has_external_document: bool = False

    def start_block(self, heading: str) -> None:
        if heading and heading != self.heading:
            self.lines += ["", f"{format_mark(1)}{heading}", ""]
        self.heading = heading


def _read_report(lines: list[str], read_document: ReadDocument) -> ParsedReport:
    message = hl7.parse("\r".join(lines) + "\r")
    _require_report(message)
    writer = _Writer(reference_lines=list(_iter_raw_values(lines)))
    for segment in message:
        name = str(segment[0])
        if name == "OBR":
            title = read_text(message, segment, 4, 2) or read_text(message, segment, 4, 1)
            writer.lines += ["", title]
        elif name == "NTE":
            writer.lines += [unescape(message, comment) for comment in read_field(segment, 3)]
        elif name == "OBX":
            _write_observation(message, segment, writer, read_document)
    body = [segment for segment in message if str(segment[0]) in ("OBX", "NTE")]
    if not any(
        value.strip() for segment in body for value in read_field(segment, 3 if str(segment[0]) == "NTE" else 5)
    ):
        raise UnreadableError(UnreadableReason.EMPTY, "The message contains no observations.")
    if writer.has_external_document and not any(line.strip() for line in writer.lines):
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED_FORMAT,
            "The message refers to an external document. Add that to the batch, with a sidecar.",
        )
    return ParsedReport.from_marked(
        normalize_marked("\n".join(writer.lines)),
        extract_metadata(message),
        "\n".join(writer.reference_lines),
        is_reference_complete=False,
    )


def _require_report(message: Any) -> None:
    header = message.segment("MSH")
    kind = [part for repetition in read_repetitions(header, 9) for part in repetition]
    if not kind or kind[0] not in _REPORT_TYPES:
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED_FORMAT,
            "Only ORU and MDM messages contain reports. Remove the others.",
        )
    withdrawn = any(_read_code(s, 11) in _WITHDRAWN_RESULT for s in message if str(s[0]) == "OBX")
    withdrawn |= any(_read_code(s, 19) in _WITHDRAWN_DOCUMENT for s in message if str(s[0]) == "TXA")
    if withdrawn or (len(kind) > 1 and kind[1] in _CANCELLED_EVENTS):
        raise UnreadableError(
            UnreadableReason.WITHDRAWN, "The message, or a result in it, is marked as deleted, wrong or cancelled."
        )


def _read_code(segment: Any, number: int) -> str:
    return next((part for repetition in read_repetitions(segment, number) for part in repetition), "").upper()


def _write_observation(message: Any, segment: Any, writer: _Writer, read_document: ReadDocument) -> None:
    kind = _read_code(segment, 2)
    name = read_text(message, segment, 3, 2) or read_text(message, segment, 3, 1)
    if kind == "ED":
        writer.start_block(name)
        for repetition in read_repetitions(segment, 5):
            found = _read_attachment([unescape(message, part) for part in repetition], read_document)
            writer.lines.append(found.marked_text)
            writer.reference_lines += [] if found.reference_text is None else [found.reference_text]
    elif kind == _REFERENCE_POINTER:
        writer.has_external_document = True
    elif kind in _NARRATIVE or (kind == "ST" and not _read_code(segment, 6) and name == writer.heading):
        writer.start_block(name)
        writer.lines += [unescape(message, value) for value in read_field(segment, 5)] or [""]
    elif kind == "ST" and not _read_code(segment, 6) and any(len(value) > 60 for value in read_field(segment, 5)):
        writer.start_block(name)
        writer.lines += [unescape(message, value) for value in read_field(segment, 5)]
    else:
        writer.lines += [""] if writer.heading else []
        writer.heading = ""
        writer.lines.append(_render_result(message, segment, kind, name))


def _render_result(message: Any, segment: Any, kind: str, name: str) -> str:
    values = ", ".join(
        shown for r in read_repetitions(segment, 5) if (shown := _render_value(kind, [unescape(message, p) for p in r]))
    )
    unit = read_text(message, segment, 6, 1)
    span = read_text(message, segment, 7, 1)
    flags = " ".join(
        flag for repetition in read_repetitions(segment, 8) for flag in repetition[:1] if flag not in _NORMAL_FLAGS
    )
    result = " ".join(part for part in (values, unit, f"({span})" if span else "", flags) if part)
    return f"{name}: {result}" if name else result


def _render_value(kind: str, parts: list[str]) -> str:
    if kind in ("CE", "CWE", "CNE", "CF"):
        return next((part for part in (*parts[1:2], *parts[8:9], *parts[:1]) if part), "")
    if kind in ("DT", "TS", "DTM"):
        return to_iso_date(parts[0]) or parts[0]
    if kind in ("SN", "NR"):
        return "".join(parts)
    return " ".join(part for part in parts if part)


def _read_attachment(parts: list[str], read_document: ReadDocument) -> ParsedReport:
    encoding = next((part.lower() for part in parts[3:4]), "")
    data = parts[4] if len(parts) > 4 else parts[-1]
    content = decode_base64(data, validate=False) if encoding in ("base64", "") else data.encode()
    media = "/".join(part.lower() for part in parts[1:3])
    return read_document(detect_attachment_kind(content, media), content)


def _iter_raw_values(lines: Sequence[str]) -> Iterator[str]:
    """Value, unit and range of each observation, cut from the raw line."""
    separator, signs = lines[0][3], lines[0][4:8]
    component, escape = signs[0], signs[2:3] or "\\"
    for line in lines:
        cells = line.split(separator)
        if cells[0] == "NTE" and len(cells) > 3:
            yield _strip_escapes(cells[3], escape)
        if cells[0] != "OBX" or len(cells) < 6 or cells[2].upper() not in _TEXT_TYPES:
            continue
        unit, span = ((cells[number] if len(cells) > number else "").split(component)[0] for number in (6, 7))
        value = cells[5].replace(component, "") if cells[2].upper() == "SN" else cells[5]
        yield _strip_escapes(f"{value} {unit} ({span})" if cells[2].upper() in ("NM", "SN") else value, escape)


def _strip_escapes(raw: str, escape: str) -> str:
    """Replace escapes with a blank, except those that encode one character."""
    e = re.escape(escape)
    raw = re.sub(rf"{e}[FSTRE]{e}", "/", raw)
    return re.sub(rf"{e}(?:[HN]|\.[a-z]{{2}}[+-]?\d*|[CMXZ][0-9A-Fa-f]*){e}", " ", raw)
