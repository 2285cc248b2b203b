"""Surrogates of what has digits: telephone numbers, record numbers, addresses on the net.

Owns the ranges that are set aside for fiction or never given out, and the form that is kept. Does not know names or places.
Every function gives candidates in keyed order; the first that is not in the corpus is taken.
"""

import re
from collections.abc import Iterator
from itertools import count
from string import ascii_uppercase

from fine_tune_assets.phi.replacement.keyed_draws import Draws, KeyedSource, normalise, pick

_TRIES_BEFORE_LONGER = 40
_FICTION_TRIES = 300
_EXTENSION = re.compile(r"\s*(?:x|ext\.?|extension)\s*\d+\s*$", re.IGNORECASE)
_COUNTRY_CODE = r"(?:1|7|2[07]|3[0123469]|4[013456789]|5[12345678]|6[0123456]|8[1246]|9[0123458]|[2-9]\d\d)"
_NUMBER = re.compile(r"\d")
_V4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_DOCUMENTATION_NETS = ("192.0.2", "198.51.100", "203.0.113")
MAIL_HOSTS = ("example.org", "example.com", "example.net")


def identifiers(text: str, source: KeyedSource) -> Iterator[str]:
    """Letters for letters, digits for digits, the rest as it is; one character longer once 40 of its length were taken."""
    for attempt in count():
        draw = source.draws("identifier", normalise(text), str(attempt))
        longer = "".join(str(draw(10)) for _ in range(attempt // _TRIES_BEFORE_LONGER))
        yield _characters(text, draw) + longer


def phones(text: str, source: KeyedSource) -> Iterator[str]:
    """Numbers kept for fiction, 555-0100 to 555-0199, in area codes N9X, which are kept for an expansion and not given out.

    In other plans the country's code stays. Once those are taken: exchanges that start with 0, which can't be dialled.
    """
    extension = _EXTENSION.search(text)
    body = text[: extension.start()] if extension else text
    prefix = re.match(rf"\s*(?:\+\s?|00){_COUNTRY_CODE}(?=\D)|\s*\+?1(?=\D*\d{{3}}\D*\d{{3}}\D*\d{{4}}$)", body)
    start = prefix.end() if prefix else 0
    digits = "".join(_NUMBER.findall(body[start:]))
    for attempt in count():
        draw = source.draws("phone", digits or normalise(text), str(attempt))
        number = _phone_digits(len(digits), draw, attempt)
        tail = _characters(text[len(body) :], draw) if extension else ""
        yield text[:start] + _fill(body[start:], number, draw) + _keep_word(text[len(body) :], tail)


def _phone_digits(length: int, draw: Draws, attempt: int) -> str:
    line = f"{draw(100):02d}"
    if length < 7:
        return "".join(str(draw(10)) for _ in range(length))
    lead = "".join(str(draw(10)) for _ in range(length - 7))
    if length == 10:
        lead = f"{2 + draw(8)}9{draw(10)}"
    if attempt < _FICTION_TRIES:
        return f"{lead}55501{line}"
    return f"{lead}0{draw(100):02d}{draw(10_000):04d}"


def _keep_word(original: str, surrogate: str) -> str:
    """The digits of the one in the words of the other."""
    return "".join(s if o.isdigit() else o for o, s in zip(original, surrogate, strict=False))


def social_security_numbers(text: str, source: KeyedSource) -> Iterator[str]:
    """Areas 900 to 999 with groups 01 to 49, which are given out neither as SSN nor as ITIN. A part of one is drawn freely."""
    length = len(_NUMBER.findall(text))
    for attempt in count():
        draw = source.draws("ssn", normalise(text), str(attempt))
        if length == 9:
            yield _fill(text, f"9{draw(100):02d}{1 + draw(49):02d}{1 + draw(9999):04d}", draw, keeps_letters=True)
        else:
            digits = "".join(str(draw(10)) for _ in range(length))
            longer = "".join(str(draw(10)) for _ in range(attempt // _TRIES_BEFORE_LONGER))
            yield _fill(text, digits, draw, keeps_letters=True) + longer


def ip_addresses(text: str, source: KeyedSource) -> Iterator[str]:
    """From the networks kept for documentation (RFC 5737, RFC 3849), then from the one for benchmarks (RFC 2544)."""
    v4 = _V4.search(text)
    for attempt in count():
        draw = source.draws("ip", normalise(text), str(attempt))
        if v4:
            host = f"{pick(draw, _DOCUMENTATION_NETS)}.{1 + draw(254)}"
            wide = f"198.{18 + draw(2)}.{draw(256)}.{1 + draw(254)}"
            rest = _characters(text[v4.end() :], draw)
            yield _characters(text[: v4.start()], draw) + (host if attempt < _FICTION_TRIES else wide) + rest
        else:
            groups = ":".join(f"{draw(65536):x}" for _ in range(4 if "::" in text else 6))
            address = f"2001:db8:{':' if '::' in text else ''}{groups}"
            yield address.upper() if text != text.lower() else address


def web_addresses(text: str, source: KeyedSource, place: Iterator[str]) -> Iterator[str]:
    """An invented host under example.org, and a path of the same form; `place` gives the names of hosts."""
    match = re.match(
        r"(?P<scheme>[a-z]+://)?(?P<www>www\.)?(?P<host>[^/?#]*)(?P<path>.*)", text, re.IGNORECASE | re.DOTALL
    )
    groups = match.groupdict() if match else {}
    for attempt, name in enumerate(place):
        draw = source.draws("web", normalise(text), str(attempt))
        host = f"{groups.get('www') or ''}{normalise(name)}.{pick(draw, MAIL_HOSTS)}"
        yield (groups.get("scheme") or "") + host + _characters(groups.get("path") or "", draw)


def _characters(text: str, draw: Draws) -> str:
    """A digit for a digit, but no zero in front where there was none; a letter of the same case for a letter."""
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


def _fill(text: str, digits: str, draw: Draws, keeps_letters: bool = False) -> str:
    """The digits in the places of the text's digits; its letters drawn anew, unless they only mask (XXX-XX-1234)."""
    source = iter(digits)
    made = []
    for c in text:
        if c.isdecimal():
            made.append(next(source))
        else:
            made.append(c if keeps_letters or not c.isalpha() else _characters(c, draw))
    return "".join(made)
