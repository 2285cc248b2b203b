"""The lines of a record that the verifier ranks and quotes, with their places in the record."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fine_tune_assets.judging.judges.verifier.normalized_text import normalize_text
from fine_tune_assets.judging.judges.verifier.record_passages import split_lines


@dataclass(frozen=True)
class RecordLine:
    written: str
    """As quoted: as in the record, or normalized if it is a part of a long line."""
    normalized: str
    """As the verifier reads it."""
    start: int
    end: int
    """Place in the record. A part that normalization changed has the place of its whole line."""


def split_record(record: str) -> list[RecordLine]:
    """The lines, and the sentences of long lines, in order."""
    lines, at = list[RecordLine](), 0
    for line in record.split("\n"):
        parts = split_lines(normalize_text(line))
        if len(parts) == 1:
            start = at + len(line) - len(line.lstrip())
            lines.append(RecordLine(line.strip(), parts[0], start, start + len(line.strip())))
        else:
            places = _place_parts(line, at, parts)
            lines += [RecordLine(part, part, *place) for part, place in zip(parts, places, strict=True)]
        at += len(line) + 1
    return lines


def locate_quote(record: str, quote: str) -> tuple[int, int] | None:
    """Start and end in the record of what the verifier quoted; None if it is empty or not in the record.

    >>> locate_quote("No fever.\\nAny pain?\\nIn the left knee.", "Any pain?\\nIn the left knee.")
    (10, 37)
    """
    lines, wanted = split_record(record), quote.split("\n")
    if not quote:
        return None
    for row in range(len(lines) - len(wanted) + 1):
        if [line.written for line in lines[row : row + len(wanted)]] == wanted:
            return lines[row].start, lines[row + len(wanted) - 1].end
    return None


def _place_parts(line: str, at: int, parts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The place of each part, or that of the whole line if the line is cut elsewhere before it is normalized."""
    begin = len(line) - len(line.lstrip())
    whole = (at + begin, at + begin + len(line.strip()))
    written = split_lines(line)
    if len(written) != len(parts):
        yield from (whole for _ in parts)
        return
    cursor = 0
    for part in written:
        found = line.find(part, cursor)
        if found < 0:
            yield whole
            continue
        cursor = found + len(part)
        yield at + found, at + cursor
