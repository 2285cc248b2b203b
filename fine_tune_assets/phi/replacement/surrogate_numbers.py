"""Surrogates for values with digits: telephone and record numbers, SSNs, network addresses.

Uses ranges reserved for fiction or never assigned, and keeps the format. Each function yields candidates in keyed order; the
caller takes the first that is not in the corpus.
"""

import re
from collections.abc import Iterator
from itertools import count
from string import ascii_uppercase

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.replacement.keyed_draws import Draw, KeyedSource, normalize, pick

_ATTEMPTS_PER_LENGTH = 40
_RESERVED_RANGE_ATTEMPTS = 300
_EXTENSION = compile_bounded(r"\s*(?:x|ext\.?|extension)\s*\d+\s*$", re.IGNORECASE)
_COUNTRY_CODE = r"(?:1|7|2[07]|3[0123469]|4[013456789]|5[12345678]|6[0123456]|8[1246]|9[0123458]|[2-9]\d\d)"
_NUMBER = re.compile(r"\d")
_V4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_DOCUMENTATION_NETS = ("192.0.2", "198.51.100", "203.0.113")
RESERVED_HOSTS = ("example.org", "example.com", "example.net")


def draw_identifiers(text: str, source: KeyedSource) -> Iterator[str]:
    """Letters for letters, digits for digits, all else unchanged; one character longer after 40 candidates were taken."""
    for attempt in count():
        draw = source.make_draw("identifier", normalize(text), str(attempt))
        longer = "".join(str(draw(10)) for _ in range(attempt // _ATTEMPTS_PER_LENGTH))
        yield _draw_characters(text, draw) + longer


def draw_digits(text: str, source: KeyedSource) -> Iterator[str]:
    """Digits for digits, all else unchanged, such as the letters of a court's register; letters too if there is no digit."""
    if not _NUMBER.search(text):
        yield from draw_identifiers(text, source)
    for attempt in count():
        draw = source.make_draw("digits", normalize(text), str(attempt))
        longer = "".join(str(draw(10)) for _ in range(attempt // _ATTEMPTS_PER_LENGTH))
        yield "".join(_draw_characters(c, draw) if c.isdecimal() else c for c in text) + longer


def draw_phone_numbers(text: str, source: KeyedSource) -> Iterator[str]:
    """Numbers reserved for fiction, 555-0100 to 555-0199, in area codes N9X, which are reserved and unassigned.

    Other numbering plans keep the country code. When these run out: exchanges that start with 0, which cannot be dialled.
    """
    extension = _EXTENSION.search(text)
    body = text[: extension.start()] if extension else text
    prefix = re.match(rf"\s*(?:\+\s?|00){_COUNTRY_CODE}(?=\D)|\s*\+?1(?=\D*\d{{3}}\D*\d{{3}}\D*\d{{4}}$)", body)
    start = prefix.end() if prefix else 0
    digits = "".join(_NUMBER.findall(body[start:]))
    for attempt in count():
        draw = source.make_draw("phone", digits or normalize(text), str(attempt))
        number = _draw_phone_digits(len(digits), draw, attempt)
        tail = _draw_characters(text[len(body) :], draw) if extension else ""
        yield text[:start] + _fill_digits(body[start:], number, draw) + _keep_extension_words(text[len(body) :], tail)


def _draw_phone_digits(length: int, draw: Draw, attempt: int) -> str:
    line = f"{draw(100):02d}"
    if length < 7:
        return "".join(str(draw(10)) for _ in range(length))
    lead = "".join(str(draw(10)) for _ in range(length - 7))
    if length == 10:
        lead = f"{2 + draw(8)}9{draw(10)}"
    if attempt < _RESERVED_RANGE_ATTEMPTS:
        return f"{lead}55501{line}"
    return f"{lead}0{draw(100):02d}{draw(10_000):04d}"


def _keep_extension_words(original: str, surrogate: str) -> str:
    """The digits of `surrogate` with the words of `original`."""
    return "".join(s if o.isdigit() else o for o, s in zip(original, surrogate, strict=False))


def draw_ssns(text: str, source: KeyedSource) -> Iterator[str]:
    """Areas 900 to 999 with groups 01 to 49, which are never assigned as SSN or ITIN. A partial SSN is drawn freely."""
    length = len(_NUMBER.findall(text))
    for attempt in count():
        draw = source.make_draw("ssn", normalize(text), str(attempt))
        if length == 9:
            yield _fill_digits(
                text, f"9{draw(100):02d}{1 + draw(49):02d}{1 + draw(9999):04d}", draw, keeps_letters=True
            )
        else:
            digits = "".join(str(draw(10)) for _ in range(length))
            longer = "".join(str(draw(10)) for _ in range(attempt // _ATTEMPTS_PER_LENGTH))
            yield _fill_digits(text, digits, draw, keeps_letters=True) + longer


def draw_ip_addresses(text: str, source: KeyedSource) -> Iterator[str]:
    """Addresses from the documentation networks (RFC 5737, RFC 3849), then from the benchmark network (RFC 2544)."""
    v4 = _V4.search(text)
    for attempt in count():
        draw = source.make_draw("ip", normalize(text), str(attempt))
        if v4:
            host = f"{pick(draw, _DOCUMENTATION_NETS)}.{1 + draw(254)}"
            wide = f"198.{18 + draw(2)}.{draw(256)}.{1 + draw(254)}"
            rest = _draw_characters(text[v4.end() :], draw)
            yield (
                _draw_characters(text[: v4.start()], draw)
                + (host if attempt < _RESERVED_RANGE_ATTEMPTS else wide)
                + rest
            )
        else:
            groups = ":".join(f"{draw(65536):x}" for _ in range(4 if "::" in text else 6))
            address = f"2001:db8:{':' if '::' in text else ''}{groups}"
            yield address.upper() if text != text.lower() else address


def draw_urls(text: str, source: KeyedSource, host_names: Iterator[str]) -> Iterator[str]:
    """A host from `host_names` under example.org, with a path of the same form."""
    match = re.match(
        r"(?P<scheme>[a-z]+://)?(?P<www>www\.)?(?P<host>[^/?#]*)(?P<path>.*)", text, re.IGNORECASE | re.DOTALL
    )
    groups = match.groupdict() if match else {}
    for attempt, name in enumerate(host_names):
        draw = source.make_draw("web", normalize(text), str(attempt))
        host = f"{groups.get('www') or ''}{normalize(name)}.{pick(draw, RESERVED_HOSTS)}"
        yield (groups.get("scheme") or "") + host + _draw_characters(groups.get("path") or "", draw)


def _draw_characters(text: str, draw: Draw) -> str:
    """Digits for digits, without a new leading zero; letters for letters, in the same case."""
    made: list[str] = []
    has_digit = False
    for c in text:
        if c.isdecimal():
            is_front = not has_digit and c != "0"
            made.append(str(1 + draw(9) if is_front else draw(10)))
            has_digit = True
        elif c.isalnum():
            letter = ascii_uppercase[draw(26)]
            made.append(letter.lower() if c != c.upper() else letter)
        else:
            made.append(c)
    return "".join(made)


def _fill_digits(text: str, digits: str, draw: Draw, keeps_letters: bool = False) -> str:
    """The text with its digits replaced. Letters are redrawn, unless they are a mask (XXX-XX-1234)."""
    source = iter(digits)
    made = []
    for c in text:
        if c.isdecimal():
            made.append(next(source))
        else:
            made.append(c if keeps_letters or not c.isalpha() else _draw_characters(c, draw))
    return "".join(made)
