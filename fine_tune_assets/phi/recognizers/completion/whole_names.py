"""Grows part of a name to the whole name: particles, the other half of a double name, Jr., the form of a company."""

import re

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.recognizers.completion.identifier_parts import (
    COMPANY_FORMS,
    SHORT_COMPANY_FORMS,
    is_inner_stop,
    is_ordinary,
    join_words,
)
from fine_tune_assets.phi.replacement.name_pools import fold_surnames, load_known_given_names
from fine_tune_assets.phi.spans.folded_text import fold
from fine_tune_assets.phi.spans.identifier_words import AMBIGUOUS_NAMES
from fine_tune_assets.phi.spans.spans import Offsets, Span
from fine_tune_assets.phi.spans.vocabulary import Vocabulary

_WINDOW = 40
_MAX_GIVEN_NAMES = 3
_PARTICLE = rf"(?:{join_words('name_particles')}|(?i:(?<=[ ])(?:{join_words('leading_particles')})(?=[ ])))"
_PARTICLES_BETWEEN = re.compile(rf"[ ](?:{_PARTICLE}[ ]?(?<=['’ ])){{1,3}}")
_PARTICLES_BEFORE = re.compile(rf"(?<![\w.'’-])(?:[A-ZÀ-ÖØ-Þ]\.[ ]?){{0,2}}(?:{join_words('leading_particles')})[ ]\Z")
_LETTERS_BEFORE, _LETTERS_AFTER = compile_bounded(r"[^\W\d_]+\Z"), compile_bounded(r"[^\W\d_]+")
_WORD_BEFORE = re.compile(r"(?<![\w'’.-])(?P<word>[A-ZÀ-ÖØ-ÞĀ-žȘ-țẠ-ỹ][^\W\d_]+)[ ]\Z")
_HALF_BEFORE = re.compile(
    r"(?<![\w'’-])(?P<half>(?!(?:Pre|Post|Non|Mid|Anti|Ex|Pro|Semi|Sub|Neo)[-‐‑])[A-ZÀ-ÖØ-Þ][^\W\d_]+)[-‐‑]\Z"
)
_HALF_AFTER = re.compile(r"[-‐‑](?P<half>[A-ZÀ-ÖØ-Þ][^\W\d_]+)(?![\w-])")
_NOT_ORDINAL = r"(?![/-])(?!,?[ ](?:degree|and|or|III|IV|lead|nerve|phase|trial)\b)"
_SUFFIX_AFTER = re.compile(rf",?[ ](?:(?:{join_words('name_suffixes')})\b\.?|(?<=[a-zà-ÿ][ ])III?\b{_NOT_ORDINAL})")
_ENDS_WITH_INITIAL = re.compile(r"[,.][ ]?[A-ZÀ-ÖØ-Þ]\Z")
_SHORT_NAME_BEFORE = re.compile(
    r"(?:\A|[\n]|[.:)|&][ ]|\b(?:Mr|Mrs|Ms|Dr|Atty|and|by|to|for|from|of)\.?[ ])"
    rf"(?P<name>(?:{join_words('short_given_names')})\.[ ])\Z"
)
_SHORT_NAME_AT_END = re.compile(r"(?:\A[A-ZÀ-ÖØ-Þ]|\b(?:Fdez|Hdez|Glez|Mdez|Rdguez))\Z")
_ENDS_WITH_SUFFIX = re.compile(rf"\b(?:{join_words('name_suffixes')})\Z")
_USER_NAME_AFTER = re.compile(r"(?:_[a-z\d]+|\d{1,4})(?![\w-])")
_USER_NAME_HALF_AFTER = re.compile(r"[.](?P<half>[a-z]{2,})\d{0,4}(?![\w@-]|[.]\w)")
_USER_NAME_HALF_BEFORE = re.compile(r"(?<![\w.@-])(?P<half>[a-z]{1,15})[._]\Z")
_VIETNAMESE = re.compile(r"[ăđơưĂĐƠƯẠ-ỹ]")
_VIETNAMESE_AFTER = re.compile(r"[ ](?P<word>[A-ZÀ-ÖØ-ÞĀ-žƠƯẠ-ỹ][^\W\d_]+)(?![\w'’-])")
_OPENING, _CLOSING = "[(\\[\"“„‘']{1,2}", "[)\\]\"”“’']{1,2}"
_NICKNAME_BETWEEN = re.compile(rf"[ ]{_OPENING}(?P<nickname>[^\W\d_][\w'’.-]{{1,14}}?){_CLOSING}[ ]")
_NICKNAME_OPENS, _NICKNAME_CLOSES = re.compile(rf"[ ]{_OPENING}"), re.compile(rf"{_CLOSING}[ ]")
_NAME_AFTER_NICKNAME = re.compile(rf"{_CLOSING}[ ](?=[A-ZÀ-ÖØ-ÞĀ-žȘ-țẠ-ỹ]|{_PARTICLE}[ ])")
_ENDS_WITH_NICKNAME = re.compile(rf"[^\W_][.]?[ ]{_OPENING}[^\W\d_][\w'’. -]{{0,20}}\Z")
_ALIAS_BETWEEN, _CHILD_BETWEEN = " @ ", re.compile(r"[ ][dsDS]/[oO][ ]\Z")
"""Also known as, and child of: Goh Kim Huat @ Ricky Goh, Shanti d/o Muthusamy."""
_QUOTES = frozenset("\"“”„’'")
_CAPITALISED = r"[A-ZÀ-ÖØ-ÞĀ-žȘ-țẠ-ỹ][^\W\d_]+(?:['’-][^\W\d_]+)?"
_SURNAME = compile_bounded(rf"(?:[dD]['’]|(?:(?i:{join_words('leading_particles')})[ ])+)?{_CAPITALISED}")
_SURNAME_BEFORE = compile_bounded(rf"(?P<surname>{_CAPITALISED}),[ ]\Z")
_GIVEN_NAME_AFTER = re.compile(rf",[ ](?P<given>{_CAPITALISED})(?![\w'’-])")
_STARTS_FIELD = compile_bounded(r"(?:(?<![^\n])|[:;|(\t][ \t]*|[ ]{2,}|[.]{2,}[ ]?)\Z")
_ENDS_FIELD = compile_bounded(r"[ \t]*(?:[;)|\n]|\Z|[,(][ ]?(?:DOB|born|geb)\b|[.](?=\s|\Z))")
_INITIAL_AFTER = re.compile(r",[ ][A-ZÀ-ÖØ-Þ]\.?(?=[ \t]*(?:[\n;)|]|\Z))")
_FORM_AFTER = re.compile(rf"(?:[ ]\((?:No\.?[ ])?\w+\))?,?[ ](?:{COMPANY_FORMS})(?!\w)")
_ANY_FORM_AFTER = re.compile(rf"(?:[ ]\((?:No\.?[ ])?\w+\))?,?[ ](?:{COMPANY_FORMS}|{SHORT_COMPANY_FORMS})(?!\w)")
_ENDS_WITH_FORM = re.compile(r"\b(?:Inc|INC|Ltd|LTD|Pvt|PVT|Pte|PTE|Pty|PTY|Corp|CORP|Co|CO|Sdn|Bhd)\Z")
_MONTH = join_words("months")
_DAY_AND_MONTH_BEFORE = re.compile(
    rf"(?<![\w.,/-])\d{{1,2}}\.?(?:er|º|°)?[ ](?:de[ ]|d['’])?(?:{_MONTH})\.?[ ](?:de[ ]|del[ ])?\Z", re.IGNORECASE
)
_ENDS_WITH_MONTH = re.compile(rf"\b(?:{_MONTH})\.?\Z", re.IGNORECASE)
_YEAR_AFTER = re.compile(r",?[ ](?:de[ ]|del[ ])?(?:19|20)\d\d(?!\w|[.,]\d)")
_YEAR = re.compile(r"(?:19|20)\d\d")


def grow_name(text: str, span: Span, vocabulary: Vocabulary) -> Offsets:
    """Offsets of a person's whole name."""
    start, end = span.start, span.end
    before = text[max(0, start - _WINDOW) : start]
    if (letters := _LETTERS_BEFORE.search(before)) and text[start].isalpha():
        start -= len(letters[0])
    if (letters := _LETTERS_AFTER.match(text, end)) and text[end - 1].isalpha():
        end = letters.end()
    neighbour = _WORD_BEFORE.search(text[max(0, start - _WINDOW) : start])
    if neighbour and text[start].isupper() and _is_given_name(neighbour["word"], vocabulary):
        start -= len(neighbour[0])
    half = _HALF_BEFORE.search(text[max(0, start - _WINDOW) : start])
    if half and not is_ordinary(half["half"], vocabulary):
        start -= len(half[0])
    while (half := _HALF_AFTER.match(text, end)) and not is_ordinary(half["half"], vocabulary):
        end = half.end()
    if text[start].isupper() and (particles := _PARTICLES_BEFORE.search(text[max(0, start - _WINDOW) : start])):
        start -= len(particles[0])
    if text[start:end].islower() and (rest := _USER_NAME_AFTER.match(text, end)):
        end = rest.end()
    if short := _SHORT_NAME_BEFORE.search(text[max(0, start - _WINDOW) : start]):
        start -= len(short["name"])
    start, end = _grow_reversed_name(text, start, end, vocabulary)
    start, end = _grow_user_name(text, start, end, vocabulary)
    end = _grow_vietnamese_name(text, start, end, vocabulary)
    if initial := _INITIAL_AFTER.match(text, end):
        end = initial.end()
    if suffix := _SUFFIX_AFTER.match(text, end):
        end = suffix.end()
    if _ENDS_WITH_INITIAL.search(text[start:end]):
        return start, end + is_inner_stop(text, end)
    return start, end + (text[end : end + 1] == "." and _ENDS_WITH_SUFFIX.search(text[start:end]) is not None)


def _is_given_name(word: str, vocabulary: Vocabulary) -> bool:
    key = fold(word).lower()
    if is_ordinary(word, vocabulary) or key in AMBIGUOUS_NAMES or key in vocabulary.device_eponyms:
        return False
    return key in load_known_given_names() or not word.isascii()


def _is_known_given_name(word: str, vocabulary: Vocabulary) -> bool:
    return _is_given_name(word, vocabulary) and fold(word).lower() in load_known_given_names()


def _grow_reversed_name(text: str, start: int, end: int, vocabulary: Vocabulary) -> Offsets:
    """Offsets of a reversed name, alone in a field, of which only the surname or the given name was found: Rabenau, Ulrike."""
    before = text[max(0, start - _WINDOW) : start]
    after = _GIVEN_NAME_AFTER.match(text, end)
    if after and _STARTS_FIELD.search(before) and _ENDS_FIELD.match(text, after.end()):
        surname_alone = _SURNAME.fullmatch(text[start:end])
        is_surname = surname_alone is not None and fold(surname_alone[0]).lower() not in load_known_given_names()
        return (start, after.end()) if is_surname and _is_known_given_name(after["given"], vocabulary) else (start, end)
    surname = _SURNAME_BEFORE.search(before)
    if surname is None or not _ENDS_FIELD.match(text, end) or not _is_known_given_name(text[start:end], vocabulary):
        return start, end
    is_alone = _STARTS_FIELD.search(before[: surname.start()]) and fold(surname["surname"]).lower() in fold_surnames()
    return (start - len(surname[0]), end) if is_alone else (start, end)


def _grow_user_name(text: str, start: int, end: int, vocabulary: Vocabulary) -> Offsets:
    """Offsets of a user name of which the finding is half: benny.osull."""
    if not text[start:end].islower():
        return start, end
    after = _USER_NAME_HALF_AFTER.match(text, end)
    if after and not is_ordinary(after["half"], vocabulary):
        end = after.end()
    before = _USER_NAME_HALF_BEFORE.search(text[max(0, start - _WINDOW) : start])
    if before and not is_ordinary(before["half"], vocabulary):
        start -= len(before[0])
    return start, end


def _grow_vietnamese_name(text: str, start: int, end: int, vocabulary: Vocabulary) -> int:
    """End of a Vietnamese name of three or four words; the tagger reads the last ones as foreign words."""
    while (after := _VIETNAMESE_AFTER.match(text, end)) and not is_ordinary(after["word"], vocabulary):
        if _VIETNAMESE.search(after["word"]) is None and _VIETNAMESE.search(text[start:end]) is None:
            return end
        end = after.end()
        if _VIETNAMESE.search(after["word"]) is None:
            return end
    return end


def is_one_name(text: str, left: Span, right: Span, vocabulary: Vocabulary) -> bool:
    """Whether particles or a nickname separate two names, or the comma of a reversed name: Gethin ap Rhys, Bo "Lee" Haddad."""
    gap = text[left.end : right.start]
    if _PARTICLES_BETWEEN.fullmatch(gap):
        return True
    if left.label == right.label == "NAME" and _is_short_or_alias(text[left.start : left.end], gap):
        return True
    if right.label == "LOCATION" and _QUOTES.isdisjoint(gap):
        return False
    if _is_reversed_name(text, left, right, vocabulary):
        return True
    if nickname := _NICKNAME_BETWEEN.fullmatch(gap):
        is_quoted = '"' in gap or "“" in gap
        return is_quoted or (nickname["nickname"][0].isupper() and not is_ordinary(nickname["nickname"], vocabulary))
    if _NICKNAME_OPENS.fullmatch(gap):
        return _NAME_AFTER_NICKNAME.match(text, right.end) is not None
    return _NICKNAME_CLOSES.fullmatch(gap) is not None and _ENDS_WITH_NICKNAME.search(text[: left.end]) is not None


def _is_short_or_alias(left: str, gap: str) -> bool:
    """Whether the next name belongs to this one: B. Grzybowski, María Fdez. de la Vega, Ricky @ Goh, Shanti d/o Muthusamy."""
    is_short = gap == ". " and _SHORT_NAME_AT_END.search(left) is not None
    return is_short or gap == _ALIAS_BETWEEN or _CHILD_BETWEEN.search(left + gap) is not None


def _is_reversed_name(text: str, left: Span, right: Span, vocabulary: Vocabulary) -> bool:
    """Whether two findings are the surname and the given names of one person, who is alone in a field: Nguyen, Thanh Hoang;"""
    surname, given = text[left.start : left.end], text[right.start : right.end]
    if (
        text[left.end : right.start] != ", "
        or _SURNAME.fullmatch(surname) is None
        or len(given.split()) > _MAX_GIVEN_NAMES
    ):
        return False
    if not _STARTS_FIELD.search(text[max(0, left.start - _WINDOW) : left.start]) or not _ENDS_FIELD.match(
        text, right.end
    ):
        return False
    first = re.split(r"[ -]", given)[0].rstrip(".")
    key = fold(surname).lower()
    is_surname = key in fold_surnames() or (left.label == "NAME" and not is_ordinary(surname, vocabulary))
    return is_surname and key not in load_known_given_names() and fold(first).lower() in load_known_given_names()


def grow_company(text: str, end: int, is_facility: bool) -> int:
    """End of a company's name with its form: Pte. Ltd. After a person or place, only unmistakable forms count."""
    pattern = _ANY_FORM_AFTER if is_facility else _FORM_AFTER
    while True:
        if text[end : end + 1] == "." and _ENDS_WITH_FORM.search(text[max(0, end - 5) : end]):
            end += 1
        match = pattern.match(text, end)
        if match is None:
            return end
        end = match.end()


def grow_date(text: str, span: Span) -> Offsets:
    """Offsets of a date with a month in another language: 23 février 1961."""
    value = text[span.start : span.end]
    start, end = span.start, span.end
    if _YEAR.fullmatch(value) and (day := _DAY_AND_MONTH_BEFORE.search(text[max(0, start - _WINDOW) : start])):
        start -= len(day[0])
    if _ENDS_WITH_MONTH.search(value) and any(c.isdigit() for c in value) and (year := _YEAR_AFTER.match(text, end)):
        end = year.end()
    return start, end
