"""A finding inside a code grows to the whole code, and no further."""

import pytest

from fine_tune_assets_tests.phi.recognizers.completion.completed_text import complete


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("Roll No. MAH/2917/2009:", "2917/2009", "Roll No. [ID]:"),
        ("Roll No. KAR/1184/2014.", "/1184/2014", "Roll No. [ID]."),
        ("Logged as #WR-2024-00318, open", "WR-2024-00318", "Logged as [ID], open"),
        ("Ticket #CC-58206 is open.", "58206", "Ticket [ID] is open."),
        ("plan ISA-2214-0098-Q. I asked", "ISA-2214-0098", "plan [ID]. I asked"),
        ("plan HAP/ISA/0062-8359, NI", "0062-8359", "plan [ID], NI"),
        ("parcel 35950-M, lot", "35950", "parcel [ID], lot"),
        ("ref 77120/BRK_09 applies", "77120", "ref [ID] applies"),
        ("Case CB#2026/1182-F, agent", "2026/1182-F", "Case [ID], agent"),
        ("Code K118.4471.", "4471", "Code [ID]."),
        ("dial-in code 885 263#.", "885 263", "dial-in code [ID]."),
        ("Our ref HWL/2291/jt", "HWL/2291", "Our ref [ID]"),
        ("MRN 4471882-B today", "4471882", "MRN [ID] today"),
        ("accession CT-24-118402.", "24-118402", "accession [ID]."),
        ("customer 8841 0927 3) and", "8841 0927", "customer [ID]) and"),
        ("OSIS 224 817 905. Plan", "817 905", "OSIS [ID]. Plan"),
    ],
)
def test_code_is_removed_as_a_whole(text: str, found: str, expected: str) -> None:
    """The year and the letters of a code find its file in a public register."""
    assert complete(text, (found, "ID")) == expected


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("number FR 83 528416092;", "83 528416092", "number [ID];"),
        ("lodged under COP 1388204T)", "1388204T", "lodged under [ID])"),
        ("petition W.P. No. 14482/2021 was", "14482/2021", "petition [ID] was"),
        ("appeal S.L.P. (C) No. 20981/2023 is", "20981/2023", "appeal [ID] is"),
        ("suit WP(C) No. 991/2024 raised", "991/2024", "suit [ID] raised"),
        ("client number K 30 0518.", "30 0518", "client number [ID]."),
        ("Driver lic. ... LA 006852039", "006852039", "Driver lic. ... [ID]"),
        ("application no. US 17/838,602).", "17/838,602", "application no. [ID])."),
        ("toque P 0417", "0417", "toque [ID]"),
        ("accession SO 21-118402.", "21-118402", "accession [ID]."),
        ("IPG NKF 602281 N, battery", "602281", "IPG [ID], battery"),
        ("plan MHN 40 228 117.", "40 228 117", "plan [ID]."),
    ],
)
def test_capitals_before_a_code_are_part_of_it(text: str, found: str, expected: str) -> None:
    assert complete(text, (found, "ID")) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MRN 12345, seen", "12345"),
        ("SSN 12345.", "12345"),
        ("ABA 026009593), or", "026009593"),
        ("UEN 201734882, buyer", "201734882"),
        ("EUR 12345 were paid", "12345"),
        ("CT 118402 was read", "118402"),
        ("NO. 12345", "12345"),
        ("PATIENT ACCOUNT LIST 12345", "12345"),
        ("See 12345.HPI follows", "12345"),
        ("12345-negative culture", "12345"),
        ("ID 12345/left knee", "12345"),
        ("ID 12345/ml", "12345"),
        ("MRN/12345", "12345"),
        ("Case #12345", "#12345"),
        ("ID 12345. Next", "12345"),
        ("ID 12345 6 weeks ago", "12345"),
        ("paid 100 817 905 in all", "817 905"),
        ("L4/5 and 12345", "12345"),
        ("He said I 12345", "12345"),
        ("Ref. No. 12345", "12345"),
    ],
)
def test_label_and_prose_next_to_a_code_stay(text: str, found: str) -> None:
    """The kind of a number, a currency and the punctuation of the sentence identify no one."""
    assert complete(text, (found, "ID")) == text.replace(found, "[ID]")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("clause 12.3/4471 EUR 500", "4471"),
        ("under Section 4/4471, the", "4471"),
    ],
)
def test_clause_number_next_to_a_code_stays(text: str, found: str) -> None:
    assert complete(text, (found, "ID"), domain="law").startswith(text[: text.index(found) - 1])


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("call (+974) 5555 0182 now", ["974) 5555 0182"], "call [PHONE] now"),
        ("call ((974) 5555 0182)", ["974) 5555 0182"], "call ([PHONE])"),
        ("call 06 - 555 01 273 now", ["06", "555 01 273"], "call [PHONE] now"),
        ("call 0171/448 20 91 now", ["0171", "448 20 91"], "call [PHONE] now"),
        ("call 555-0142/0199 now", ["555-0142"], "call [PHONE] now"),
        ("call 919.5550162.7 now", ["919.5550162"], "call [PHONE] now"),
        ("TEL 5550142 or 5550199", ["5550142", "5550199"], "TEL [PHONE] or [PHONE]"),
        ("5550142-home", ["5550142"], "[PHONE]-home"),
        ("5550142/RN", ["5550142"], "[PHONE]/RN"),
        ("5550142, 5550199", ["5550142", "5550199"], "[PHONE], [PHONE]"),
        ("215-555-0142 - 215-555-0199", ["215-555-0142", "215-555-0199"], "[PHONE] - [PHONE]"),
    ],
)
def test_telephone_number_grows_by_digits_only(text: str, found: list[str], expected: str) -> None:
    assert complete(text, *((value, "PHONE") for value in found)) == expected


@pytest.mark.parametrize(
    ("text", "found", "label"),
    [
        ("seen 3/14-stable", "3/14", "DATE"),
        ("a@example.org/RN", "a@example.org", "EMAIL"),
        ("aged 93-A", "93", "AGE"),
    ],
)
def test_other_kinds_are_not_codes(text: str, found: str, label: str) -> None:
    assert complete(text, (found, label)) == text.replace(found, f"[{label}]")


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("ref KTC.RL.20231108.gsl today", "KTC.RL.20231108", "ref [ID] today"),
        ("ref KTC.20231108.gs, open", "KTC.20231108", "ref [ID], open"),
        ("(HKID R385206(6))", "R385206", "(HKID [ID])"),
        ("(HKID AB385206(A))", "AB385206", "(HKID [ID])"),
        ("account XK-22917-A(3) was", "XK-22917-A", "account [ID] was"),
        ("MTG-24-022272-A now", "MTG-24-022272", "[ID] now"),
        ("file 22272/B now", "22272", "file [ID] now"),
        ("plate LX19 ZZV, VIN", "LX19", "plate [ID], VIN"),
        ("application no. TM 9940228 and", "9940228", "application no. [ID] and"),
        ("remitter no. RM 433546.", "433546", "remitter no. [ID]."),
        ("ref. XK 8841203", "8841203", "ref. [ID]"),
        ("reference: QZ 8841203", "8841203", "reference: [ID]"),
    ],
)
def test_tail_and_head_of_a_code_are_part_of_it(text: str, found: str, expected: str) -> None:
    assert complete(text, (found, "ID"), domain="law") == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ref 20231108.the next", "20231108"),
        ("clause 12(6)", "12"),
        ("ID 385206 (6)", "385206"),
        ("part X-12(6)", "X-12"),
        ("bay AB12 MRI today", "AB12"),
        ("ward LX19 ZZVQ", "LX19"),
        ("Full code. MRN 0093-4471", "0093-4471"),
        ("claim number USD 433546", "433546"),
        ("code ID 433546", "433546"),
        ("paid RM 433546", "433546"),
    ],
)
def test_sentence_after_a_code_and_label_before_it_stay(text: str, found: str) -> None:
    assert complete(text, (found, "ID")) == text.replace(found, "[ID]")
