"""Medical text that looks like an identifier: masking it would spoil the training data."""

import pytest

from fine_tune_assets.phi.recognizers.medical_terms import is_impossible_date
from fine_tune_assets.phi.recognizers.plausibility import drop_implausible
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets_tests.clinical_domain import VOCABULARY


def keep_plausible(text: str, *found: tuple[str, str], rule: str = "tagger") -> list[str]:
    spans = [Span(text.index(v), text.index(v) + len(v), label, rule, 0.99) for v, label in found]
    return [text[s.start : s.end] for s in drop_implausible(text, spans, VOCABULARY)]


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
def test_obvious_medical_terms_are_rejected(text: str, value: str, label: str) -> None:
    """The list or the form is certain; the tagger is not."""
    assert keep_plausible(text, (value, label)) == []


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
def test_possible_identifiers_are_kept(text: str, value: str, label: str) -> None:
    """A title, a signature or a calendar makes it an identifier."""
    assert keep_plausible(text, (value, label)) == [value]


def test_scale_is_kept_if_a_person_has_its_name() -> None:
    """Braden the patient must be removed despite the Braden scale."""
    text = "Anna Braden came. Braden 19 today."
    at = text.rindex("Braden")
    spans = [Span(0, 11, "NAME", "tagger", 0.9), Span(at, at + 6, "NAME", "tagger", 0.9)]
    assert list(drop_implausible(text, spans, VOCABULARY)) == spans
    assert list(drop_implausible(text, spans[1:], VOCABULARY)) == []


def test_findings_of_rules_are_kept() -> None:
    """Rules have context."""
    assert keep_plausible("Mr. Ranson 3 times", ("Ranson", "NAME"), rule="name_after_title") == ["Ranson"]


@pytest.mark.parametrize("value", ["24/26", "5/325", "1/138/105/22", "13/14", "22/18/14", "0330", "4 p.m."])
def test_impossible_dates_are_recognized(value: str) -> None:
    """Doses, pressures and times also contain slashes and dots."""
    assert is_impossible_date(value)


@pytest.mark.parametrize("value", ["1/2", "31/1", "12/24", "3/2024", "1/2/24", "13.1.2024", "2024/1/13", "2011"])
def test_dates_in_any_order_are_possible(value: str) -> None:
    """Reports from other countries put the day or the year first."""
    assert not is_impossible_date(value)


def test_word_lists_are_normalized() -> None:
    """A medicine in capitals would never match; a two-letter abbreviation would match too often."""
    assert all(word == word.lower() for word in VOCABULARY.medicines | VOCABULARY.device_eponyms)
    assert all(len(word) > 2 for word in VOCABULARY.abbreviations)


@pytest.mark.parametrize(
    ("text", "found", "left"),
    [
        ("Seen by Anna Quixley, MD today", "Anna Quixley, MD", "Anna Quixley"),
        ("Signed Anna Quixley PA-C", "Anna Quixley PA-C", "Anna Quixley"),
        ("Anna Do came", "Anna Do", "Anna Do"),
    ],
)
def test_degree_is_trimmed_from_a_name(text: str, found: str, left: str) -> None:
    """A degree identifies no one, and a model should learn to write it."""
    assert keep_plausible(text, (found, "NAME")) == [left]


@pytest.mark.parametrize(
    ("text", "value", "rule"),
    [
        ("left cyst, Bosniak I. Next", "Bosniak I.", "name_with_initial"),
        ("FH: mother HCC at 62", "HCC", "name_of_relative"),
        ("Lasix 40 IV BID, Crestor 20", "BID", "surname_first"),
    ],
)
def test_term_in_the_position_of_a_name_is_rejected(text: str, value: str, rule: str) -> None:
    """Such rules take any capitalised word in the right position for a name."""
    assert keep_plausible(text, (value, "NAME"), rule=rule) == []
    assert keep_plausible("Wilson Q. came", ("Wilson Q.", "NAME"), rule="name_with_initial") == ["Wilson Q."]


def test_person_with_md_is_not_a_town_in_maryland() -> None:
    """Otherwise the degree would be removed with the "town", and the surrogate would be a town."""
    text = "Seen by Anna Quixley, MD today"
    spans = [Span(8, 24, "LOCATION", "city_state", 0.75), Span(8, 24, "NAME", "name_and_degree", 0.76)]
    assert [(text[s.start : s.end], s.label) for s in drop_implausible(text, spans, VOCABULARY)] == [
        ("Anna Quixley", "NAME")
    ]
    assert [s.label for s in drop_implausible(text, spans[:1], VOCABULARY)] == ["LOCATION"]


def test_time_is_trimmed_from_a_date() -> None:
    assert keep_plausible("on 06/18/2024 0415 at home", ("06/18/2024 0415", "DATE")) == ["06/18/2024"]
    assert keep_plausible("on 06/18 2024 at home", ("06/18 2024", "DATE")) == ["06/18 2024"]
