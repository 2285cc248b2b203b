"""The values of a report's slots: who is involved, which numbers, which dates.

Dates of a person's life are marked; dates of contracts, letters and payments are not.
"""

from collections.abc import Collection, Mapping
from datetime import date
from random import Random
from typing import Any

from benchmarks.domain_samples.markup import mark
from benchmarks.domain_samples.people import (
    Contact,
    Person,
    Population,
    draw_day,
    draw_number,
    fill_format,
    format_date,
    load_shared,
)

REGIONS = ("uk", "us", "de", "ie")
Slots = dict[str, Any]


class Body:
    """The sentences of a passage, in the forms in which a layout can print them."""

    def __init__(self, sentences: list[str], section: int) -> None:
        self._sentences = sentences
        self._section = section

    def __str__(self) -> str:
        return " ".join(self._sentences)

    def _join(self, form: str, separator: str = "\n") -> str:
        return separator.join(
            form.format(text=text, n=n, section=self._section, letter="abcdefgh"[n - 1])
            for n, text in enumerate(self._sentences, start=1)
        )

    @property
    def lines(self) -> str:
        return self._join("{text}")

    @property
    def paragraphs(self) -> str:
        return self._join("{text}", "\n\n")

    @property
    def bullets(self) -> str:
        return self._join("- {text}")

    @property
    def quoted(self) -> str:
        return self._join("> {text}")

    @property
    def customer(self) -> str:
        return self._join("Customer: {text}")

    @property
    def numbered(self) -> str:
        return self._join("{section}.{n} {text}")

    @property
    def numbered_plain(self) -> str:
        return self._join("   6.{n} {text}")

    @property
    def lettered(self) -> str:
        return self._join("({letter}) {text}")


def law_slots(client: Contact, contact: Person, population: Population, rng: Random) -> Slots:
    companies = load_shared("companies")
    other_region, third_region = rng.choice(REGIONS), rng.choice(REGIONS)
    names = _distinct_companies(rng, (other_region, third_region), client.name)
    other, third = (
        population.draw_company(rng, *pair) for pair in zip((other_region, third_region), names, strict=True)
    )
    firms = rng.sample(companies["firms"], 2)
    roles = ("other_contact", "counsel", "opposing", "assistant", "person", "witness", "notary")
    regions = {"other_contact": other_region, "opposing": other_region}
    people = {role: population.draw_person(rng, regions.get(role, client.region)) for role in roles}
    shared = contact.family if rng.random() < 0.5 else None
    return {
        **people,
        **_numbers(rng, "policy", "certificate", "payroll", "vin", "licence", "matter", "deed"),
        **_dates(client.region, rng),
        "client": client,
        "contact": contact,
        "other": other,
        "third": third,
        "firm": population.draw_company(rng, client.region, firms[0]),
        "other_firm": population.draw_company(rng, other_region, firms[1]),
        "spouse": population.draw_person(rng, client.region, family=shared),
        "title_no": draw_number("title", rng),
        "txn": draw_number("transaction", rng),
        "vehicle": _vehicle(client.region, rng),
        "lot": f"{rng.randrange(10, 99)}-{rng.randrange(100, 999)}",
        "child_birth": _personal_date(client.region, rng, date(2011, 1, 1), date(2020, 12, 31)),
    }


def finance_slots(passage: Mapping[str, Any], holder: Person, population: Population, rng: Random) -> Slots:
    companies = load_shared("companies")
    banks = [population.draw_company(rng, holder.region, name) for name in rng.sample(companies["banks"], 2)]
    women, men = passage.get("female", ()), passage.get("male", ())
    people = {
        role: population.draw_person(rng, holder.region, is_female=stated_sex(role, women, men))
        for role in ("agent", "payee", "adviser")
    }
    is_namesake = "partner" in passage.get("shared_name", ()) or rng.random() < 0.5
    agent_user = draw_number("staff", rng)
    return {
        **people,
        **_numbers(rng, "policy", "certificate", "device", "ip", "arn", "licence"),
        **_dates(holder.region, rng),
        "holder": holder,
        "partner": population.draw_person(
            rng, holder.region, stated_sex("partner", women, men), holder.family if is_namesake else None
        ),
        "agent_user": agent_user,
        "bank": banks[0],
        "other_bank": banks[1],
        "merchant": population.draw_company(rng, holder.region, rng.choice(companies["merchants"])),
        "complaint_no": draw_number("complaint", rng),
        "loan_no": draw_number("loan", rng),
        "portfolio_no": draw_number("portfolio", rng),
        "student_no": draw_number("student", rng),
        "txn": draw_number("transaction", rng),
        "txn2": draw_number("transaction", rng),
        "uetr": mark("TRANSACTION_REFERENCE", fill_format("&&&&&&&&-&&&&-4&&&-a&&&-&&&&&&&&&&&&", rng)),
        "vehicle": _vehicle(holder.region, rng),
    }


def stated_sex(role: str, women: Collection[str], men: Collection[str]) -> bool | None:
    """Whether a role is a woman's; None if the text leaves it open."""
    return True if role in women else False if role in men else None


def _distinct_companies(rng: Random, regions: tuple[str, str], taken: str) -> list[str]:
    chosen: list[str] = []
    for region in regions:
        names = [name for name in load_shared("companies")["companies"][region] if name not in {taken, *chosen}]
        chosen.append(rng.choice(names))
    return chosen


def _numbers(rng: Random, *kinds: str) -> Slots:
    return {kind: draw_number(kind, rng) for kind in kinds}


def _vehicle(region: str, rng: Random) -> str:
    return mark("VEHICLE", fill_format(rng.choice(load_shared("regions")[region]["vehicle"]), rng))


def _personal_date(region: str, rng: Random, first: date, last: date) -> str:
    return mark("DATE", format_date(draw_day(rng, first, last), rng.choice(load_shared("regions")[region]["dates"])))


def _dates(region: str, rng: Random) -> Slots:
    form = load_shared("regions")[region]
    pattern = rng.choice(form["dates"])
    letter = draw_day(rng, date(2026, 5, 4), date(2026, 5, 29))
    hour = rng.randrange(8, 17)
    minutes = sorted(rng.sample(range(60), 2))
    return {
        "date_a": format_date(draw_day(rng, date(2026, 2, 1), date(2026, 4, 28)), pattern),
        "date_b": format_date(draw_day(rng, date(2026, 7, 1), date(2027, 3, 31)), pattern),
        "letter_date": format_date(letter, pattern),
        "iso_date": letter.isoformat(),
        "log_date": format_date(letter, "%y%m%d"),
        "event_date": _personal_date(region, rng, date(2025, 1, 2), date(2026, 1, 30)),
        "time_a": f"{hour:02d}:{minutes[0]:02d}",
        "time_b": f"{hour:02d}:{minutes[1]:02d}",
        "section": rng.randrange(3, 29),
        "case": mark("CASE_NUMBER", fill_format(rng.choice(form["case"]), rng)),
        "court": rng.choice(form["court"]),
    }
