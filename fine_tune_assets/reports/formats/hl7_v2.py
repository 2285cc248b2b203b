"""HL7 version 2: results (ORU) and documents (MDM), one or many messages in a file.

Owns how observations become text: narrative lines as they are, results as "name: value unit (range) flag". The library hl7
splits messages; escapes are resolved here, since its own drops everything behind a lone backslash and logs the field. The
evidence is taken from the raw lines. Who the message names is in hl7_people.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import hl7

from fine_tune_assets.reports.contents import decode_base64
from fine_tune_assets.reports.facts import Findings, Found, ReadDocument
from fine_tune_assets.reports.formats.hl7_fields import fields, iso_date, repetitions, text, unescape
from fine_tune_assets.reports.formats.hl7_people import facts_of
from fine_tune_assets.reports.formats.registry import kind_of_attachment
from fine_tune_assets.reports.text_cleanup import tidy
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_BEGINS = re.compile(rb"^[\xef\xbb\xbf\x0b\s]*(?:MSH|FHS|BHS)[^A-Za-z0-9\s]")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}(?![A-Za-z0-9])")
_ENVELOPE = ("FHS", "BHS", "BTS", "FTS")
_CHARACTER_SETS = {
    "8859/1": "latin-1",
    "8859/15": "iso8859-15",
    "8859/2": "iso8859-2",
    "WINDOWS-1252": "cp1252",
    "": "utf-8",
}
_REPORTS = ("ORU", "MDM")
_NARRATIVE = ("TX", "FT")
_TEXT_TYPES = ("TX", "FT", "ST", "NM", "SN")
_WITHDRAWN_RESULT = frozenset("DW")
_WITHDRAWN_DOCUMENT = frozenset({"CA", "OB"})
_CANCELLED_EVENTS = frozenset({"T11"})
_ELSEWHERE = "RP"
_NOT_SAID = frozenset({"N", ""})
"""Flags that add nothing: normal."""


def is_hl7(content: bytes) -> bool:
    """Whether the bytes are messages, whatever the file is called: many systems write them as .txt."""
    return _BEGINS.match(content[:100]) is not None


def read_hl7(content: bytes, read_document: ReadDocument) -> Findings:
    """The report about each patient of each message, with its number. Raises UnreadableError if there is no message."""
    number = 0
    for lines in _messages(_decoded(content)):
        for group in _patients(lines):
            number += 1
            try:
                yield number, _report(group, read_document)
            except UnreadableError as error:
                yield number, error
            except (hl7.HL7Exception, IndexError, KeyError, ValueError, TypeError):
                yield number, UnreadableError(Reason.BAD_RECORD, "The message can't be split into its fields.")
    if number == 0:
        raise UnreadableError(Reason.EMPTY, "There is no message in it.")


def _decoded(content: bytes) -> str:
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
                Reason.INVALID_UTF8, "It is neither UTF-8 nor in the character set that its MSH-18 names."
            ) from error


def _messages(content: str) -> Iterator[list[str]]:
    """The segments of each message, without the envelope of batch, file and MLLP."""
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
            # A line break that should have been escaped: the text goes on.
            message[-1] += rf"{message[0][6:7]}.br{message[0][6:7]}{line}"
    if message:
        yield message


def _patients(lines: Sequence[str]) -> Iterator[list[str]]:
    """The message once for each patient in it, each with the header."""
    starts = [number for number, line in enumerate(lines) if line.startswith("PID")]
    if len(starts) < 2:
        yield list(lines)
        return
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield [*lines[: starts[0]], *lines[start:end]]


@dataclass
class _Writer:
    """The text as it grows, and what the raw lines say of it."""

    lines: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    heading: str = ""
    is_elsewhere: bool = False

    def block(self, heading: str) -> None:
        if heading and heading != self.heading:
            self.lines += ["", heading, ""]
        self.heading = heading


def _report(lines: list[str], read_document: ReadDocument) -> Found:
    message = hl7.parse("\r".join(lines) + "\r")
    _require_report(message)
    writer = _Writer(evidence=list(_raw_values(lines)))
    for segment in message:
        name = str(segment[0])
        if name == "OBR":
            title = text(message, segment, 4, 2) or text(message, segment, 4, 1)
            writer.lines += ["", title]
        elif name == "NTE":
            writer.lines += [unescape(message, comment) for comment in fields(segment, 3)]
        elif name == "OBX":
            _observe(message, segment, writer, read_document)
    body = [segment for segment in message if str(segment[0]) in ("OBX", "NTE")]
    if not any(value.strip() for segment in body for value in fields(segment, 3 if str(segment[0]) == "NTE" else 5)):
        raise UnreadableError(Reason.EMPTY, "There is no observation in it.")
    if writer.is_elsewhere and not any(line.strip() for line in writer.lines):
        raise UnreadableError(
            Reason.UNSUPPORTED_FORMAT, "It points to a document elsewhere. Drop that one, with a sidecar."
        )
    return Found(tidy("\n".join(writer.lines)), facts_of(message), "\n".join(writer.evidence), is_all_evidence=False)


def _require_report(message: Any) -> None:
    header = message.segment("MSH")
    kind = [part for repetition in repetitions(header, 9) for part in repetition]
    if not kind or kind[0] not in _REPORTS:
        raise UnreadableError(
            Reason.UNSUPPORTED_FORMAT, "Only messages of the types ORU and MDM hold reports. Leave the others out."
        )
    withdrawn = any(_code(s, 11) in _WITHDRAWN_RESULT for s in message if str(s[0]) == "OBX")
    withdrawn |= any(_code(s, 19) in _WITHDRAWN_DOCUMENT for s in message if str(s[0]) == "TXA")
    if withdrawn or (len(kind) > 1 and kind[1] in _CANCELLED_EVENTS):
        raise UnreadableError(Reason.WITHDRAWN, "It, or a result in it, is marked as deleted, wrong or cancelled.")


def _code(segment: Any, number: int) -> str:
    return next((part for repetition in repetitions(segment, number) for part in repetition), "").upper()


def _observe(message: Any, segment: Any, writer: _Writer, read_document: ReadDocument) -> None:
    kind = _code(segment, 2)
    name = text(message, segment, 3, 2) or text(message, segment, 3, 1)
    if kind == "ED":
        writer.block(name)
        for repetition in repetitions(segment, 5):
            found = _attached([unescape(message, part) for part in repetition], read_document)
            writer.lines.append(found.text)
            writer.evidence += [] if found.evidence is None else [found.evidence]
    elif kind == _ELSEWHERE:
        writer.is_elsewhere = True
    elif kind in _NARRATIVE or (kind == "ST" and not _code(segment, 6) and name == writer.heading):
        writer.block(name)
        writer.lines += [unescape(message, value) for value in fields(segment, 5)] or [""]
    elif kind == "ST" and not _code(segment, 6) and any(len(value) > 60 for value in fields(segment, 5)):
        writer.block(name)
        writer.lines += [unescape(message, value) for value in fields(segment, 5)]
    else:
        writer.lines += [""] if writer.heading else []
        writer.heading = ""
        writer.lines.append(_result(message, segment, kind, name))


def _result(message: Any, segment: Any, kind: str, name: str) -> str:
    values = ", ".join(
        shown for r in repetitions(segment, 5) if (shown := _value(kind, [unescape(message, p) for p in r]))
    )
    unit = text(message, segment, 6, 1)
    span = text(message, segment, 7, 1)
    flags = " ".join(flag for repetition in repetitions(segment, 8) for flag in repetition[:1] if flag not in _NOT_SAID)
    result = " ".join(part for part in (values, unit, f"({span})" if span else "", flags) if part)
    return f"{name}: {result}" if name else result


def _value(kind: str, parts: list[str]) -> str:
    if kind in ("CE", "CWE", "CNE", "CF"):
        return next((part for part in (*parts[1:2], *parts[8:9], *parts[:1]) if part), "")
    if kind in ("DT", "TS", "DTM"):
        return iso_date(parts[0]) or parts[0]
    if kind in ("SN", "NR"):
        return "".join(parts)
    return " ".join(part for part in parts if part)


def _attached(parts: list[str], read_document: ReadDocument) -> Found:
    encoding = next((part.lower() for part in parts[3:4]), "")
    data = parts[4] if len(parts) > 4 else parts[-1]
    content = decode_base64(data, validate=False) if encoding in ("base64", "") else data.encode()
    media = "/".join(part.lower() for part in parts[1:3])
    return read_document(kind_of_attachment(content, media), content)


def _raw_values(lines: Sequence[str]) -> Iterator[str]:
    """Value, unit and range of each observation, cut out of the raw line."""
    separator, signs = lines[0][3], lines[0][4:8]
    component, escape = signs[0], signs[2:3] or "\\"
    for line in lines:
        cells = line.split(separator)
        if cells[0] == "NTE" and len(cells) > 3:
            yield _bare(cells[3], escape)
        if cells[0] != "OBX" or len(cells) < 6 or cells[2].upper() not in _TEXT_TYPES:
            continue
        unit, span = ((cells[number] if len(cells) > number else "").split(component)[0] for number in (6, 7))
        value = cells[5].replace(component, "") if cells[2].upper() == "SN" else cells[5]
        yield _bare(f"{value} {unit} ({span})" if cells[2].upper() in ("NM", "SN") else value, escape)


def _bare(raw: str, escape: str) -> str:
    """The raw text with its escapes as a blank, but for those that stand for one character."""
    e = re.escape(escape)
    raw = re.sub(rf"{e}[FSTRE]{e}", "/", raw)
    return re.sub(rf"{e}(?:[HN]|\.[a-z]{{2}}[+-]?\d*|[CMXZ][0-9A-Fa-f]*){e}", " ", raw)
