"""Grows a finding inside a code to the whole code: `MAH/2917/2009`, `#WR-24-318`, `FR 83 528416092`."""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.recognizers.completion.identifier_parts import NUMBER_LABELS, TEST_NAMES
from fine_tune_assets.phi.spans.spans import Offsets, Span
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

NUMBERLESS_KINDS = frozenset({"NAME", "LOCATION", "FACILITY", "DATE", "AGE", "EMAIL", "URL", "IP"})
_TELEPHONES = frozenset({"PHONE", "FAX"})
_WINDOW = 40
_ALNUM_BEFORE, _ALNUM_AFTER = compile_bounded(r"[^\W_]+\Z"), compile_bounded(r"[^\W_]+")
_SEPARATORS = "-/._–#"
_PART_BEFORE = re.compile(r"(?<![^\W_])(?P<part>[^\W_]+)(?P<by>[-/._–#])\Z")
_PART_AFTER = re.compile(r"(?P<by>[-/._–])(?P<part>[^\W_]+)")
_AUTHOR_AFTER = re.compile(r"/(?!ml|mg|kg|hr|wk|day|mm|dl|min|mo|yr)[a-z]{2,3}(?![\w/])")
"""Initials at the end of a reference: HWL/2291/jt."""
_AUTHOR_AFTER_DOT = re.compile(r"\.[a-z]{2,3}(?![\w/-]|\.\w)")
_CODE_WITH_DOTS = compile_bounded(r"(?=.*[A-Z])[A-Z\d]+(?:\.[A-Z\d]+)+")
"""Initials belong to a code whose other parts are joined by dots too: KTC.RL.20231108.gsl."""
_CHECK_DIGIT_AFTER = re.compile(r"[(][\dA-Z][)](?!\w)")
_CODE_WITH_CHECK_DIGIT = compile_bounded(r"(?=(?:[^\d]*\d){5})[A-Z\d]+(?:[ /-][A-Z\d]+)*")
_OPENING_BEFORE = re.compile(r"(?:\(\+?|\+)\Z")
_PLATE_START, _PLATE_END = re.compile(r"[A-Z]{2}\d{2}"), re.compile(r"[ ](?P<letters>[A-Z]{3})(?!\w|-\w)")
_LETTERS = re.compile(r"[A-Z]{1,4}")
_GROUP_BEFORE, _GROUP_AFTER = (
    re.compile(r"(?:[A-Z:#.]|\b(?:no|number|id|is))[ ](?P<group>\d{2,4}[ ])\Z"),
    re.compile(r"[ ]\d{1,4}(?=[ ]?(?:[);\n]|[,.](?!\d)|\Z))"),
)
_GROUPED = re.compile(r"\d[ ]\d")
_PREFIX = re.compile(r"(?<![\w./&'’-])(?P<word>[A-Z]{1,3})[ ]\Z")
_PREFIX_AFTER_LABEL = re.compile(
    r"(?i:(?<!\w)(?:(?:no|nr|ref)\b[.:]{0,2}|(?:number|reference|code)\b:?))[ ](?P<word>[A-Z]{2,3})[ ]\Z"
)
"""Any capitals between a label and a number belong to it: application no. TM 9940228."""
_PREFIXES_OF_TWO_MEANINGS = {"RM"}
"""Room and ringgit, but also the prefix of a reference."""
_REGISTER_PREFIX = re.compile(
    r"(?<![\w.])(?P<word>(?:[A-Z][a-z]{0,3}\.[ ]?){1,3}[A-Z][a-z]{0,3}\.|[A-Z]{2,5})(?:[ ]?\([A-Z][A-Za-z]{0,5}\))?[ ](?:No|Nr)s?\.?[ ]\Z"
)
_LONG_NUMBER = re.compile(r"\d(?:[ ./-]?\d){4,}(?![.,]\d)")
_LETTER_AFTER = re.compile(r"[ ][A-Z](?=[ ]?(?:[),;\n]|\.(?!\w)|\Z))")
_IN_CAPITALS = re.compile(r"\b[A-Z]{2,}\b.*\b[A-Z]{2,}\b|\b[A-Z]{4,}[ ]\Z")
_SHORT_GAP = re.compile(r"[ ]?[-–][ ]?|[/._]")
_MAX_JOINED_DIGITS = 15
_MIN_TELEPHONE_DIGITS = 7


def grow_number(text: str, span: Span, vocabulary: Vocabulary) -> Offsets:
    """Offsets of the code that a number is part of, without the punctuation of the sentence."""
    start, end = _grow_token(text, span)
    if _GROUPED.search(text[start:end]):
        start, end = _grow_groups(text, start, end, span.label in _TELEPHONES)
    end += text[end : end + 1] == "#"
    end = _grow_end(text, start, end, vocabulary)
    if span.label in _TELEPHONES:
        is_open = text.count(")", start, end) > text.count("(", start, end)
        opening = _OPENING_BEFORE.search(text[max(0, start - _WINDOW) : start]) if is_open else None
        return start - len(opening[0]) if opening else start, end
    with_prefix = _find_prefix_start(text, start, vocabulary)
    if with_prefix < start and (letter := _LETTER_AFTER.match(text, end)):
        end = letter.end()
    return with_prefix - (text[with_prefix - 1 : with_prefix] == "#"), end


def _grow_end(text: str, start: int, end: int, vocabulary: Vocabulary) -> int:
    """End of a code with initials after a dot, a check digit in brackets or the last letters of a British plate."""
    value = text[start:end]
    if _CODE_WITH_DOTS.fullmatch(value) and (author := _AUTHOR_AFTER_DOT.match(text, end)):
        return author.end()
    if _CODE_WITH_CHECK_DIGIT.fullmatch(value) and (check := _CHECK_DIGIT_AFTER.match(text, end)):
        return check.end()
    plate = _PLATE_END.match(text, end) if _PLATE_START.fullmatch(value) else None
    known = NUMBER_LABELS | TEST_NAMES | vocabulary.abbreviations
    return plate.end() if plate and plate["letters"] not in known else end


def is_one_number(text: str, left: Span, right: Span) -> bool:
    """Whether only a dash, slash or dot separates two numbers of which one is too short to be one: 06 - 555 01 273."""
    if left.label in NUMBERLESS_KINDS or right.label in NUMBERLESS_KINDS:
        return False
    if _SHORT_GAP.fullmatch(text[left.end : right.start]) is None:
        return False
    counts = [sum(c.isdigit() for c in text[span.start : span.end]) for span in (left, right)]
    return min(counts) < _MIN_TELEPHONE_DIGITS and sum(counts) <= _MAX_JOINED_DIGITS


def _grow_token(text: str, span: Span) -> Offsets:
    start, end, digits_only = span.start, span.end, span.label in _TELEPHONES
    if _is_inside(text[start]) and (letters := _ALNUM_BEFORE.search(text[max(0, start - _WINDOW) : start])):
        start -= len(letters[0]) if _is_part(letters[0], digits_only) else 0
    if _is_inside(text[end - 1]) and (letters := _ALNUM_AFTER.match(text, end)):
        end = letters.end() if _is_part(letters[0], digits_only) else end
    while (part := _PART_BEFORE.search(text[max(0, start - _WINDOW) : start])) and _is_joined(part, digits_only):
        start -= len(part[0])
    while (part := _PART_AFTER.match(text, end)) and _is_joined(part, digits_only):
        end = part.end()
    if not digits_only and (author := _AUTHOR_AFTER.match(text, end)):
        end = author.end()
    return start, end


def _is_inside(character: str) -> bool:
    """Whether a finding with this character at its end can continue in the next word."""
    return character.isalnum() or character in _SEPARATORS


def _is_joined(part: re.Match[str], digits_only: bool) -> bool:
    """A dot can also be the end of a sentence without a space."""
    is_sentence = part["by"] == "." and not any(c.isdigit() for c in part["part"])
    return not is_sentence and _is_part(part["part"], digits_only)


def _is_part(part: str, digits_only: bool) -> bool:
    """Whether the characters next to a number belong to its code: digits, or a few capitals that are not its label."""
    if digits_only:
        return part.isdigit()
    has_digit = any(c.isdigit() for c in part)
    return (
        has_digit
        or (len(part) == 1 and part.isupper())
        or (_LETTERS.fullmatch(part) is not None and part not in NUMBER_LABELS)
    )


def _grow_groups(text: str, start: int, end: int, is_telephone: bool) -> Offsets:
    """Add the first or last group of a number that is written in groups."""
    first = re.match(r"\d+", text[start:end])
    before = _GROUP_BEFORE.search(text[max(0, start - _WINDOW) : start])
    if first and before and len(before["group"]) - 1 == len(first[0]):
        start -= len(before["group"])
    after = _GROUP_AFTER.match(text, end)
    return start, after.end() if after and text[end - 1].isdigit() and not is_telephone else end


def _find_prefix_start(text: str, start: int, vocabulary: Vocabulary) -> int:
    """Start of the capitals before a code that are part of it; an abbreviation that names its kind is not."""
    line_start = text.rfind("\n", 0, start) + 1
    before = text[max(line_start, start - _WINDOW) : start]
    labelled = _PREFIX_AFTER_LABEL.search(before) if _LONG_NUMBER.match(text, start) else None
    if labelled and labelled["word"] not in NUMBER_LABELS - _PREFIXES_OF_TWO_MEANINGS:
        return start - len(labelled["word"]) - 1
    match = _REGISTER_PREFIX.search(before) or (_PREFIX.search(before) if text[start].isdigit() else None)
    if match is None:
        return start
    words = [word.upper() for word in re.findall(r"[A-Za-z]+", match["word"])]
    known = NUMBER_LABELS | TEST_NAMES | vocabulary.abbreviations
    if "".join(words) in known or not known.isdisjoint(word for word in words if len(word) > 1):
        return start
    # In a line of capitals, any short word looks like a prefix.
    return start if _IN_CAPITALS.search(before[: match.start()]) else start - len(match[0])
