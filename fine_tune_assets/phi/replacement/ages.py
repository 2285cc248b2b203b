"""Ages as Safe Harbor wants them: over 89 there is one class, "90 or older".

Owns how an age is read and how the class is written in its place.
"""

import re

from fine_tune_assets.phi.replacement.dates import OLDEST_PLAIN_AGE
from fine_tune_assets.quantities.spelled_numbers import BELOW_100, read_cardinal

_AGE = re.compile(
    rf"^\W*(?:aged?\s+)?(?:of\s+)?(?:(?P<digits>\d{{1,3}})|(?P<hundred>(?:one|a)[-\s]hundred\b(?:[-\s]and)?(?:[-\s]{BELOW_100})?)"
    rf"|(?P<words>{BELOW_100})\b)(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_SHORTER_UNIT = re.compile(r"^[-\s]?(?:hours?|days?|d|weeks?|wks?|w|months?|mos?|m/o)\b", re.IGNORECASE)
_YEARS_OLD = r"[-\s]*(?:(?:years?|yrs?|y\.?/?o\.?|y)(?![^\W\d_])\.?)?[-\s]*(?:old(?![^\W\d_])|of[-\s]age)?"
_AGE_WORDS = re.compile(rf"{_YEARS_OLD}[-\s.]*", re.IGNORECASE)
_SEX = re.compile(rf"{_YEARS_OLD}[-\s]*(?P<sex>[MF]|male|female|man|woman)", re.IGNORECASE)
_OLD = re.compile(
    r"^\W*(?:in\s+)?(?:(?:her|his|their|the)\s+)?(?:mid|early|late)?[-\s]*(?:nineties|90'?s|centenarian|nonagenarian)\W*$",
    re.IGNORECASE,
)
UNKNOWN_AGE = "of unstated age"


def is_recognised_age(text: str) -> bool:
    return bool(_OLD.match(text)) or _read(text) is not None


def generalise_age(text: str) -> str:
    """The same text up to 89 years, "90 or older" above; "of unstated age" if it can't be read as an age."""
    if _OLD.match(text):
        return "90 or older"
    read = _read(text)
    if read is None:
        return UNKNOWN_AGE
    years, rest = read
    if years <= OLDEST_PLAIN_AGE or _SHORTER_UNIT.match(rest):
        return text
    sex = _SEX.fullmatch(rest)
    age = "90-or-older" if re.search(r"-old$", rest, re.IGNORECASE) else "90 or older"
    return f"{age} {sex['sex']}" if sex else age


def _read(text: str) -> tuple[int, str] | None:
    match = _AGE.match(text)
    if not match:
        return None
    rest = match["rest"]
    if not (
        _AGE_WORDS.fullmatch(rest)
        or _SEX.fullmatch(rest)
        or re.fullmatch(_SHORTER_UNIT.pattern + r"(?:[-\s]old)?", rest, re.I)
    ):
        return None
    if match["hundred"]:
        return 100, rest
    return (int(match["digits"]) if match["digits"] else read_cardinal(match["words"]) or 0), rest
