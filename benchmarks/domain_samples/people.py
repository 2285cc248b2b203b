"""Invented persons and companies with addresses, contacts and numbers. Every value is marked with its label.

Streets, companies and persons do not exist. Telephone numbers, e-mail domains, IP addresses and card numbers come from ranges
that are reserved for examples; IBANs have valid check digits and bank codes that no bank has.
"""

import unicodedata
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from benchmarks.domain_samples.markup import mark

_SHARED = Path(__file__).parent / "shared"
_DOMAINS = ("example.com", "example.org", "example.net", "mail.example.com", "post.example.org", "office.example.net")
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_ASCII = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ı": "i", "Þ": "Th", "þ": "th", "đ": "d"})


@cache
def load_shared(name: str) -> Any:
    return yaml.safe_load((_SHARED / f"{name}.yaml").read_text(encoding="utf-8"))


def fill_format(pattern: str, rng: Random) -> str:
    """Replace `#` by a digit, `%` by a digit from 1, `@` by a capital letter and `&` by a hexadecimal digit."""
    choices = {"#": "0123456789", "%": "123456789", "@": _LETTERS, "&": "0123456789abcdef"}
    return "".join(rng.choice(choices[c]) if c in choices else c for c in pattern)


def draw_number(kind: str, rng: Random) -> str:
    """A marked number of a kind in `shared/numbers.yaml`."""
    entry = load_shared("numbers")[kind]
    return mark(entry["label"], fill_format(rng.choice(entry["formats"]), rng))


def fold_ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_ASCII)).encode("ascii", "ignore").decode()
    return "".join(c for c in plain.lower() if c.isalnum())


def iban_check_digits(country: str, account: str) -> str:
    """Check digits after ISO 13616: the number modulo 97 is 1."""
    digits = "".join(str(int(c, 36)) for c in f"{account}{country}00")
    return f"{98 - int(digits) % 97:02d}"


def routing_check_digit(first_eight: str) -> str:
    """Check digit of an ABA routing number: the sum weighted 3, 7, 1 is a multiple of 10."""
    total = sum(int(digit) * weight for digit, weight in zip(first_eight, (3, 7, 1) * 3, strict=False))
    return str(-total % 10)


def draw_iban(region: str, rng: Random) -> str:
    form = load_shared("regions")[region]["iban"]
    account = rng.choice(form["bank"]) + fill_format(form["rest"], rng)
    iban = form["country"] + iban_check_digits(form["country"], account) + account
    is_grouped = rng.random() < 0.7
    return mark("IBAN_CODE", " ".join(iban[i : i + 4] for i in range(0, len(iban), 4)) if is_grouped else iban)


def draw_routing(rng: Random) -> str:
    first = f"110000{rng.randrange(100):02d}"
    return mark("ROUTING_NUMBER", first + routing_check_digit(first))


def format_date(day: date, pattern: str) -> str:
    return day.strftime(pattern)


def draw_day(rng: Random, first: date, last: date) -> date:
    return first + timedelta(days=rng.randrange((last - first).days + 1))


def _draw_address(region: str, rng: Random) -> str:
    form = load_shared("regions")[region]
    town, area = rng.choice(list(form["towns"].items()))
    code = f"{area}{fill_format(form['postcode'], rng)}"
    unit = fill_format(rng.choice(form["unit"]), rng)
    text = form["address"].format(unit=unit, street=rng.choice(form["streets"]), town=town, code=code)
    return text.replace("  ", " ")


@dataclass(frozen=True)
class Contact:
    """What persons and companies have in common. Attributes are marked texts; slots of the templates name them."""

    region: str
    name: str
    plain_address: str
    phone: str
    email: str
    number: str
    """Client or customer number."""
    tax: str
    iban: str
    account: str
    sort_code: str
    routing: str

    @property
    def address(self) -> str:
        return mark("ADDRESS", self.plain_address)

    @property
    def block(self) -> str:
        """The address over several lines."""
        return mark("ADDRESS", self.plain_address.replace(", ", "\n"))

    @property
    def account_line(self) -> str:
        """The bank account, as the region writes it."""
        if self.region == "uk":
            return f"sort code {self.sort_code}, account {self.account}"
        return f"routing {self.routing}, account no. {self.account}" if self.region == "us" else f"IBAN {self.iban}"


@dataclass(frozen=True)
class Company(Contact):
    register: str
    registered: str

    def __str__(self) -> str:
        return mark("ORG", self.name)

    @property
    def upper(self) -> str:
        return mark("ORG", self.name.upper())


@dataclass(frozen=True)
class Person(Contact):
    given: str
    family: str
    is_female: bool
    born: str
    passport: str
    card_number: str
    ssn: str
    user: str
    licence: str

    def __str__(self) -> str:
        return mark("NAME", self.name)

    @property
    def first(self) -> str:
        return mark("NAME", self.given)

    @property
    def last(self) -> str:
        return mark("NAME", self.family)

    @property
    def upper(self) -> str:
        return mark("NAME", self.name.upper())

    @property
    def reversed(self) -> str:
        return mark("NAME", f"{self.family}, {self.given}")

    @property
    def short(self) -> str:
        return mark("NAME", f"{self.given[0]}. {self.family}")

    @property
    def spelled(self) -> str:
        return mark("NAME", "-".join(c.upper() for c in self.family if c.isalpha()))

    @property
    def initials(self) -> str:
        return mark("INITIALS", f"{self.given[0]}{next(c for c in self.family if c.isupper())}")

    @property
    def handle(self) -> str:
        return mark("USER_NAME", f"{fold_ascii(self.given)}_{fold_ascii(self.family)[:4]}")

    @property
    def honorific(self) -> str:
        return "Ms" if self.is_female else "Mr"

    @property
    def salutation(self) -> str:
        return f"{self.honorific} {self.last}"

    @property
    def birth(self) -> str:
        return mark("DATE", self.born)

    @property
    def card(self) -> str:
        return mark("CREDIT_CARD", self.card_number)

    @property
    def card_end(self) -> str:
        return mark("CARD_ENDING", self.card_number.replace(" ", "")[-4:])


class Population:
    """Draws persons and companies; no two persons have the same name."""

    def __init__(self, number_kind: str) -> None:
        self._number_kind = number_kind
        self._names: set[str] = set()

    def draw_person(self, rng: Random, region: str, is_female: bool | None = None, family: str | None = None) -> Person:
        is_female = rng.random() < 0.5 if is_female is None else is_female
        given, family = self._draw_name(rng, is_female, family)
        form = load_shared("regions")[region]
        born = draw_day(rng, date(1938, 1, 1), date(2004, 12, 31))
        return Person(
            **self._draw_contact(rng, region, f"{given} {family}", form["tax_personal"]),
            email=mark("EMAIL", _draw_email(rng, fold_ascii(given), fold_ascii(family))),
            given=given,
            family=family,
            is_female=is_female,
            born=format_date(born, rng.choice(form["dates"])),
            passport=mark("ID", fill_format(rng.choice(form["passport"]), rng)),
            card_number=_draw_card(rng),
            ssn=mark("SSN", fill_format("98#-65-####", rng)),
            user=mark("USER_NAME", f"{fold_ascii(family)[:6]}{rng.randrange(10, 99)}"),
            licence=draw_number("licence", rng),
        )

    def draw_company(self, rng: Random, region: str, name: str) -> Company:
        form = load_shared("regions")[region]
        register = mark("REGISTER_NUMBER", fill_format(rng.choice(form["register"]), rng))
        mailbox = rng.choice(("office", "legal", "accounts", "info", "contracts"))
        return Company(
            **self._draw_contact(rng, region, name, form["tax"]),
            email=mark("EMAIL", f"{mailbox}@{fold_ascii(name.split()[0])}.example"),
            register=register,
            registered=rng.choice(form["registered"]).format(register=register),
        )

    def _draw_contact(self, rng: Random, region: str, name: str, tax: list[str]) -> dict[str, str]:
        form = load_shared("regions")[region]
        return {
            "region": region,
            "name": name,
            "plain_address": _draw_address(region, rng),
            "phone": mark("PHONE", fill_format(rng.choice(form["phones"]), rng)),
            "number": draw_number(self._number_kind, rng),
            "tax": mark("TAX_NUMBER", fill_format(rng.choice(tax), rng)),
            "iban": draw_iban(region, rng),
            "account": mark("ACCOUNT_NUMBER", fill_format(rng.choice(form["account"]), rng)),
            "sort_code": mark("SORT_CODE", fill_format(rng.choice(form["sort_code"]), rng)),
            "routing": draw_routing(rng),
        }

    def _draw_name(self, rng: Random, is_female: bool, family: str | None) -> tuple[str, str]:
        names = load_shared("names")
        while True:
            origin = names[rng.choice(list(names))]
            given = rng.choice(origin["female" if is_female else "male"])
            chosen = rng.choice(origin["family"]) if family is None else family
            if f"{given} {chosen}" not in self._names:
                self._names.add(f"{given} {chosen}")
                return given, chosen


def _draw_card(rng: Random) -> str:
    number: str = rng.choice(load_shared("test_cards"))
    return rng.choice((number, number, number.replace(" ", "-"), number.replace(" ", "")))


def _draw_email(rng: Random, given: str, family: str) -> str:
    local = rng.choice(
        (f"{given}.{family}", f"{given[0]}{family}", f"{family}{rng.randrange(60, 99)}", f"{given}_{family[0]}")
    )
    return f"{local}@{rng.choice(_DOMAINS)}"
