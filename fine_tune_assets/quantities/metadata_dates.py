"""The day on which a report was written, as its own metadata states it.

Owns which forms name a day for certain. A day such as 03/04/2024 is two days, depending on the country: it names none.
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
"""Systems write 0001-01-01 where nobody filled in a date."""


def day_of(value: str) -> date | None:
    """The day; the first one of a year or month that names no day. None for what names none for certain.

    >>> day_of("2026-03")
    datetime.date(2026, 3, 1)
    """
    for form in _FORMS:
        match = form.fullmatch(value.strip())
        if match:
            year, month, day = (int(part) if part else 1 for part in match.groups())
            try:
                return date(year, month, day) if year >= _EARLIEST_YEAR else None
            except ValueError:  # the 30th of February
                return None
    return None


def first_day(values: Iterable[str]) -> date | None:
    """The day that the first of `values` names that names one."""
    return next((day for value in values if (day := day_of(value)) is not None), None)
