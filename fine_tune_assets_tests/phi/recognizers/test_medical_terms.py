"""What the tagger takes for an identifier because it has the form of one: masking it ruins what is trained on."""

import pytest

from fine_tune_assets.core.word_lists import pack_words
from fine_tune_assets.phi.recognizers.medical_terms import abbreviations, is_no_day, named_terms
from fine_tune_assets.phi.recognizers.plausibility import plausible
from fine_tune_assets.phi.spans.spans import Span


def kept(text: str, *found: tuple[str, str], rule: str = "tagger") -> list[str]:
    spans = [Span(text.index(v), text.index(v) + len(v), label, rule, 0.99) for v, label in found]
    return [text[s.start : s.end] for s in plausible(text, spans)]


@pytest.mark.parametrize(
    ("text", "value", "label"),
    [
        ("Continue Zetia and rest.", "Zetia", "NAME"),
        ("Coreg, Entresto daily", "Coreg, Entresto", "NAME"),
        ("Carbidopa-levodopa tid", "Carbidopa-levodopa", "NAME"),
        ("Moved to PACU well.", "PACU", "FACILITY"),
        ("aPTT 33 today", "aPTT 33", "LOCATION"),
        ("Barthel index 80", "Barthel", "NAME"),
        ("Positive Quixley sign.", "Quixley", "NAME"),
        ("Quixley III fracture", "Quixley", "LOCATION"),
        ("Ranson 3 at 48 h", "Ranson", "NAME"),
        ("Mallampati II, easy", "Mallampati II", "NAME"),
        ("67F with cough", "67F", "LOCATION"),
        ("Quill, PGY3", "PGY3", "LOCATION"),
        ("arrived at 0640 today", "0640", "PHONE"),
        ("seen 2/11/24 2015 by us", "2015", "MRN"),
        ("IOP 17/31 today", "17/31", "DATE"),
        ("ABG 31/34/68/17 now", "31/34/68/17", "DATE"),
        ("stent 6x26 placed", "6x26", "DATE"),
        ("clinic at 4pm", "4pm", "DATE"),
        ("aide is there 24/7", "24/7", "DATE"),
        ("tablets 10-325 daily", "10-325", "DATE"),
        ("call 988 at any hour", "988", "PHONE"),
        ("moved here from Montana.", "Montana", "LOCATION"),
        ("seen Fri, better", "Fri", "NAME"),
        ("H&P by the resident", "H&P", "NAME"),
        ("Anna Quixley    Sex: F", "Sex", "NAME"),
    ],
)
def test_what_is_plainly_medical_is_taken_back(text: str, value: str, label: str) -> None:
    """The list or the form is certain; the tagger is not."""
    assert kept(text, (value, label)) == []


@pytest.mark.parametrize(
    ("text", "value", "label"),
    [
        ("Seen by Dr. Zetia today.", "Zetia", "NAME"),
        ("Signed: MICU", "MICU", "NAME"),
        ("Dr. Ranson 3 times", "Ranson", "NAME"),
        ("Quixley agreed.", "Quixley", "NAME"),
        ("Anna Quixley test results", "Anna Quixley", "NAME"),
        ("DOB 0412 written", "0412", "DATE"),
        ("pager 1620 today", "1620", "PHONE"),
        ("call us at 0640 now", "0640", "PHONE"),
        ("seen 3/14 well", "3/14", "DATE"),
        ("seen 25/12 well", "25/12", "DATE"),
        ("expires 11/26 then", "11/26", "DATE"),
        ("seen 14.3.2021 well", "14.3.2021", "DATE"),
        ("aged 97F", "97F", "AGE"),
        ("moved here from Billings, Montana", "Billings, Montana", "LOCATION"),
        ("Quixley: I am well.", "Quixley", "NAME"),
    ],
)
def test_what_may_be_an_identifier_is_kept(text: str, value: str, label: str) -> None:
    """A title, a signature or a calendar makes it one."""
    assert kept(text, (value, label)) == [value]


def test_a_scale_is_kept_if_somebody_of_its_name_is_in_the_report() -> None:
    """Braden the patient must not stay because of Braden the scale."""
    text = "Anna Braden came. Braden 19 today."
    at = text.rindex("Braden")
    spans = [Span(0, 11, "NAME", "tagger", 0.9), Span(at, at + 6, "NAME", "tagger", 0.9)]
    assert list(plausible(text, spans)) == spans
    assert list(plausible(text, spans[1:])) == []


def test_a_rule_is_not_doubted() -> None:
    """It has its context."""
    assert kept("Mr. Ranson 3 times", ("Ranson", "NAME"), rule="title_name") == ["Ranson"]


@pytest.mark.parametrize("value", ["24/26", "5/325", "1/138/105/22", "13/14", "22/18/14", "0330", "4 p.m."])
def test_no_calendar_has_such_a_day(value: str) -> None:
    """Doses, pressures and times have slashes and dots too."""
    assert is_no_day(value)


@pytest.mark.parametrize("value", ["1/2", "31/1", "12/24", "3/2024", "1/2/24", "13.1.2024", "2024/1/13", "2011"])
def test_a_day_in_any_order_is_one(value: str) -> None:
    """Reports of other countries begin with the day or the year."""
    assert not is_no_day(value)


def test_the_lists_are_clean() -> None:
    """A medicine in capitals or an abbreviation of two letters would never, or too often, be met."""
    assert all(word == word.lower() for word in pack_words("medicines") | named_terms())
    assert all(len(word) > 2 for word in abbreviations())


@pytest.mark.parametrize(
    ("text", "found", "left"),
    [
        ("Seen by Anna Quixley, MD today", "Anna Quixley, MD", "Anna Quixley"),
        ("Signed Anna Quixley PA-C", "Anna Quixley PA-C", "Anna Quixley"),
        ("Anna Do came", "Anna Do", "Anna Do"),
    ],
)
def test_a_degree_is_no_part_of_a_name(text: str, found: str, left: str) -> None:
    """It tells nobody, and a model should learn to write it."""
    assert kept(text, (found, "NAME")) == [left]


@pytest.mark.parametrize(
    ("text", "value", "rule"),
    [
        ("left cyst, Bosniak I. Next", "Bosniak I.", "name_with_initial"),
        ("FH: mother HCC at 62", "HCC", "relative_name"),
        ("Lasix 40 IV BID, Crestor 20", "BID", "surname_first"),
    ],
)
def test_a_term_in_the_place_of_a_name_is_taken_back(text: str, value: str, rule: str) -> None:
    """Of the rules by which any capitalised word in the right place is a name."""
    assert kept(text, (value, "NAME"), rule=rule) == []
    assert kept("Wilson Q. came", ("Wilson Q.", "NAME"), rule="name_with_initial") == ["Wilson Q."]


def test_a_person_with_a_degree_is_no_town_of_maryland() -> None:
    """The degree would go with the "town", and the surrogate would be one."""
    text = "Seen by Anna Quixley, MD today"
    spans = [Span(8, 24, "LOCATION", "city_state", 0.75), Span(8, 24, "NAME", "person_and_degree", 0.76)]
    assert [(text[s.start : s.end], s.label) for s in plausible(text, spans)] == [("Anna Quixley", "NAME")]
    assert [s.label for s in plausible(text, spans[:1])] == ["LOCATION"]


def test_a_time_of_day_is_no_part_of_a_date() -> None:
    assert kept("on 06/18/2024 0415 at home", ("06/18/2024 0415", "DATE")) == ["06/18/2024"]
    assert kept("on 06/18 2024 at home", ("06/18 2024", "DATE")) == ["06/18 2024"]
