"""Surrogate text as a whole: what it promises of any text, and what it refuses."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.sample_subjects import sample_subject_key
from fine_tune_assets.phi.replacement.keyed_draws import NoSurrogateLeftError, WeakKeyError, normalise
from fine_tune_assets.phi.replacement.profiles import Profile, ProfileError
from fine_tune_assets.phi.replacement.surrogates import (
    ReplacementError,
    Surrogates,
    SurrogateText,
    corpus_lookup,
    corpus_values,
    value_hash,
)
from fine_tune_assets.phi.spans.spans import Span, replace_spans
from fine_tune_assets.phi.spans.word_lists import SURROGATE_TITLES
from fine_tune_assets.quantities.dates import DateReader

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
SAFE_HARBOR = Profile("safe_harbor", shift_dates=False)
LIMITED = Profile("limited_dataset", shift_dates=False)
SHIFTED = Profile("safe_harbor", shift_dates=True)
READER = DateReader(year_now=2026, is_day_first=False)

UPPER, LOWER, DIGIT = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
WORD = st.text(LOWER, min_size=4, max_size=9).map(str.capitalize).filter(lambda w: normalise(w) not in SURROGATE_TITLES)
DIGITS = st.text(DIGIT, min_size=6, max_size=10)
VALUES = st.one_of(
    st.tuples(st.just("NAME"), st.builds("{} {}".format, WORD, WORD)),
    st.tuples(st.just("NAME"), st.builds("{}, {}".format, WORD, WORD)),
    st.tuples(st.just("FACILITY"), st.builds("{} Hospital".format, WORD)),
    st.tuples(st.just("LOCATION"), st.builds("{} {} Road, {}, OH".format, st.integers(100, 9999), WORD, WORD)),
    st.tuples(st.sampled_from(["MRN", "ID", "ACCOUNT", "DEVICE", "SOMETHING_NEW"]), DIGITS),
    st.tuples(st.just("VEHICLE"), st.text(UPPER + DIGIT, min_size=17, max_size=17)),
    st.tuples(st.sampled_from(["PHONE", "FAX"]), st.from_regex(r"\([2-9][0-8]\d\) [2-9]\d{2}-\d{4}", fullmatch=True)),
    st.tuples(st.just("SSN"), st.from_regex(r"[1-8]\d{2}-[1-9]\d-[1-9]\d{3}", fullmatch=True)),
    st.tuples(st.just("EMAIL"), st.builds("{}.{}@{}.test".format, WORD.map(str.lower), WORD.map(str.lower), WORD)),
    st.tuples(st.just("URL"), st.builds("https://{}.test/{}/{}".format, WORD.map(str.lower), WORD, DIGITS)),
    st.tuples(st.just("IP"), st.builds("10.{}.{}.{}".format, *[st.integers(100, 250)] * 3)),
)
FILLER = st.text(alphabet=" .,;:()\n–éabcxyz", max_size=12)
REPORTS = st.lists(st.tuples(FILLER, VALUES), min_size=1, max_size=6)
Report = list[tuple[str, tuple[str, str]]]


def text_and_spans(report: Report) -> tuple[str, list[Span]]:
    text, spans = "", []
    for filler, (label, value) in report:
        text += f"{filler} "
        spans.append(Span(len(text), len(text) + len(value), label, "rule", 1.0))
        text += f"{value} "
    return text, spans


def surrogates(profile: Profile = SAFE_HARBOR, key: bytes = KEY, taken: frozenset[str] = frozenset()) -> Surrogates:
    return Surrogates(key, profile, READER, corpus_lookup(key, taken))


def replaced(label: str, value: str, maker: Surrogates | None = None, patient: str = "p-1") -> str:
    result = (maker or surrogates()).replace(f"On {value} ok", [Span(3, 3 + len(value), label, "rule", 1.0)], patient)
    return result.text[3:-3]


@given(REPORTS)
def test_the_text_between_findings_stays_byte_for_byte_and_the_new_spans_cover_the_rest(report: Report) -> None:
    """The finding of a diagnosis must not depend on who replaced the names."""
    text, spans = text_and_spans(report)
    result = surrogates().replace(text, spans, "p-1")
    assert [(s.label, s.rule, s.score) for s in result.spans] == [(s.label, s.rule, s.score) for s in spans]
    assert _between(result.text, result.spans) == _between(text, spans)


def _between(text: str, spans: list[Span] | tuple[Span, ...]) -> list[str]:
    starts = [0, *(s.end for s in spans)]
    return [text[a:b] for a, b in zip(starts, [*(s.start for s in spans), len(text)], strict=True)]


@given(REPORTS)
def test_no_surrogate_is_a_value_of_the_corpus_and_no_value_is_left(report: Report) -> None:
    """A surrogate that is another patient's name puts one person's words in another's mouth."""
    text, spans = text_and_spans(report)
    taken = corpus_values(text, spans, KEY)
    result = surrogates(taken=taken).replace(text, spans, "p-1")
    assert result.values
    assert result.values.isdisjoint(taken)
    words = {normalise(w) for s in spans for w in re.findall(r"[A-Za-z]{4,}|\d{6,}", text[s.start : s.end])}
    made = {
        normalise(w) for s in result.spans for w in re.findall(r"[A-Za-z]{4,}|\d{6,}", result.text[s.start : s.end])
    }
    assert words & made <= {"hospital", "road", "https", "test"}


@given(REPORTS)
def test_a_report_is_replaced_the_same_way_whenever_it_comes(report: Report) -> None:
    """Batches come in any order; a patient's later report has to agree with the earlier one."""
    text, spans = text_and_spans(report)
    alone = surrogates().replace(text, spans, "p-1")
    maker = surrogates()
    for position, span in reversed(list(enumerate(spans))):
        one = maker.replace(text, [span], "p-1").spans[0]
        assert maker.replace(text, [span], "p-1").text[one.start : one.end] == _at(alone, position)


def _at(result: SurrogateText, position: int) -> str:
    return result.text[result.spans[position].start : result.spans[position].end]


@given(VALUES)
def test_patients_keys_and_profiles_do_not_agree(value: tuple[str, str]) -> None:
    """Whoever sees two patients' texts, or texts of two hospitals, can't tell that one doctor is in both."""
    here = [replaced(*value, patient=f"p-{n}") for n in range(6)]
    elsewhere = [replaced(*value, surrogates(key=OTHER_KEY), f"p-{n}") for n in range(6)]
    assert len(set(here)) > 1
    assert here != elsewhere


@given(VALUES)
def test_another_profile_gives_other_surrogates(value: tuple[str, str]) -> None:
    """Or the limited data set would be the key to the Safe Harbor text."""
    patients = [f"p-{n}" for n in range(6)]
    assert [replaced(*value, patient=p) for p in patients] != [
        replaced(*value, surrogates(LIMITED), p) for p in patients
    ]


def test_another_process_gives_the_same_surrogates() -> None:
    """Python's own hash is another one in every process."""
    program = (
        "from fine_tune_assets_tests.phi.replacement.test_surrogates import replaced;"
        "print(replaced('NAME', 'John Smith'), replaced('MRN', '5583920'), replaced('LOCATION', 'Salem'))"
    )
    runs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout for _ in "12"
    }
    assert runs == {f"{replaced('NAME', 'John Smith')} {replaced('MRN', '5583920')} {replaced('LOCATION', 'Salem')}\n"}


@given(st.text(max_size=60), st.data())
def test_any_text_under_any_kind_can_be_replaced(text: str, data: st.DataObject) -> None:
    """A finding can hold anything; a step that fails on one report holds up the batch."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    label = data.draw(st.sampled_from("NAME LOCATION FACILITY DATE AGE PHONE FAX EMAIL URL IP SSN MRN OTHER".split()))  # noqa: SIM905
    profile = data.draw(st.sampled_from([SAFE_HARBOR, LIMITED, SHIFTED]))
    spans = [Span(start, end, label, "rule", 1.0)] if start < end else []
    result = surrogates(profile).replace(text, spans, "p-1")
    assert result.text.startswith(text[:start])
    assert result.text.endswith(text[end:])


def test_tagged_and_surrogate_text_come_from_the_same_spans() -> None:
    text = "John Smith, seen 03/14/2021, MRN 5583920."
    spans = [Span(0, 10, "NAME", "r", 1.0), Span(17, 27, "DATE", "r", 1.0), Span(33, 40, "MRN", "r", 1.0)]
    assert replace_spans(text, spans) == "[NAME], seen [DATE], MRN [MRN]."
    assert re.fullmatch(
        r"[A-Z][a-z]+ [A-Z][a-z]+, seen 2021, MRN [1-9]\d{6}\.", surrogates().replace(text, spans, "p-1").text
    )


def test_the_names_in_a_mail_address_are_those_of_the_text() -> None:
    given_name, surname = replaced("NAME", "John Smith").lower().split()
    assert replaced("EMAIL", "john.smith@clinic.test").startswith(f"{given_name}.{surname}@example.")


def test_dates_and_ages_stay_in_a_limited_data_set_only() -> None:
    """45 CFR 164.514(e)(2) does not list them; (b)(2)(i)(C) does."""
    for label, value, generalised in (("DATE", "03/14/2021", "2021"), ("AGE", "94-year-old", "90-or-older")):
        assert replaced(label, value) == generalised
        assert replaced(label, value, surrogates(LIMITED)) == value


@pytest.mark.parametrize(("label", "value"), [("DATE", "Quixley 3/14"), ("AGE", "Quixley, 94")])
def test_a_finding_that_is_more_than_a_date_or_an_age_is_not_kept(label: str, value: str) -> None:
    """Joined findings can hold a name under the kind of their longest part."""
    assert "Quixley" not in replaced(label, value, surrogates(LIMITED))
    assert "Quixley" not in replaced(label, value, surrogates(SHIFTED))
    assert "Quixley" not in replaced(label, value)


def test_the_shift_is_of_one_patient_and_never_nothing() -> None:
    shifts = {surrogates(SHIFTED).shift_days(f"p-{n}") for n in range(3000)}
    assert min(shifts) >= -365
    assert max(shifts) <= 365
    assert 0 not in shifts
    assert len(shifts) > 700
    assert surrogates(SHIFTED).shift_days("p-1") == surrogates(SHIFTED).shift_days("p-1")


def test_a_birth_year_over_89_years_ago_is_not_shifted_but_hidden() -> None:
    assert replaced("DATE", "03/14/1931", surrogates(SHIFTED)) == "1936 or earlier"
    assert replaced("DATE", "03/14/1931", surrogates(Profile("limited_dataset", shift_dates=True))) != "1936 or earlier"


def test_text_with_shifted_dates_is_never_called_safe_harbor() -> None:
    """A shifted date derives from the real one: only an expert can determine that it may leave."""
    assert "expert determination" in SHIFTED.legal_basis
    assert "Safe Harbor" in SAFE_HARBOR.legal_basis
    assert "limited data set" in LIMITED.legal_basis


def test_a_value_that_comes_later_shows_which_texts_used_it() -> None:
    """The corpus grows: a surrogate of January may be a patient's name in June."""
    result = surrogates().replace("John Smith", [Span(0, 10, "NAME", "r", 1.0)], "p-1")
    later = corpus_values(result.text, result.spans, KEY)
    assert result.values & later
    again = surrogates(taken=later).replace("John Smith", [Span(0, 10, "NAME", "r", 1.0)], "p-1")
    assert again.values.isdisjoint(later)


def test_the_kept_values_of_a_corpus_tell_nothing_without_the_key() -> None:
    values = corpus_values("John Smith", [Span(0, 10, "NAME", "r", 1.0)], KEY)
    assert value_hash(KEY, "smith") in values
    assert value_hash(KEY, "johnsmith") in values
    assert value_hash(OTHER_KEY, "smith") not in values
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in values)


@pytest.mark.parametrize("key", [b"", b"secret", bytes(31)])
def test_a_short_key_is_refused(key: bytes) -> None:
    """Who can try all keys can undo every surrogate."""
    with pytest.raises(WeakKeyError, match="at least 32"):
        surrogates(key=key)


def test_a_text_without_a_patient_is_refused() -> None:
    """All such texts would share their surrogates, and be linked by them."""
    with pytest.raises(ReplacementError, match="no patient key"):
        surrogates().replace("Quixley", [], "")


@pytest.mark.parametrize("places", [[(4, 8), (0, 3)], [(0, 5), (4, 8)], [(0, 99)], [(3, 3)]])
def test_spans_that_do_not_fit_the_text_are_refused_without_a_word_of_it(places: list[tuple[int, int]]) -> None:
    """A wrong offset would leave half of a name in the text."""
    spans = [Span(start, end, "NAME", "r", 1.0) for start, end in places]
    with pytest.raises(ReplacementError) as error:
        surrogates().replace("Quixley Zandt", spans, "p-1")
    assert "Quixley" not in str(error.value)


def test_when_everything_is_taken_nothing_is_given_and_the_error_names_the_kind_only() -> None:
    maker = Surrogates(KEY, SAFE_HARBOR, READER, lambda _: True)
    for label, value in (("NAME", "Quixley"), ("LOCATION", "Quixley"), ("MRN", "4711")):
        with pytest.raises(NoSurrogateLeftError) as error:
            replaced(label, value, maker)
        assert value not in str(error.value)
        assert label in str(error.value)


def test_a_short_number_of_which_all_are_taken_becomes_longer() -> None:
    """A gate that stops a batch since a pager has two digits would be switched off."""
    maker = Surrogates(KEY, SAFE_HARBOR, READER, lambda value: len(value) < 4)
    for label in ("PHONE", "ID", "SSN"):
        assert len(normalise(replaced(label, "47", maker))) == 4


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ProfileError, match="safe_harbor, limited_dataset"):
        Profile("none", shift_dates=False)  # type: ignore[arg-type]


def test_the_key_is_in_no_representation() -> None:
    assert repr(KEY)[2:-1] not in repr(surrogates())
    assert "KeyedSource" in repr(surrogates()._source("p-1"))
    assert repr(KEY)[2:-1] not in repr(surrogates()._source("p-1"))


def test_surrogates_of_the_sample_are_the_same_in_every_installation_and_those_of_others_are_not() -> None:
    """Two machines train on the same texts of the sample; nobody else can tell what stood in a report."""
    patients = [sample_subject_key("VA049"), "f" * 64]
    for label, value in [("NAME", "Martha Collins"), ("MRN", "5583920"), ("PHONE", "(212) 456-7890")]:
        made = [[replaced(label, value, surrogates(key=key), p) for key in (KEY, OTHER_KEY)] for p in patients]
        assert made[0][0] == made[0][1] != value
        assert made[1][0] != made[1][1]
    days = [surrogates(SHIFTED, key).shift_days(patients[0]) for key in (KEY, OTHER_KEY)]
    assert days[0] == days[1]
