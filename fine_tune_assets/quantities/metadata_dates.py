"""Reads the date of a report from its metadata.

Only unambiguous formats count: 03/04/2024 is a different day in different countries, so it yields none.
"""

import re
from collections.abc import Iterable
from datetime import date

# ISO 8601 and FHIR: 2026, 2026-03, 2026-03-01, with or without a time; HL7: 20260301, 20260301120000+0100.
_FORMS = (
    re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ].*)?)?)?"),
    re.compile(r"(\d{4})(\d{2})(\d{2})(?:\d{2,6}(?:\.\d+)?)?(?:[+-]\d{4})?"),
)
_EARLIEST_YEAR = 1900
"""Systems write 0001-01-01 for a missing date."""


def read_day(value: str) -> date | None:
    """The day, or the first day of a year or month; None if the value states no unambiguous day.

    >>> read_day("2026-03")
    datetime.date(2026, 3, 1)
    """
    for form in _FORMS:
        match = form.fullmatch(value.strip())
        if match:
            year, month, day = (int(part) if part else 1 for part in match.groups())
            try:
                return date(year, month, day) if year >= _EARLIEST_YEAR else None
            except ValueError:  # such as February 30
                return None
    return None


def read_first_day(values: Iterable[str]) -> date | None:
    """The first day that any of `values` states."""
    return next((day for value in values if (day := read_day(value)) is not None), None)
