"""Known names, and the same letters as ordinary words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets_tests.phi.partial_scrub import scrubbed

STATED = [
    "DOE^JOHN^A",
    "Doe, John A.",
    "John A. Doe",
    "Dr. John A. Doe, MD, PhD",
    "8812^DOE^JOHN^A^^DR",
    "doe^john^a~DOE^JOHNNY",
]
WRITTEN = [
    "John Doe",
    "john doe",
    "JOHN DOE",
    "Doe, John",
    "DOE, JOHN A.",
    "John A. Doe",
    "John A Doe",
    "J. Doe",
    "J. A. Doe",
    "J.A. Doe",
    "j. doe",
    "DOE^JOHN^A",
    "Doe_John",
    "JohnDoe",
    "doejohn",
    "Doe",
    "doe",
    "John",
    "Doe's",
    "DOE’S",
    "J.D.",
    "J. D.",
    "JD",
    "J.A.D.",
    "JAD",
]


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize("written", WRITTEN)
def test_name_is_found_in_any_order_and_case(stated: str, written: str) -> None:
    """Systems state a name in one order; people write it in all others."""
    assert scrubbed(f"Seen: {written} today; {written}\nleft.", "name", stated) == "Seen: [NAME] today; [NAME]\nleft."


@pytest.mark.parametrize(
    ("stated", "written"),
    [
        (
            "Anna Smith-Jones",
            ["Smith-Jones", "Smith Jones", "SmithJones", "smithjones", "SMITH-JONES", "Smith-\nJones", "Jones"],
        ),
        ("SmithJones, Anna", ["Smith-Jones", "Smith Jones"]),
        ("José Núñez", ["Jose Nunez", "JOSÉ NÚÑEZ", "jose\u0301", "nunez’s", "Nuñez"]),
        ("Jose Nunez", ["José Núñez"]),
        ("Müller", ["Mueller", "Muller", "MÜLLER", "muellers"]),
        ("Mueller", ["Müller", "Muller"]),
        ("Anna Weiß", ["Weiss", "WEISS", "Weiß"]),
        ("Mary O'Brien", ["OBrien", "O’Brien", "obrien's", "O'BRIEN"]),
        ("Jan van der Berg", ["van der Berg", "Van Der Berg", "Vanderberg", "Berg", "Jan van der Berg"]),
        ("VAN DER BERG^JAN", ["Jan van der Berg", "J. van der Berg"]),
        ("Ron McDonald", ["Mc Donald", "MacDonald", "MCDONALD", "Mcdonald's"]),
        ("John Quixley", ["Quix-\nley", "quix-ley"]),
        ("Thomas James Quixley", ["T.J. Quixley", "TJ Quixley", "Thomas Quixley", "TJQ"]),
        ("John Ng", ["Ng", "John NG", "Ng’s"]),
        ("DO^MINH^A", ["Minh Do", "Do, Minh", "DO MINH"]),
        ("Robert (Bob) Quixley", ["Bob Quixley", "Bob"]),
    ],
)
def test_name_is_found_in_every_spelling(stated: str, written: list[str]) -> None:
    """Hyphens, accents and particles change between systems."""
    for name in written:
        assert scrubbed(f"I saw {name} today.", "name", stated) == "I saw [NAME] today."


def test_name_across_a_line_break_is_removed_from_both_lines() -> None:
    """The line break must stay, because recipes find sections by lines."""
    assert scrubbed("It was John\nQuixley, who left.", "name", "John Quixley") == "It was [NAME]\n[NAME], who left."


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ("Scott Good", "A good day; the doctor good or bad."),
        ("Will Long", "How long will it take? He will; a long time. The doctor will see him before long."),
        ("May Young", "A young man may go."),
        ("DO^MINH", "Do you smoke? do not, DO NOT."),
        ("Sam Heart", "HEART: regular.\nHeart: no murmur.\nThe heart is well."),
        ("Ann Graves", "Graves' disease, Graves disease, Graves’ ophthalmopathy."),
        ("John Murphy", "A negative Murphy's sign; Murphy sign."),
        ("James Parkinson", "Parkinson's disease and Wolff-Parkinson-White syndrome."),
        ("Tom Bell", "Bell's palsy; the bell."),
        ("Mary Davis", "M.D. and MD; the MD."),
        ("Paul Tanner", "PT, P.T., a tanner."),
        ("Carl Taylor", "A CT scan."),
        ("Tia Fey", "A TIA; no tia before."),
        ("John Ng", "An NG tube, ng tube."),
        ("Jan van der Berg", "A van; der; J."),
        ("John Doe", "JDx, J.D.x, MJD, x-JD, hdoe, Doer, do"),
        ("UNKNOWN^PHYSICIAN", "An unknown physician."),
        ("Patient, Test", "The patient had a test."),
        ("Self", "Referred by self."),
        ("Anda Lee", "He and a friend."),
    ],
)
def test_words_and_abbreviations_in_a_note_are_kept(stated: str, text: str) -> None:
    """Otherwise the word is lost for training, and the model learns to write [NAME] instead."""
    assert scrubbed(text, "name", stated) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good thinks it is good; scott good agrees.", "[NAME] thinks it is good; [NAME] agrees."),
        ("dr. good and doctor good came", "dr. [NAME] and doctor [NAME] came"),
        ("doctor good came, mister good left", "doctor [NAME] came, mister [NAME] left"),
        ("Dr. GOOD, Mr. Good's dog", "Dr. [NAME], Mr. [NAME] dog"),
    ],
)
def test_name_that_is_a_word_is_removed_only_as_a_name(text: str, expected: str) -> None:
    """Capitalised, after a title, or after the first name."""
    assert scrubbed(text, "name", "Scott Good") == expected


def test_words_in_an_all_capitals_dictation_are_kept() -> None:
    """Capitals carry no information there, but the full name, a title and a short header do."""
    text = "MR. LONG WILL COME BACK AFTER A LONG TIME.\nWILL LONG IS WELL AND WILL GO.\nPATIENT: LONG"
    assert scrubbed(text, "name", "Will Long") == (
        "MR. [NAME] WILL COME BACK AFTER A LONG TIME.\n[NAME] IS WELL AND WILL GO.\nPATIENT: [NAME]"
    )


def test_title_turns_an_eponym_into_a_person() -> None:
    """ "Dr. Graves' disease" is her disease."""
    assert scrubbed("Dr. Graves disease; Graves came", "name", "Ann Graves") == "Dr. [NAME] disease; [NAME] came"


def test_start_of_the_next_sentence_is_not_an_initial() -> None:
    """A and I start sentences."""
    assert (
        scrubbed("By John Doe. A scan. I saw John. I left", "name", "DOE^JOHN^A^I")
        == "By [NAME]. A scan. I saw [NAME]. I left"
    )


def test_two_people_stay_two_findings() -> None:
    """The audit counts findings."""
    assert scrubbed("Quixley, Quixley", "name", "Quixley") == "[NAME], [NAME]"


_SYLLABLES = st.lists(st.sampled_from(["zu", "qui", "vlo", "xar", "ßo", "ké", "ñi", "dro"]), min_size=3, max_size=4)
_WORDS = _SYLLABLES.map(lambda parts: "".join(parts).capitalize())
_FORMS = [
    "{g} {f}",
    "{f}, {g}",
    "{f}^{g}",
    "{f} {g}",
    "{g}-{f}",
    "{f}",
    "{g}",
    "{i}. {f}",
    "Dr. {f}",
    "{g}\n{f}",
    "{f}'s",
    "{g}{f}",
]
_CASES = [str, str.lower, str.title]


@given(_WORDS, _WORDS, st.sampled_from(_FORMS), st.sampled_from(_FORMS[:4]), st.sampled_from(_CASES))
def test_any_name_in_any_form_is_removed(given_name: str, family: str, form: str, stated: str, case: type[str]) -> None:
    """No list of examples covers all names."""
    value = stated.format(g=given_name, f=family) if "^" in stated or "," in stated else f"{given_name} {family}"
    text = case(f"Seen {form.format(g=given_name, f=family, i=given_name[0])} today")
    left = scrubbed(text, "name", value).lower()
    assert given_name.lower() not in left
    assert family.lower() not in left
    assert left.startswith("seen")
    assert left.endswith("today")
