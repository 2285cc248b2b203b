"""Known ids, telephone numbers and web addresses, and the same digits with another meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets_tests.clinical_domain import VOCABULARY
from fine_tune_assets_tests.phi.partial_scrub import scrubbed


@pytest.mark.parametrize(
    ("stated", "written"),
    [
        ("123-45-6789", ["123-45-6789", "123456789", "123 45 6789", "123.45.6789", "1234-56789"]),
        ("123456789", ["123-45-6789", "123 45 6789"]),
        ("MRN00123", ["MRN00123", "mrn00123", "MRN-00123", "mrn 00123", "00123"]),
        ("0012345", ["12345", "0012345", "00012345"]),
        ("12345", ["0012345"]),
        ("A-10023", ["A-10023", "a10023", "A10023", "A 10023", "a-10023"]),
        ("884213^^^HOSP^MR", ["884213"]),
        ("123456-7", ["1234567", "123456-7"]),
        ("va-zz", ["VA-ZZ", "va zz"]),
        (
            "550e8400-e29b-41d4-a716-446655440000",
            ["550E8400-E29B-41D4-A716-446655440000", "550e8400e29b41d4a716446655440000"],
        ),
    ],
)
def test_id_is_found_with_and_without_separators(stated: str, written: list[str]) -> None:
    """Every system formats the same number differently."""
    for number in written:
        assert scrubbed(f"File {number}, seen.", "id", stated) == "File [ID], seen."


def test_id_is_removed_after_its_label() -> None:
    """MRN00123 in the note is 123 in the header."""
    assert scrubbed("MRN00123, MRN: 123, MRN 0123", "id", "123") == "MRN[ID], MRN: [ID], MRN [ID]"
    assert scrubbed("ACC884213 and HN-884213", "id", "884213") == "ACC[ID] and HN-[ID]"


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ("14080", "BP 140/80, 140 80, 140-80"),
        ("MRN00123", "123 mg, 123 of them, 123.5, 1230"),
        ("1234567", "12345678, 0.1234567, 1234567.5, 123/4567"),
        ("T12", "T-12 and T 12; T120"),
        ("123-45-6789", "9123456789 and 1234567890"),
        ("A-10023", "BA10023, A100234"),
    ],
)
def test_other_numbers_are_kept(stated: str, text: str) -> None:
    """A masked dose teaches the model to write [ID] for a dose."""
    assert scrubbed(text, "id", stated) == text


@pytest.mark.parametrize("stated", ["(559) 555-0142", "5595550142", "+1 559-555-0142", "1-559-555-0142 x12"])
@pytest.mark.parametrize(
    "written",
    [
        "(559) 555-0142",
        "(559)555-0142",
        "559-555-0142",
        "559.555.0142",
        "559 555 0142",
        "5595550142",
        "+1 559 555 0142",
        "+15595550142",
        "1-559-555-0142",
        "555-0142",
        "559-555-0142 x12",
        "(559) 555-0142 ext. 12",
    ],
)
def test_telephone_number_is_found_in_any_grouping(stated: str, written: str) -> None:
    """With or without country code, area code and extension, it is the same telephone."""
    assert scrubbed(f"Call {written}, please.", "phone", stated) == "Call [PHONE], please."


def test_foreign_number_is_found_in_national_and_international_form() -> None:
    """+44 becomes 0."""
    text = "020 7946 0018; +44 20 7946 0018; +44 (0)20 7946 0018; 0044 20 7946 0018; 02079460018"
    assert scrubbed(text, "phone", "+44 20 7946 0018") == "; ".join(["[PHONE]"] * 5)


def test_part_of_a_longer_number_is_not_a_telephone_number() -> None:
    """These digits belong to another number."""
    text = "555-01423, 95555501427, 55501429"
    assert scrubbed(text, "phone", "(559) 555-0142") == text


def test_email_and_web_addresses_are_removed_in_any_case() -> None:
    """With or without the prefix that browsers add."""
    assert scrubbed("Mail J.Doe@Example.org, not xj.doe@example.org", "email", "j.doe@example.org") == (
        "Mail [EMAIL], not xj.doe@example.org"
    )
    assert scrubbed("https://www.example.org/a and example.org/a", "url", "www.example.org/a/") == "[URL] and [URL]"


def test_age_over_89_is_removed_unless_it_is_a_measurement() -> None:
    """Safe Harbor allows ages up to 89."""
    assert scrubbed("91 years, SpO2 91%, 91/60, 91.5, 191", "age", "91Y") == "[AGE] years, SpO2 91%, 91/60, 91.5, 191"
    assert scrubbed("89 years", "age", "89") == "89 years"


def test_blank_value_finds_nothing() -> None:
    """Metadata often contains empty fields."""
    assert (
        find_known_identifiers(
            "Any text.", [{"kind": kind, "value": " "} for kind in ("name", "id", "date", "phone")], VOCABULARY
        )
        == []
    )


_PIECES = ["St", "Dr", "J", "Doe", "é", "ß", "İ", "IL"]
_PIECES += [
    "12",
    "1957",
    "03",
    "5550142",
    "+",
    "(",
    "00",
    "^",
    "~",
    ",",
    ".",
    "-",
    "/",
    " ",
    "\n",
    "'",
    "’",
    "St",
    "Dr",
    "J",
    "Doe",
    "é",
    "ß",
    "İ",
    "IL",
]
_ANYTHING = st.one_of(st.text(max_size=20), st.lists(st.sampled_from(_PIECES), max_size=8).map("".join))


@given(
    st.sampled_from(["name", "id", "date", "age", "phone", "email", "address", "facility", "url"]), _ANYTHING, _ANYTHING
)
def test_any_value_and_text_can_be_searched(kind: str, value: str, around: str) -> None:
    """Metadata may contain anything; an odd field must not stop a batch."""
    text = f"{around} {value} {around}"
    for span in find_known_identifiers(text, [{"kind": kind, "value": value}], VOCABULARY):
        assert 0 <= span.start < span.end <= len(text)
