"""Part of an address grows over the parts next to it, and stops at prose, labels and the end of a sentence."""

import pytest

from fine_tune_assets_tests.phi.recognizers.completion.completed_text import complete

N, F, L = "NAME", "FACILITY", "LOCATION"


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("at Kapelstraat 61 bus 3, 9000 Gent, to", [("Kapelstraat 61", L), ("9000 Gent", L)], "at [LOCATION], to"),
        ("at Ty Gwyn, 3 Heol y Felin, Llandysul", [("Ty Gwyn", L), ("Heol y Felin, Llandysul", L)], "at [LOCATION]"),
        ("at Ty Gwyn, 3 Heol Fawr, Bala LL1 1AA", [("3 Heol Fawr, Bala LL1 1AA", L)], "at [LOCATION]"),
        ("at The Old Forge, Mill Lane, Ely", [("Old Forge, Mill Lane, Ely", L)], "at [LOCATION]"),
        ("Rose Cottage, Back Lane, Ely YO18", [("Rose Cottage", N), ("Lane, Ely YO18", L)], "[LOCATION]"),
        ("r/o H. No. 418, Sector 35-B, Moga", [("Sector 35-B, Moga", L)], "r/o [LOCATION]"),
        ("to No. 88/2, 5th Cross, Moga West", [("88/2, 5th Cross, Moga West", L)], "to [LOCATION]"),
        ("Leopold, Mariengasse 4/2/11, 8020 Graz,", [("8020 Graz", L)], "Leopold, [LOCATION],"),
        ("Mariengasse 4/2/11, 8020 Graz,", [("Mariengasse", N), ("8020 Graz", L)], "[LOCATION],"),
        ("Lot 12, Jindalee Track, via Moga NSW 2830", [("Jindalee Track", L), ("Moga NSW", L)], "[LOCATION]"),
        ("in Flat 2, 40 Priory Gardens, Moga", [("40 Priory Gardens, Moga", L)], "in [LOCATION]"),
        ("at 8 Elm Road, Moga, H.K.\n", [("8 Elm Road, Moga, H.K", L)], "at [LOCATION]\n"),
        ("Elm 2, 1095 Lutry VD. He", [("Elm 2, 1095 Lutry", L)], "[LOCATION]. He"),
        ("Via Elm 18, 80131 Moga NA\n", [("Via Elm 18, 80131 Moga", L)], "[LOCATION]\n"),
        ("to Rm 1903B, 19 Elm Road, Moga", [("19 Elm Road, Moga", L)], "to [LOCATION]"),
        ("shop at no 14b Elm close, Moga", [("14b Elm close, Moga", L)], "shop at [LOCATION]"),
        ("86-14 Elm Ave in Moga, zip 11421", [("86-14 Elm Ave in Moga", L), ("11421", L)], "[LOCATION]"),
        ("Apt 4B, 117 Cedar St, Moga", [("117 Cedar St", L), ("Moga", L)], "[LOCATION]"),
        ("on 14 Beck View, Otley now", [("Beck View, Otley", L)], "on [LOCATION] now"),
        ("Via Roma 3, 40121 Moga (BO) |", [("Via Roma 3, 40121 Moga", L)], "[LOCATION] |"),
        ("Calle Pez 4, 2º izq., 28004 Moga", [("Calle Pez 4", L), ("28004 Moga", L)], "[LOCATION]"),
        ("12 allée des Mûriers, bât. C, 67400 Moga", [("Mûriers", L), ("67400 Moga", L)], "[LOCATION]"),
        ("1 Elm Row,\nBy Moga PA23 9XX", [("Moga", N), ("PA23 9XX", L)], "1 Elm Row,\n[LOCATION]"),
        ("85 Elm Row, Moga, A92 Z486 and", [("85 Elm Row, Moga", L), ("A92 Z486", "ID")], "[LOCATION] and"),
        ("at 12 Elm Row, Moga.", [("12 Elm Row", L)], "at [LOCATION]."),
        ("at 12 Elm Row Apt 4, call", [("12 Elm Row", L)], "at [LOCATION], call"),
        ("at 12 Elm Row, Moga YO18 7RW.", [("12 Elm Row", L)], "at [LOCATION]."),
        ("at C/ San Roque 14, 48005 Moga", [("Roque 14, 48005 Moga", L)], "at [LOCATION]"),
        ("Deichweg 7-9, Hs. 3, 25813 Moga", [("Deichweg", N), ("Hs. 3, 25813 Moga", L)], "[LOCATION]"),
        ("ul. Polna 12 m. 4, 30-001 Moga", [("ul. Polna", L), ("Moga", L)], "[LOCATION]"),
        ("at Olmo 3, bajo izq., 41003 Moga", [("Olmo 3", L), ("41003 Moga", L)], "at [LOCATION]"),
    ],
)
def test_address_is_removed_as_a_whole(text: str, found: list[tuple[str, str]], expected: str) -> None:
    """The name of a house or the number of a flat completes an address that can be looked up."""
    assert complete(text, *found) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("lease 8 Elm Road, RM 3,200 per month", [("8 Elm Road", L)], "lease [LOCATION], RM 3,200 per month"),
        ("the “Premises”, 12 Elm Road", [("12 Elm Road", L)], "the “Premises”, [LOCATION]"),
        ('replied "Yes", 12 Elm Road', [("12 Elm Road", L)], 'replied "Yes", [LOCATION]'),
        ("the O'Briens', 12 Elm Road", [("12 Elm Road", L)], "the O'Briens', [LOCATION]"),
        ("there is no 14 Elm Road, Moga", [("14 Elm Road, Moga", L)], "there is no [LOCATION]"),
        ("8 Elm Road, 10115 Berlin ED, stable", [("8 Elm Road, 10115 Berlin", L)], "[LOCATION] ED, stable"),
        ("at 8 Elm Road, U.K. Then", [("8 Elm Road, U.K", L)], "at [LOCATION]. Then"),
        ("From Moga, Ohio to us.", [("Moga", L), ("Ohio", L)], "From [LOCATION], [LOCATION] to us."),
        ("in Moga, Room 4, Bed 2", [("Moga", L)], "in [LOCATION], Room 4, Bed 2"),
        ("at 12 Elm Row. Penmoor is far", [("12 Elm Row", L), ("Penmoor", L)], "at [LOCATION]. [LOCATION] is far"),
        ("at 12 Elm Row, Denies pain", [("12 Elm Row", L)], "at [LOCATION], Denies pain"),
        ("at 12 Elm Row, Aspirin, Plavix", [("12 Elm Row", L)], "at [LOCATION], Aspirin, Plavix"),
        ("at 12 Elm Row, BP 120/80", [("12 Elm Row", L)], "at [LOCATION], BP 120/80"),
        ("Address: 12 Elm Row", [("12 Elm Row", L)], "Address: [LOCATION]"),
        ("Labs pending, 12 Elm Row", [("12 Elm Row", L)], "Labs pending, [LOCATION]"),
        ("Patient, 12 Elm Row", [("12 Elm Row", L)], "Patient, [LOCATION]"),
        ("12 Elm Row in Penmoor", [("12 Elm Row", L), ("Penmoor", L)], "[LOCATION] in [LOCATION]"),
        ("on Elm Ave near Penmoor", [("Elm Ave", L), ("Penmoor", L)], "on [LOCATION] near [LOCATION]"),
        ("took 12, Penmoor", [("Penmoor", L)], "took 12, [LOCATION]"),
        ("L4/5, Penmoor", [("Penmoor", L)], "L4/5, [LOCATION]"),
        ("Moga AQ 78, Frenchay normal", [("Moga AQ", L)], "[LOCATION] 78, Frenchay normal"),
        ("The Penmoor Hall was founded", [("Penmoor Hall", F)], "The [FACILITY] was founded"),
        ("At Penmoor Clinic, 12 Elm Row", [("Penmoor Clinic", F), ("12 Elm Row", L)], "At [FACILITY], [LOCATION]"),
        ("Dear Dr Quixley, 1 Elm Row", [("Dr Quixley, 1 Elm Row", L)], "Dear [LOCATION]"),
        ("1817, 1837 and 1868", [("1817", L), ("1837", L)], "[LOCATION], [LOCATION] and 1868"),
        ("at Elm Sea. Spanning 10,990 m", [("Elm Sea", L), ("990", L)], "at [LOCATION]. Spanning 10,[LOCATION] m"),
        ("Quixley, 12 Elm Row", [("Quixley", N), ("12 Elm Row", L)], "[NAME], [LOCATION]"),
        ("Moga\nRoom 4", [("Moga", L)], "[LOCATION]\nRoom 4"),
        ("12 Elm Row\nMetoprolol", [("12 Elm Row", L)], "[LOCATION]\nMetoprolol"),
        ("12 Elm Row, 25 mg daily", [("12 Elm Row", L)], "[LOCATION], 25 mg daily"),
        ("12 Elm Row 4/5 pain", [("12 Elm Row", L)], "[LOCATION] 4/5 pain"),
    ],
)
def test_prose_next_to_an_address_stays(text: str, found: list[tuple[str, str]], expected: str) -> None:
    assert complete(text, *found) == expected


@pytest.mark.parametrize(
    "text",
    ["The Tenant of 12 Elm Row pays", "Landlord, 12 Elm Row", "12 Elm Row, Governing Law", "12 Elm Row, Schedule 2"],
)
def test_words_of_a_contract_next_to_an_address_stay(text: str) -> None:
    assert complete(text, ("12 Elm Row", L), domain="law") == text.replace("12 Elm Row", "[LOCATION]")


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        (
            "at 12 Rosmarinstraat, Moga, 7195 now",
            [("12", L), ("Rosmarinstraat, Moga", N), ("7195", L)],
            "at [LOCATION] now",
        ),
        (
            "is at Rosenstr. 7, Hinterhaus, 10799 Moga",
            [("Rosenstr", F), ("7", "PHONE"), ("10799 Moga", L)],
            "is at [LOCATION]",
        ),
        ("lives at Tre, Gwy, Moga, TR27 5QQ.", [("Tre, Gwy, Moga", N), ("TR27 5QQ", L)], "lives at [LOCATION]."),
        ("Cloon Upper, Co. Moga, V93 X2X2", [("Cloon Upper, Co", F), ("Moga", N), ("V93 X2X2", L)], "[LOCATION]"),
        (
            "12 rue Haute, bureau 3, Moga (Qc) J9Z 9Z9",
            [("12 rue Haute", L), ("Moga", N), ("Qc", L), ("J9Z 9Z9", L)],
            "[LOCATION]",
        ),
        ("Rosenstr. 4, Gartenhaus, 10799 Moga", [("Rosenstr. 4", L), ("10799 Moga", L)], "[LOCATION]"),
        ("Carrer Nou 3, àtic 2a, 08999 Moga", [("Carrer Nou 3", L), ("2a, 08999 Moga", L)], "[LOCATION]"),
        (
            "at 85 Elm Sallows, Moga, A92 Z486",
            [("85", L), ("Elm", F), ("Sallows, Moga", N), ("A92 Z486", L)],
            "at [LOCATION]",
        ),
        ("4 impasse des Quix, appt. 12, 31999 Moga", [("Quix", N), ("31999", "ID"), ("Moga", N)], "[LOCATION]"),
        ("in Quixgasse 2a, 3. OG links, 97070 Moga", [("Quixgasse", N), ("97070 Moga", L)], "in [LOCATION]"),
        ("c/ Quix 318, esc. B, 3r 2a, 08999 Moga;", [("Quix", N), ("2a, 08999 Moga", L)], "[LOCATION];"),
        ("at Lieu-dit Quix, 56999 Moga", [("Lieu-dit", L), ("Quix", N), ("56999 Moga", L)], "at [LOCATION]"),
        (
            "Mrs Bo, Llanquix, Moga LL40 9ZZ",
            [("Mrs Bo", N), ("Llanquix", N), ("Moga LL40 9ZZ", L)],
            "[NAME], [LOCATION]",
        ),
        ("at Cloonquix Upper, Moga, V93 X2X2", [("Moga, V93 X2X2", L)], "at [LOCATION]"),
    ],
)
def test_parts_of_an_address_up_to_its_post_code_are_one(
    text: str, found: list[tuple[str, str]], expected: str
) -> None:
    """The tagger finds a street as a person and a house number as a telephone number."""
    assert complete(text, *found) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Bo Quixley, 12 Elm Row, Moga LS1 4AP", [("Bo Quixley", N), ("12 Elm Row, Moga LS1 4AP", L)]),
        ("Bo Quixley, Moga LS1 4AP", [("Bo Quixley", N), ("Moga LS1 4AP", L)]),
        ("Bo Quixley, LS1 4AP", [("Bo Quixley", N), ("LS1 4AP", L)]),
        ("Penmoor Hospital, 12 Elm Row, LS1 4AP", [("Penmoor Hospital", F), ("12 Elm Row, LS1 4AP", L)]),
        ("Quixley, Penrose, Moga", [("Quixley", N), ("Penrose", N), ("Moga", L)]),
        ("Moga, Penmoor, 2019", [("Moga", L), ("Penmoor", L)]),
        ("Bo, Anna, Moga LL40 9ZZ", [("Bo", N), ("Anna", N), ("Moga LL40 9ZZ", L)]),
        ("Quixley 3, OG, 97070", [("Quixley", N), ("97070", "ID")]),
        ("Denies pain, Moga, V93 X2X2", [("Moga, V93 X2X2", L)]),
        ("Moga, Quixley, 7195", [("Moga", L), ("Quixley", N), ("7195", "ID")]),
        ("Moga\n12, 7195", [("Moga", L), ("12", L), ("7195", L)]),
    ],
)
def test_findings_that_are_not_one_address_stay_apart(text: str, found: list[tuple[str, str]]) -> None:
    """A person before an address keeps a finding of their own."""
    expected = text
    for value, label in found:
        expected = expected.replace(value, f"[{label}]", 1)
    assert complete(text, *found) == expected


@pytest.mark.parametrize(
    "unit",
    ["3F2", "2/1", "GF1", "Level 2", "Kiosk 7", "Pitch 7", "Harbour Stall 7", "Unit 4B", "Old No. 17, New No. 42"],
)
def test_part_of_a_building_before_a_house_number_is_part_of_the_address(unit: str) -> None:
    address = "Elm Lane, Moga 0199" if "No." in unit else "88 Reed Quay, Moga 0199"
    assert complete(f"to {unit}, {address} now", (address, L)) == "to [LOCATION] now"


@pytest.mark.parametrize(
    "before",
    [
        "Clause 4",
        "Table 4",
        "On May 12",
        "took 12",
        "BP 120/80",
        "disc at L4",
        "strength 4/5",
        "Schedule 2",
        "Grade 3",
        "Weight 72",
        "On Mai 3",
    ],
)
@pytest.mark.parametrize("domain", ["law", "clinical"])
def test_other_numbers_before_a_house_number_stay(before: str, domain: str) -> None:
    text = f"{before}, 88 Reed Quay, Moga"
    assert complete(text, ("88 Reed Quay, Moga", L), domain=domain) == f"{before}, [LOCATION]"
