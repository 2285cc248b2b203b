"""National telephone numbers outside North America, and digits that are none."""

import pytest

from fine_tune_assets.phi.recognizers.rules.rule_list import apply_rules
from fine_tune_assets_tests.clinical_domain import RULES

NATIONAL = [rule for rule in RULES.rules if rule.name == "phone_national"]


@pytest.mark.parametrize(
    "number",
    [
        "06 - 555 01 273",
        "06-55501273",
        "0475 - 22 18 94",
        "0171 / 448 20 91",
        "0176/44822091",
        "01632 960 214",
        "01353 - 960 118",
        "020 7946 0018",
        "(0161) 496 0018",
        "0412 345 678",
        "06 12 34 56 78",
    ],
)
def test_national_number_is_found(number: str) -> None:
    text = f"Reach me on {number}, please."
    assert [text[span.start : span.end] for span in apply_rules(text, NATIONAL)] == [number]


@pytest.mark.parametrize(
    "text",
    [
        "given 0600-1400 12 units",
        "at 0800 1200 1600 2000",
        "q6h 0900 - 1030, then 5 mg",
        "on 06/07/2024 10:30",
        "02 - 03 - 2024",
        "range 0 - 100 200 300",
        "L4/5 0.25 mg, 0.5/2.5",
        "0-10 pain scale, 130/80 97 98",
        "NHS no. 943 476 5919",
        "MRN 0044881234",
    ],
)
def test_times_dates_and_doses_are_not_telephone_numbers(text: str) -> None:
    """A schedule of doses has the form of a number with a trunk prefix."""
    assert not list(apply_rules(text, NATIONAL))
