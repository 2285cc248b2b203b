"""Reads laboratory values with reference ranges from the text of a report.

Supports one result per line (`Hemoglobin 9.8 g/dL (12.0-15.5) L`) and tables with a heading line. Lines that look like a result
but are ambiguous are counted, never guessed.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Literal

from fine_tune_assets.core.bounded_patterns import compile_bounded

Direction = Literal["high", "low", "normal"]


@dataclass(frozen=True)
class LabValue:
    name: str
    raw_value: str
    """The value as written, such as `<0.5`."""
    value: Decimal
    comparator: str
    """`<`, `<=`, `>` or `>=` if the value is itself a bound; empty for an exact value."""
    unit: str
    low: Decimal | None
    high: Decimal | None
    """Bounds of the reference range; at least one is set. Inclusive unless `is_exclusive`."""
    is_exclusive: bool
    """Whether the bound lies outside the range, as in `<200`."""
    reference: str
    """The range as written."""
    reported_direction: Direction | None
    """The report's own H or L flag."""
    line: str

    @property
    def direction(self) -> Direction | None:
        """Direction relative to the range; None if undecidable, such as `<5` with a range of 3 to 10."""
        if self.comparator.startswith("<"):
            if self.low is not None and self.value <= self.low:
                return "low"
            below_high = self.high is not None and self.value <= self.high
            return "normal" if self.low is None and below_high else None
        if self.comparator.startswith(">"):
            if self.high is not None and self.value >= self.high:
                return "high"
            above_low = self.low is not None and self.value >= self.low
            return "normal" if self.high is None and above_low else None
        if self.low is not None and (self.value < self.low or (self.is_exclusive and self.value == self.low)):
            return "low"
        if self.high is not None and (self.value > self.high or (self.is_exclusive and self.value == self.high)):
            return "high"
        return "normal"

    @property
    def is_contradicted(self) -> bool:
        """Whether the report's own flag contradicts its range."""
        return self.reported_direction is not None and self.reported_direction != self.direction


@dataclass(frozen=True)
class LabValues:
    values: tuple[LabValue, ...]
    unparsed_lines: int
    """Lines that look like a result with a range but are ambiguous."""


_NUMBER = r"\d+(?:[.,]\d+)*"
_COMPARED_NUMBER = compile_bounded(rf"(?P<sign><=|>=|[<>≤≥])?\s*(?P<number>{_NUMBER})")
_COMPARATORS = {"≤": "<=", "≥": ">="}
_DASH = r"\s*(?:-|–|—|to)\s*"
_REFERENCE_WORDS = r"(?:(?:reference|ref|normal)\.?(?:\s+(?:range|interval|values?))?|range)\s*[:=]?\s*"
_TWO_SIDED_RANGE = compile_bounded(
    rf"(?:{_REFERENCE_WORDS})?(?P<low>{_NUMBER}){_DASH}(?P<high>{_NUMBER})(?P<unit>\D*)", re.I
)
_ONE_SIDED_RANGE = compile_bounded(
    rf"(?:{_REFERENCE_WORDS})?(?P<sign><=|>=|[<>≤≥])\s*(?P<bound>{_NUMBER})(?P<unit>\D*)", re.I
)
_FLAGS: dict[str, Direction] = {
    "h": "high", "hh": "high", "high": "high", "l": "low", "ll": "low", "low": "low", "n": "normal", "normal": "normal",
}  # fmt: skip
_FLAG = r"(?:\*?\s*(?P<flag>HH|LL|H|L|N|high|low|normal)\s*\*?)"
_UCUM = r"\[[A-Za-z'_]+\]|\{[^{}\s]+\}"
"""Bracketed parts of UCUM units (the unit code of FHIR): `mm[Hg]`, `mL/min/{1.73_m2}`."""
_UNIT = (
    rf"(?P<unit>%|(?:[A-Za-zµμ°*/^\d²³.·-]|{_UCUM})*(?:[A-Za-zµμ°%]|{_UCUM})(?:[A-Za-zµμ°*/^\d²³.·%-]|{_UCUM})*"
    r"(?:\s*/\s*[A-Za-zµμ\d.]+)*)"
)
_VALUE_WITH_UNIT = compile_bounded(
    rf"(?P<value>(?:<=|>=|[<>≤≥])?\s*{_NUMBER})\s*{_UNIT}(?:\s*\(?{_FLAG}\)?)?", re.IGNORECASE
)
"""A cell of a table without a unit column."""
_RESULT_LINE = compile_bounded(
    rf"(?P<name>[A-Za-z][A-Za-z0-9 ,./%()+'-]*?)\s*(?:[:=]\s*|\s)"
    rf"(?P<value>(?:<=|>=|[<>≤≥])?\s*{_NUMBER})"
    rf"(?:\s*(?P<power>[x×*]\s*10\s*[\^*]*\s*\d+)?\s*{_UNIT})?"
    rf"(?:\s*{_FLAG.replace('flag', 'early')})?"
    r"\s*[,;]?\s*(?P<open>[(\[]?)\s*(?P<reference>(?:[^()\[\]]|\[[A-Za-z'_]+\])*?)\s*(?P<close>[)\]]?)"
    rf"\s*[,;]?\s*{_FLAG}?\s*[.;]?",
    re.IGNORECASE,
)
_BRACKETS = {"(": ")", "[": "]", "": ""}
_UNIT_OF_BOUND = r"(?:\s*[^\s()]{0,20}[A-Za-z%µμ][^\s()]{0,20})?"
_LOOKS_LIKE_RESULT = compile_bounded(
    rf"\d.*(?:[(\[]\s*(?:{_REFERENCE_WORDS})?(?:[<>≤≥]=?\s*{_NUMBER}|{_NUMBER}{_UNIT_OF_BOUND}{_DASH}{_NUMBER})"
    rf"|{_REFERENCE_WORDS}[<>≤≥\d])",
    re.IGNORECASE,
)
_COLUMNS: dict[str, str] = {
    "test": "name", "test name": "name", "analyte": "name", "name": "name", "component": "name", "parameter": "name",
    "investigation": "name", "result": "value", "results": "value", "value": "value", "unit": "unit", "units": "unit",
    "reference": "reference", "reference range": "reference", "reference interval": "reference", "ref range": "reference",
    "ref. range": "reference", "normal range": "reference", "range": "reference", "flag": "flag", "abnormal": "flag",
    "status": "flag",
}  # fmt: skip
_CELL_SEPARATORS = (compile_bounded(r"\s*\|\s*"), re.compile(r"\t+"), re.compile(r"\s{2,}"))
LineSplitter = Callable[[str], list[str]]


def read_lab_values(text: str, has_decimal_commas: bool) -> LabValues:
    """Every result with a reference range, in text order. `has_decimal_commas` reads 5,2 as 5.2."""
    values: list[LabValue] = []
    unread = 0
    for line, found in _parse_lines(text, has_decimal_commas):
        if found is not None and found.direction is not None:
            values.append(found)
        elif found is not None or _LOOKS_LIKE_RESULT.search(line):
            unread += 1
    return LabValues(tuple(values), unread)


def _parse_lines(text: str, has_commas: bool) -> Iterator[tuple[str, LabValue | None]]:
    columns: list[str] | None = None
    split: LineSplitter = str.split
    for line in text.splitlines():
        if not line.strip():
            columns = None
            continue
        heading = _parse_heading(line)
        if heading is not None:
            columns, split = heading
        elif columns is not None:
            cells = split(line)
            if len(cells) == len(columns):
                yield f"{line} ({_DUMMY_RANGE})", _parse_row(dict(zip(columns, cells, strict=True)), line, has_commas)
            else:
                yield f"{line} ({_DUMMY_RANGE})", _parse_line(line, has_commas)
        else:
            yield line, _parse_line(line, has_commas)


_DUMMY_RANGE = "1-2"
"""Appended to an unreadable table row, so that it counts as a result."""


def _parse_heading(line: str) -> tuple[list[str], LineSplitter] | None:
    """The columns of a table's heading line, and the splitter for its rows."""
    for pattern in _CELL_SEPARATORS:
        cells = _split_cells(pattern, line)
        columns = [_COLUMNS.get(cell.casefold().strip(" *:"), "") for cell in cells]
        if {"name", "value", "reference"} <= set(columns):
            return columns, partial(_split_cells, pattern)
    return None


def _split_cells(pattern: re.Pattern[str], line: str) -> list[str]:
    row = line.strip()
    if row.startswith("|") and row.endswith("|"):
        row = row[1:-1]
    return [cell.strip() for cell in pattern.split(row)]


def _parse_row(cells: dict[str, str], line: str, has_commas: bool) -> LabValue | None:
    value, flag, unit = cells["value"], cells.get("flag", ""), cells.get("unit", "")
    trailing = re.fullmatch(rf"(.*?\d)\s*{_FLAG}", value, re.IGNORECASE)
    if trailing and not flag:
        value, flag = trailing[1], trailing["flag"]
    elif not unit and (match := _VALUE_WITH_UNIT.fullmatch(value)) and not (flag and match["flag"]):
        value, unit, flag = match["value"], match["unit"], flag or match["flag"] or ""
    return _build_value(cells["name"], value, unit, cells["reference"].strip("()[] "), flag, line, has_commas)


def _parse_line(line: str, has_commas: bool) -> LabValue | None:
    written = re.sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", line).strip()
    match = _RESULT_LINE.fullmatch(written)
    if match is None or _BRACKETS[match["open"] or ""] != (match["close"] or ""):
        return None
    if not match["open"] and not re.match(_REFERENCE_WORDS, match["reference"] or "", re.IGNORECASE):
        return None
    unit = match[0][match.start("power" if match["power"] else "unit") : match.end("unit")] if match["unit"] else ""
    flag = match["flag"] or match["early"] or ""
    return _build_value(match["name"], match["value"], unit, match["reference"], flag, written, has_commas)


def _build_value(
    name: str, written: str, unit: str, reference: str, flag: str, line: str, has_commas: bool
) -> LabValue | None:
    compared = _COMPARED_NUMBER.fullmatch(written.strip())
    span = _parse_range(reference.strip(), unit, has_commas)
    if compared is None or span is None or not name.strip(" :"):
        return None
    number = _parse_number(compared["number"], has_commas)
    stated = _FLAGS.get(flag.strip(" *").casefold())
    if number is None or (flag.strip(" *-") and stated is None):
        return None
    low, high, is_open, shown = span
    sign = compared["sign"] or ""
    return LabValue(
        " ".join(name.strip(" :").split()), "".join(written.split()), number, _COMPARATORS.get(sign, sign),
        " ".join(unit.split()),
        low, high, is_open, shown, stated, " ".join(line.split()),
    )  # fmt: skip


def _parse_range(
    reference: str, unit: str, has_commas: bool
) -> tuple[Decimal | None, Decimal | None, bool, str] | None:
    """Lower bound, upper bound, whether a bound is exclusive, and the range as written, without words.

    None for text that is not a range, or a range in another unit.
    """
    bare = _strip_unit(reference, unit)
    match = _TWO_SIDED_RANGE.fullmatch(bare) or _ONE_SIDED_RANGE.fullmatch(bare)
    if match is None or not _is_same_unit(match["unit"], unit):
        return None
    if match.re is _TWO_SIDED_RANGE:
        low, high = _parse_number(match["low"], has_commas), _parse_number(match["high"], has_commas)
        shown = match.string[match.start("low") : match.end("high")]
        return None if low is None or high is None or low >= high else (low, high, False, shown)
    bound, sign = _parse_number(match["bound"], has_commas), _COMPARATORS.get(match["sign"], match["sign"])
    if bound is None:
        return None
    shown = match.string[match.start("sign") : match.end("bound")]
    return (None, bound, sign == "<", shown) if sign.startswith("<") else (bound, None, sign == ">", shown)


def _strip_unit(reference: str, unit: str) -> str:
    """The range without the value's own unit after each bound, as in `12.0 g/dL - 15.5 g/dL`; other units stay.

    Keeps a unit without letters, which could be a bound.
    """
    if not re.search(r"[A-Za-z%µμ]", unit):
        return reference
    written = r"\s*".join(re.escape(part) for part in unit.split())
    gap = r"\s+" if unit[0].isdigit() else r"\s*"
    return re.sub(rf"(?<=\d){gap}{written}(?![\w%/^*])", "", reference, flags=re.IGNORECASE)


def _is_same_unit(stated: str, unit: str) -> bool:
    bare = "".join(stated.split()).casefold()
    return not bare or bare == "".join(unit.split()).casefold()


def _parse_number(written: str, has_commas: bool) -> Decimal | None:
    """None for an ambiguous comma: with decimal points, 5,200 has a thousands separator, but 5,2 is ambiguous."""
    if has_commas:
        integer, comma, decimals = written.replace(".", "").partition(",")
        return None if "," in decimals else Decimal(f"{integer}.{decimals}" if comma else integer)
    integer, _, decimals = written.partition(".")
    if "." in decimals or "," in decimals or ("," in integer and not re.fullmatch(r"\d{1,3}(?:,\d{3})+", integer)):
        return None
    return Decimal(written.replace(",", ""))


def format_abnormal_values(values: Sequence[LabValue]) -> list[str]:
    """Values outside their range, such as `Hemoglobin: low, 9.8 g/dL (12.0-15.5)`, in order; empty if all are normal."""
    return [
        f"{value.name}: {value.direction}, {' '.join(part for part in (value.raw_value, value.unit) if part)} ({value.reference})"
        for value in values
        if value.direction != "normal"
    ]
