"""Part of a name grows to the whole name; the words around it stay."""

import pytest

from fine_tune_assets_tests.phi.recognizers.completion.completed_text import complete

N, F, L = "NAME", "FACILITY", "LOCATION"


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("Gethin ap Rhys signed.", [("Gethin", N), ("Rhys", N)], "[NAME] signed."),
        ("Johan van der Berg left.", [("Johan", N), ("Berg", N)], "[NAME] left."),
        ("Ana de la Cruz left.", [("Ana", N), ("Cruz", N)], "[NAME] left."),
        ("Khalid bin Faisal left.", [("Khalid", N), ("Faisal", N)], "[NAME] left."),
        ("Willem 't Hart left.", [("Willem", N), ("Hart", N)], "[NAME] left."),
        ("Lotte op den Kamp left.", [("Lotte", N), ("Kamp", L)], "[NAME] left."),
        ("Nia ferch Llywelyn left.", [("Nia", N), ("Llywelyn", N)], "[NAME] left."),
        ("Seen by van der Berg.", [("Berg", N)], "Seen by [NAME]."),
        ("Seen by P. van Houten.", [("Houten", N)], "Seen by [NAME]."),
        ("Dr. Ruiz-Calderon came.", [("Ruiz", N)], "Dr. [NAME] came."),
        ("Dr. Ruiz-Calderon came.", [("Calderon", N)], "Dr. [NAME] came."),
        ("Ordered by: Ruiz, P\n", [("Ruiz", N)], "Ordered by: [NAME]\n"),
        ("Billy Thibodeaux Jr.\nPremises", [("Billy Thibodeaux Jr", N)], "[NAME]\nPremises"),
        ("Billy Thibodeaux, Jr., agreed", [("Billy Thibodeaux", N)], "[NAME], agreed"),
        ("Bo Landry Snr agreed", [("Bo Landry", N)], "[NAME] agreed"),
        ("Robert Fontenot III agreed", [("Robert Fontenot", N)], "[NAME] agreed"),
        ("Tomasz & B. Grzybowski left", [("Tomasz", N), ("B", N), ("Grzybowski", N)], "[NAME] & [NAME] left"),
        ("Fitzmaurice, T. K.\n", [("Fitzmaurice, T. K", N)], "[NAME]\n"),
        ("1. Mohd. Iqbal Ansari, of", [("Iqbal Ansari", N)], "1. [NAME], of"),
        ("Mme Solène Le Goff ép. N'Diaye", [("Solène Le Goff", N), ("N'Diaye", N)], "Mme [NAME]"),
        ("María Fdez. de la Vega signed", [("María Fdez", N), ("de la Vega", N)], "[NAME] signed"),
        ("Reviewer | von Rabenau, Ulrike\n", [("von Rabenau", N)], "Reviewer | [NAME]\n"),
        ("COMPLAINT\n\nGarcia, Maria\n", [("Maria", N)], "COMPLAINT\n\n[NAME]\n"),
        ("Beneficiary  Villaseñor, Iker\n", [("Villaseñor", N), ("Iker", N)], "Beneficiary  [NAME]\n"),
        ("Beneficiary  d'Aubigny, Anna\n", [("d'Aubigny", N), ("Anna", N)], "Beneficiary  [NAME]\n"),
        ("Robert Corkum II\n", [("Robert Corkum", N)], "[NAME]\n"),
        ("Goh Kim Huat @ Ricky Goh paid", [("Goh Kim Huat", N), ("Ricky Goh", N)], "[NAME] paid"),
        ("RM: Shanti d/o Muthusamy", [("Shanti d", N), ("Muthusamy", N)], "RM: [NAME]"),
        ("by Quốc Bảo Phạm today", [("Bảo Phạm", N)], "by [NAME] today"),
        ("Quang Minh Trinh, 47M", [("Minh", N)], "[NAME] Trinh, 47M"),
        ("agent r.silva_2 wrote", [("r.silva", N)], "agent [NAME] wrote"),
    ],
)
def test_name_is_removed_as_a_whole(text: str, found: list[tuple[str, str]], expected: str) -> None:
    """A particle, a suffix or half of a double name narrows a list of people down."""
    assert complete(text, *found) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("Quixley and Penrose left.", [("Quixley", N), ("Penrose", N)], "[NAME] and [NAME] left."),
        ("Quixley in Penmoor left.", [("Quixley", N), ("Penmoor", L)], "[NAME] in [LOCATION] left."),
        ("a Quixley-led team", [("Quixley", N)], "a [NAME]-led team"),
        ("Quixley-Patient notes", [("Quixley", N)], "[NAME]-Patient notes"),
        ("Pre-Quixley era", [("Quixley", N)], "Pre-[NAME] era"),
        ("Dr. Quixley IV fluids given", [("Quixley", N)], "Dr. [NAME] IV fluids given"),
        ("Dr. Quixley III/VI murmur", [("Quixley", N)], "Dr. [NAME] III/VI murmur"),
        ("APACHE III score", [("APACHE", N)], "[NAME] III score"),
        ("Patient Quixley came", [("Quixley", N)], "Patient [NAME] came"),
        ("Plavix Quixley came", [("Quixley", N)], "Plavix [NAME] came"),
        ("Will Quixley come?", [("Quixley", N)], "Will [NAME] come?"),
        ("Miss Quixley. I am Doctor Penrose", [("Quixley", N), ("Penrose", N)], "Miss [NAME]. I am Doctor [NAME]"),
        ("Quixley. Van der", [("Quixley", N)], "[NAME]. Van der"),
        ("Seen by Quixley, R knee pain", [("Quixley", N)], "Seen by [NAME], R knee pain"),
        ("Quixley, Ulrike and Anna left", [("Quixley", N)], "[NAME], Ulrike and Anna left"),
        ("Dear Penrose, Ulrike, call us", [("Ulrike", N)], "Dear Penrose, [NAME], call us"),
        ("lives in Boston, Ma. Quixley called", [("Quixley", N)], "lives in Boston, Ma. [NAME] called"),
        ("came from Baltimore, Md. Penrose", [("Penrose", N)], "came from Baltimore, Md. [NAME]"),
        ("Quixley s/p Penrose drain", [("Quixley", N), ("Penrose", N)], "[NAME] s/p [NAME] drain"),
        ("Dr Quixley II degree block", [("Quixley", N)], "Dr [NAME] II degree block"),
        ("Quixley II, III, aVF", [("Quixley", N)], "[NAME] II, III, aVF"),
        ("Signed by Quixley, R. Seen", [("Quixley, R", N)], "Signed by [NAME]. Seen"),
        ("by Quixley P. Penrose saw", [("Quixley P", N), ("Penrose", N)], "by [NAME]. [NAME] saw"),
        ("Role: Quixley, Geschäftsführer;", [("Quixley", N)], "Role: [NAME], Geschäftsführer;"),
        ("Quixley PC 12", [("Quixley", N)], "[NAME] PC 12"),
    ],
)
def test_words_next_to_a_name_stay(text: str, found: list[tuple[str, str]], expected: str) -> None:
    assert complete(text, *found) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("Papaya Orbit Pte. Ltd. (UEN", ("Papaya Orbit Pte", F), "[FACILITY] (UEN"),
        ("Sahyadri Pvt. Ltd. sued", ("Sahyadri", F), "[FACILITY] sued"),
        ("Kestrel Mooring Sdn. Bhd. sued", ("Kestrel Mooring", F), "[FACILITY] sued"),
        ("OSPREY SYSTEMS, INC. IS LIABLE", ("OSPREY SYSTEMS", F), "[FACILITY] IS LIABLE"),
        ("Feinblum Ostrow PC, cell", ("Feinblum Ostrow", F), "[FACILITY], cell"),
        ("Redgrave Estates (No. 4) Limited, a", ("Redgrave Estates", L), "[LOCATION], a"),
        ("Quixley Holdings GmbH sued", ("Quixley Holdings", N), "[NAME] sued"),
        ("Penmoor Clinic. He left", ("Penmoor Clinic", F), "[FACILITY]. He left"),
        ("Penmoor Clinic, Limited mobility", ("Penmoor", F), "[FACILITY] Clinic, Limited mobility"),
        ("Penmoor AG 12", ("Penmoor", L), "[LOCATION] AG 12"),
    ],
)
def test_form_of_a_company_is_part_of_its_name(text: str, found: tuple[str, str], expected: str) -> None:
    assert complete(text, found) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("née le 23 février 1961, à", "1961", "née le [DATE], à"),
        ("née le 23 février 1961, à", "23 février", "née le [DATE], à"),
        ("nacido el 4 de mayo de 1958.", "1958", "nacido el [DATE]."),
        ("geboren am 3. März 1970 in", "3. März", "geboren am [DATE] in"),
        ("urodzony 7 lipca 1966 w", "1966", "urodzony [DATE] w"),
        ("He marched in mars 1961.", "1961", "He marched in mars [DATE]."),
        ("In 1961 he", "1961", "In [DATE] he"),
        ("on 4 mai 12 people", "4 mai", "on [DATE] 12 people"),
    ],
)
def test_date_with_a_month_of_another_language_is_whole(text: str, found: str, expected: str) -> None:
    assert complete(text, (found, "DATE"), domain="law") == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Bo "Lee" Quixley', ["Bo", "Quixley"]),
        ('Bo "Sunny" Quixley', ["Bo", "Quixley"]),
        ('Bo ("Lee") Quixley', ["Bo", "Quixley"]),
        ("B.J. (Lee) Quixley", ["B.J.", "Lee", "Quixley"]),
        ("B.J. (Leentje) Quixley", ["B.J.", "Quixley"]),
        ("Bo “Lee” van Quixley", ["Bo", "Lee", "Quixley"]),
        ("Bo [Lee] Quixley", ["Bo", "Lee", "Quixley"]),
        ("Anna Quixley i Roca", ["Anna Quixley", "Roca"]),
        ("Anna Quixley y Roca", ["Anna Quixley", "Roca"]),
        ("Prema d/o Suppiah", ["Prema", "Suppiah"]),
        ("Ravi s/o Suppiah", ["Ravi", "Suppiah"]),
        ("Ravi a/l Suppiah", ["Ravi", "Suppiah"]),
        ("Devi a/p Suppiah", ["Devi", "Suppiah"]),
        ("Quách Thị Mỹ Duyên", ["Quách Thị"]),
        ("Quốc Bảo Vo", ["Quốc Bảo"]),
        ("Anna Quixley Nguyễn", ["Anna Quixley"]),
        ("benny.osull", ["benny"]),
        ("benny.osull", ["osull"]),
        ("b.osull", ["osull"]),
    ],
)
def test_name_with_a_nickname_or_a_relation_is_whole(text: str, found: list[str]) -> None:
    """The brackets around a nickname and the particle of a family show which names belong together."""
    assert complete(f"{text} signed.", *((value, N) for value in found)) == "[NAME] signed."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Quixley (Penrose) said", ["Quixley", "Penrose"]),
        ("Quixley (cardiology) Penrose", ["Quixley", "Penrose"]),
        ("Quixley (mother) Penrose", ["Quixley", "Penrose"]),
        ("Quixley c/o Penrose", ["Quixley", "Penrose"]),
        ("Quixley i agree", ["Quixley"]),
        ("Quixley Bảo", []),
        ("quixley.patient denies", ["quixley"]),
        ("Quốc Bảo Patient wrote", ["Quốc Bảo"]),
    ],
)
def test_words_in_brackets_and_ordinary_words_are_not_part_of_a_name(text: str, found: list[str]) -> None:
    expected = text
    for value in found:
        expected = expected.replace(value, "[NAME]", 1)
    assert complete(text, *((value, N) for value in found)) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("Member: Nguyen, Thanh Hoang; routing", [("Nguyen", F), ("Thanh Hoang", F)], "Member: [NAME]; routing"),
        ("Quixley, Anna\n", [("Quixley", N), ("Anna", N)], "[NAME]\n"),
        ("Applicant: Quixley, Anna Maria (DOB 3", [("Quixley", N), ("Anna Maria", N)], "Applicant: [NAME] (DOB 3"),
        ("left; Quixley, Anna-Maria; right", [("Quixley", N), ("Anna-Maria", N)], "left; [NAME]; right"),
        ("Quixley, Anna and Bo left", [("Quixley", N), ("Anna", N), ("Bo", N)], "[NAME], [NAME] and [NAME] left"),
        ("Here: Quixley, Anna, Bo", [("Quixley", N), ("Anna", N), ("Bo", N)], "Here: [NAME], [NAME], [NAME]"),
        ("we met Quixley, Anna; then", [("Quixley", N), ("Anna", N)], "we met [NAME], [NAME]; then"),
        ("Here: Anna, Maria; all", [("Anna", N), ("Maria", N)], "Here: [NAME], [NAME]; all"),
        ("Bo Quixley, Anna; all", [("Bo Quixley", N), ("Anna", N)], "[NAME], [NAME]; all"),
        ("Penmoor, Anna Quixley;", [("Penmoor", L), ("Anna Quixley", N)], "[LOCATION], [NAME];"),
    ],
)
def test_surname_and_given_name_alone_in_a_field_are_one_person(
    text: str, found: list[tuple[str, str]], expected: str
) -> None:
    """A list of persons stays a list."""
    assert complete(text, *found) == expected


def test_nickname_before_a_surname_that_was_found_as_a_place_is_part_of_the_name() -> None:
    text = 'Adv. Bo ("Lee") Quixley, Moga.'
    assert complete(text, ("Bo", N), ("Lee", N), ("Quixley, Moga", L)) == "Adv. [NAME]."


def test_region_in_brackets_is_not_a_nickname() -> None:
    assert complete("in Moga (Quebec) for", ("Moga", N), ("Quebec", L)) == "in [NAME] ([LOCATION]) for"
