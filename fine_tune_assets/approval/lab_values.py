"""Reads laboratory values with their reference ranges from the text of a report.

Owns the forms in which results are written: a line each (`Hemoglobin 9.8 g/dL (12.0-15.5) L`) or a table with a heading line.
A line that looks like a result and can't be read for certain is counted, never guessed. Does not know what a value means.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Literal

Direction = Literal["high", "low", "normal"]


@dataclass(frozen=True)
class LabValue:
    name: str
    written: str
    """The value as it stands there, such as `<0.5`."""
    value: Decimal
    comparator: str
    """`<`, `<=`, `>` or `>=` before the value: it lies somewhere beyond; empty for the value itself."""
    unit: str
    low: Decimal | None
    high: Decimal | None
    """Bounds of the reference range; at least one is there. They belong to it unless `is_open`."""
    is_open: bool
    """Whether a bound itself lies outside, as in `<200`."""
    reference: str
    """The range as it stands there."""
    stated: Direction | None
    """What the report's own H or L says."""
    line: str

    @property
    def direction(self) -> Direction | None:
        """Against the range; None where `<5` with a range of 3 to 10 leaves it open."""
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
        if self.low is not None and (self.value < self.low or (self.is_open and self.value == self.low)):
            return "low"
        if self.high is not None and (self.value > self.high or (self.is_open and self.value == self.high)):
            return "high"
        return "normal"

    @property
    def is_contradicted(self) -> bool:
        """Whether the report's own flag says otherwise than its range."""
        return self.stated is not None and self.stated != self.direction


@dataclass(frozen=True)
class LabValues:
    values: tuple[LabValue, ...]
    unread: int
    """Lines that look like a result with a range, and could not be read for certain."""


_NUMBER = r"\d+(?:[.,]\d+)*"
_COMPARED = re.compile(rf"(?P<sign><=|>=|[<>≤≥])?\s*(?P<number>{_NUMBER})")
_SIGNS = {"≤": "<=", "≥": ">="}
_DASH = r"\s*(?:-|–|—|to)\s*"
_REFERENCE_WORDS = r"(?:(?:reference|ref|normal)\.?(?:\s+(?:range|interval|values?))?|range)\s*[:=]?\s*"
_BETWEEN = re.compile(rf"(?:{_REFERENCE_WORDS})?(?P<low>{_NUMBER}){_DASH}(?P<high>{_NUMBER})(?P<unit>\D*)", re.I)
_BEYOND = re.compile(rf"(?:{_REFERENCE_WORDS})?(?P<sign><=|>=|[<>≤≥])\s*(?P<bound>{_NUMBER})(?P<unit>\D*)", re.I)
_FLAGS: dict[str, Direction] = {
    "h": "high", "hh": "high", "high": "high", "l": "low", "ll": "low", "low": "low", "n": "normal", "normal": "normal",
}  # fmt: skip
_FLAG = r"(?:\*?\s*(?P<flag>HH|LL|H|L|N|high|low|normal)\s*\*?)"
_UCUM = r"\[[A-Za-z'_]+\]|\{[^{}\s]+\}"
"""Parts of a unit that UCUM, the code of units of FHIR, writes in brackets: `mm[Hg]`, `mL/min/{1.73_m2}`."""
_UNIT = (
    rf"(?P<unit>%|(?:[A-Za-zµμ°*/^\d²³.·-]|{_UCUM})*(?:[A-Za-zµμ°%]|{_UCUM})(?:[A-Za-zµμ°*/^\d²³.·%-]|{_UCUM})*"
    r"(?:\s*/\s*[A-Za-zµμ\d.]+)*)"
)
_WITH_UNIT = re.compile(rf"(?P<value>(?:<=|>=|[<>≤≥])?\s*{_NUMBER})\s*{_UNIT}(?:\s*\(?{_FLAG}\)?)?", re.IGNORECASE)
"""A cell of a table that has no column for units."""
_LINE = re.compile(
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
_LOOKS_LIKE_RESULT = re.compile(
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
_CELLS = (re.compile(r"\s*\|\s*"), re.compile(r"\t+"), re.compile(r"\s{2,}"))
Split = Callable[[str], list[str]]


def read_lab_values(text: str, has_decimal_commas: bool) -> LabValues:
    """Every result with a reference range, in the order of the text; `has_decimal_commas`: 5,2 is five and a fifth."""
    values: list[LabValue] = []
    unread = 0
    for line, found in _found(text, has_decimal_commas):
        if found is not None and found.direction is not None:
            values.append(found)
        elif found is not None or _LOOKS_LIKE_RESULT.search(line):
            unread += 1
    return LabValues(tuple(values), unread)


def _found(text: str, has_commas: bool) -> Iterator[tuple[str, LabValue | None]]:
    columns: list[str] | None = None
    split: Split = str.split
    for line in text.splitlines():
        if not line.strip():
            columns = None
            continue
        heading = _heading(line)
        if heading is not None:
            columns, split = heading
        elif columns is not None:
            cells = split(line)
            if len(cells) == len(columns):
                yield f"{line} ({_REFERENCE_MARK})", _of_row(dict(zip(columns, cells, strict=True)), line, has_commas)
            else:
                yield f"{line} ({_REFERENCE_MARK})", _of_line(line, has_commas)
        else:
            yield line, _of_line(line, has_commas)


_REFERENCE_MARK = "1-2"
"""Put behind a row of a table, so that one which can't be read counts as a result."""


def _heading(line: str) -> tuple[list[str], Split] | None:
    """The columns of a table's heading line, and how its rows are cut."""
    for pattern in _CELLS:
        cells = _cut(pattern, line)
        columns = [_COLUMNS.get(cell.casefold().strip(" *:"), "") for cell in cells]
        if {"name", "value", "reference"} <= set(columns):
            return columns, partial(_cut, pattern)
    return None


def _cut(pattern: re.Pattern[str], line: str) -> list[str]:
    row = line.strip()
    if row.startswith("|") and row.endswith("|"):
        row = row[1:-1]
    return [cell.strip() for cell in pattern.split(row)]


def _of_row(cells: dict[str, str], line: str, has_commas: bool) -> LabValue | None:
    value, flag, unit = cells["value"], cells.get("flag", ""), cells.get("unit", "")
    trailing = re.fullmatch(rf"(.*?\d)\s*{_FLAG}", value, re.IGNORECASE)
    if trailing and not flag:
        value, flag = trailing[1], trailing["flag"]
    elif not unit and (whole := _WITH_UNIT.fullmatch(value)) and not (flag and whole["flag"]):
        value, unit, flag = whole["value"], whole["unit"], flag or whole["flag"] or ""
    return _value(cells["name"], value, unit, cells["reference"].strip("()[] "), flag, line, has_commas)


def _of_line(line: str, has_commas: bool) -> LabValue | None:
    written = re.sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", line).strip()
    match = _LINE.fullmatch(written)
    if match is None or _BRACKETS[match["open"] or ""] != (match["close"] or ""):
        return None
    if not match["open"] and not re.match(_REFERENCE_WORDS, match["reference"] or "", re.IGNORECASE):
        return None
    unit = match[0][match.start("power" if match["power"] else "unit") : match.end("unit")] if match["unit"] else ""
    flag = match["flag"] or match["early"] or ""
    return _value(match["name"], match["value"], unit, match["reference"], flag, written, has_commas)


def _value(
    name: str, written: str, unit: str, reference: str, flag: str, line: str, has_commas: bool
) -> LabValue | None:
    compared = _COMPARED.fullmatch(written.strip())
    span = _range(reference.strip(), unit, has_commas)
    if compared is None or span is None or not name.strip(" :"):
        return None
    number = _number(compared["number"], has_commas)
    stated = _FLAGS.get(flag.strip(" *").casefold())
    if number is None or (flag.strip(" *-") and stated is None):
        return None
    low, high, is_open, shown = span
    sign = compared["sign"] or ""
    return LabValue(
        " ".join(name.strip(" :").split()), "".join(written.split()), number, _SIGNS.get(sign, sign), " ".join(unit.split()),
        low, high, is_open, shown, stated, " ".join(line.split()),
    )  # fmt: skip


def _range(reference: str, unit: str, has_commas: bool) -> tuple[Decimal | None, Decimal | None, bool, str] | None:
    """Lower bound, upper bound, whether a bound lies outside, and the range as it stands there, without words.

    None for what is no range, or one in another unit.
    """
    bare = _without_unit(reference, unit)
    match = _BETWEEN.fullmatch(bare) or _BEYOND.fullmatch(bare)
    if match is None or not _is_same_unit(match["unit"], unit):
        return None
    if match.re is _BETWEEN:
        low, high = _number(match["low"], has_commas), _number(match["high"], has_commas)
        shown = match.string[match.start("low") : match.end("high")]
        return None if low is None or high is None or low >= high else (low, high, False, shown)
    bound, sign = _number(match["bound"], has_commas), _SIGNS.get(match["sign"], match["sign"])
    if bound is None:
        return None
    shown = match.string[match.start("sign") : match.end("bound")]
    return (None, bound, sign == "<", shown) if sign.startswith("<") else (bound, None, sign == ">", shown)


def _without_unit(reference: str, unit: str) -> str:
    """The range with the value's own unit taken from behind each bound, as in `12.0 g/dL - 15.5 g/dL`; any other unit stays.

    A unit without a letter could be a bound.
    """
    if not re.search(r"[A-Za-z%µμ]", unit):
        return reference
    written = r"\s*".join(re.escape(part) for part in unit.split())
    gap = r"\s+" if unit[0].isdigit() else r"\s*"
    return re.sub(rf"(?<=\d){gap}{written}(?![\w%/^*])", "", reference, flags=re.IGNORECASE)


def _is_same_unit(stated: str, unit: str) -> bool:
    bare = "".join(stated.split()).casefold()
    return not bare or bare == "".join(unit.split()).casefold()


def _number(written: str, has_commas: bool) -> Decimal | None:
    """None for a comma that could be either: 5,200 with decimal points is a thousands' separator, 5,2 is not."""
    if has_commas:
        whole, comma, decimals = written.replace(".", "").partition(",")
        return None if "," in decimals else Decimal(f"{whole}.{decimals}" if comma else whole)
    whole, _, decimals = written.partition(".")
    if "." in decimals or "," in decimals or ("," in whole and not re.fullmatch(r"\d{1,3}(?:,\d{3})+", whole)):
        return None
    return Decimal(written.replace(",", ""))


def abnormal_lines(values: Sequence[LabValue]) -> list[str]:
    """`Hemoglobin: low, 9.8 g/dL (12.0-15.5)`, in the order of the report; empty when all are normal."""
    return [
        f"{value.name}: {value.direction}, {' '.join(part for part in (value.written, value.unit) if part)} ({value.reference})"
        for value in values
        if value.direction != "normal"
    ]
