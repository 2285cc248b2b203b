"""Known addresses and facilities, whole and in parts, and which words are kept."""

import pytest

from fine_tune_assets_tests.phi.partial_scrub import scrubbed


@pytest.mark.parametrize("stated", ["12 Main St, Springfield, IL 62704", "12 Main Street^^Springfield^IL^62704^USA"])
@pytest.mark.parametrize(
    "written",
    [
        "12 Main St, Springfield, IL 62704",
        "12 Main Street, Springfield, IL 62704-1234",
        "12 MAIN ST., SPRINGFIELD IL 62704",
        "12 main street",
        "12 Main",
        "Main Street",
        "Springfield",
        "springfield",
        "Springfield, IL",
        "62704",
        "62704-1234",
    ],
)
def test_address_is_removed_whole_and_in_parts(stated: str, written: str) -> None:
    """A town and a ZIP code alone are identifiers under Safe Harbor."""
    assert scrubbed(f"Lives at {written} now.", "address", stated) == "Lives at [LOCATION] now."


def test_abbreviated_streets_are_found() -> None:
    """North and N, Avenue and Ave."""
    stated = "768 North Silver Avenue Apt 4^^Reading^PA^19601"
    for written in ("768 N Silver Ave", "768 N. Silver Avenue, Apt. 4", "N. Silver Ave", "768 Silver Ave"):
        assert "Silver" not in scrubbed(f"At {written} now", "address", stated)
        assert "768" not in scrubbed(f"At {written} now", "address", stated)


def test_addresses_without_commas_or_from_abroad_are_found() -> None:
    """Not every system writes commas."""
    assert scrubbed("Springfield; 12 Main St", "address", "12 Main St Springfield IL 62704") == "[LOCATION]; [LOCATION]"
    assert scrubbed("SW1A2AA; sw1a 2aa; london", "address", "10 Downing Street, London, SW1A 2AA") == (
        "[LOCATION]; [LOCATION]; [LOCATION]"
    )


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ("12 Main St, Springfield, IL 62704", "IL 6, Illinois, 12 main meals, the main street, 62704 mg, 12 mg"),
        ("1 Oak Rd, Reading, PA", "She was reading. Reading is hard. Take oak."),
        ("1 Oak Rd, Normal, IL", "Normal sinus rhythm. normal"),
        ("1 Oak Rd, Mobile, AL", "Mobile and alert."),
    ],
)
def test_words_of_an_address_are_kept_as_ordinary_words(stated: str, text: str) -> None:
    """Normal is a town in Illinois."""
    assert scrubbed(text, "address", stated) == text


def test_town_that_is_a_word_is_removed_after_from_or_before_its_state() -> None:
    """There it is the town."""
    assert scrubbed("from Normal; Normal, IL", "address", "1 Oak Rd, Normal, IL") == "from [LOCATION]; [LOCATION]"


@pytest.mark.parametrize(
    ("stated", "written"),
    [
        (
            "Mercy General Hospital",
            ["Mercy General Hospital", "MERCY GENERAL HOSP", "mercy general hospital", "Mercy General", "MGH"],
        ),
        ("St. Mary's Medical Center", ["Saint Marys Medical Centre", "St Mary's", "st. mary's"]),
        ("Cedars-Sinai Medical Center", ["Cedars Sinai", "CEDARS-SINAI"]),
        ("Quixley Clinic", ["Quixley", "quixley clinic"]),
        ("Hope Clinic", ["Hope Clinic", "Hope"]),
    ],
)
def test_facility_is_removed_with_and_without_its_kind(stated: str, written: list[str]) -> None:
    """People say Mercy General for Mercy General Hospital."""
    for name in written:
        assert scrubbed(f"Seen at {name} today", "facility", stated) == "Seen at [FACILITY] today"


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ("Mercy General Hospital", "General hospital; a mercy; general; Hospital"),
        ("Emergency Department", "To the Emergency Department."),
        ("ICU", "In the ICU."),
        ("Cardiology", "Cardiology was called."),
        ("Hope Clinic", "I hope so. Hope is all."),
        ("Mountain Regional Institute", "An MRI."),
    ],
)
def test_words_that_name_no_place_are_kept(stated: str, text: str) -> None:
    """Every hospital report names departments."""
    assert scrubbed(text, "facility", stated) == text
