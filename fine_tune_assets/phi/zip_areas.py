"""Which first three digits of a ZIP code may stay under Safe Harbor.

Owns the rule of 45 CFR 164.514(b)(2)(i)(B). The populations are in reference/zip3_population.csv; its source is beside it.
"""

import csv
from functools import cache
from pathlib import Path

MOST_PEOPLE_HIDDEN = 20_000
"""An area with so many people or fewer becomes 000."""
_POPULATION = Path(__file__).parent / "reference" / "zip3_population.csv"


def generalise_zip(zip_code: str) -> str:
    """94110 and 94110-1234 become 941XX; in an area of few people, or one that the census does not have, 000XX."""
    prefix = zip_code[:3]
    return f"{prefix if prefix in open_areas() else '000'}XX"


@cache
def open_areas() -> frozenset[str]:
    """The three-digit areas with more than 20,000 people."""
    return frozenset(prefix for prefix, people in populations().items() if people > MOST_PEOPLE_HIDDEN)


@cache
def populations() -> dict[str, int]:
    with _POPULATION.open(encoding="utf-8", newline="") as file:
        return {row["zip3"]: int(row["population"]) for row in csv.DictReader(file)}
