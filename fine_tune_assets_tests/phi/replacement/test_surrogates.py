"""Properties of surrogate text for any input, and the inputs that are rejected."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.sample_subjects import sample_subject_key
from fine_tune_assets.phi.replacement.keyed_draws import SurrogatesExhaustedError, WeakKeyError, normalize
from fine_tune_assets.phi.replacement.profiles import Profile, ProfileError
from fine_tune_assets.phi.replacement.surrogates import (
    ReplacementError,
    Surrogates,
    SurrogateText,
    build_corpus_lookup,
    hash_corpus_values,
    hash_value,
)
from fine_tune_assets.phi.spans.checksums import list_checksums
from fine_tune_assets.phi.spans.identifier_words import AREA_WORDS, SITE_WORDS, SURROGATE_TITLES
from fine_tune_assets.phi.spans.spans import Span, replace_spans
from fine_tune_assets.quantities.dates import DateReader
from fine_tune_assets.recipes.domain_pack_schema import IdentifierSettings, RecognizerSettings
from fine_tune_assets.recipes.domain_packs import load_pack

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
SAFE_HARBOR = Profile("safe_harbor", shift_dates=False)
LIMITED = Profile("limited_dataset", shift_dates=False)
SHIFTED = Profile("safe_harbor", shift_dates=True)
READER = DateReader(current_year=2026, is_day_first=False)

UPPER, LOWER, DIGIT = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
KEPT_WORDS = SURROGATE_TITLES | SITE_WORDS | AREA_WORDS
"""Titles and facility kinds are kept: "City Hospital" becomes another city hospital."""
WORD = st.text(LOWER, min_size=4, max_size=9).map(str.capitalize).filter(lambda w: normalize(w) not in KEPT_WORDS)
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
    return Surrogates(key, profile, READER, build_corpus_lookup(key, taken))


def replaced(label: str, value: str, maker: Surrogates | None = None, subject_key: str = "p-1") -> str:
    result = (maker or surrogates()).replace(
        f"On {value} ok", [Span(3, 3 + len(value), label, "rule", 1.0)], subject_key
    )
    return result.text[3:-3]


@given(REPORTS)
def test_text_between_spans_is_unchanged_and_new_spans_cover_the_rest(report: Report) -> None:
    """A diagnosis must not change because names were replaced."""
    text, spans = text_and_spans(report)
    result = surrogates().replace(text, spans, "p-1")
    assert [(s.label, s.recognizer, s.score) for s in result.spans] == [(s.label, s.recognizer, s.score) for s in spans]
    assert _between(result.text, result.spans) == _between(text, spans)


def _between(text: str, spans: list[Span] | tuple[Span, ...]) -> list[str]:
    starts = [0, *(s.end for s in spans)]
    return [text[a:b] for a, b in zip(starts, [*(s.start for s in spans), len(text)], strict=True)]


@given(REPORTS)
def test_no_surrogate_equals_a_corpus_value_and_no_value_remains(report: Report) -> None:
    """A surrogate that is another patient's name attributes text to the wrong person."""
    text, spans = text_and_spans(report)
    taken = hash_corpus_values(text, spans, KEY)
    result = surrogates(taken=taken).replace(text, spans, "p-1")
    assert result.value_hashes
    assert result.value_hashes.isdisjoint(taken)
    words = {normalize(w) for s in spans for w in re.findall(r"[A-Za-z]{4,}|\d{6,}", text[s.start : s.end])}
    made = {
        normalize(w) for s in result.spans for w in re.findall(r"[A-Za-z]{4,}|\d{6,}", result.text[s.start : s.end])
    }
    assert words & made <= {"hospital", "road", "https", "test"}


@given(REPORTS)
def test_report_is_replaced_the_same_way_at_any_time(report: Report) -> None:
    """Batches come in any order; a subject's later report must match the earlier one."""
    text, spans = text_and_spans(report)
    alone = surrogates().replace(text, spans, "p-1")
    maker = surrogates()
    for position, span in reversed(list(enumerate(spans))):
        one = maker.replace(text, [span], "p-1").spans[0]
        assert maker.replace(text, [span], "p-1").text[one.start : one.end] == _at(alone, position)


def _at(result: SurrogateText, position: int) -> str:
    return result.text[result.spans[position].start : result.spans[position].end]


@given(VALUES)
def test_surrogates_differ_between_subjects_keys_and_profiles(value: tuple[str, str]) -> None:
    """Readers of two subjects' texts, or of two hospitals' texts, must not see that they share a doctor."""
    here = [replaced(*value, subject_key=f"p-{n}") for n in range(6)]
    elsewhere = [replaced(*value, surrogates(key=OTHER_KEY), f"p-{n}") for n in range(6)]
    assert len(set(here)) > 1
    assert here != elsewhere


@given(VALUES)
def test_different_profile_gives_different_surrogates(value: tuple[str, str]) -> None:
    """Otherwise the limited data set would be the key to the Safe Harbor text."""
    subject_keys = [f"p-{n}" for n in range(6)]
    assert [replaced(*value, subject_key=p) for p in subject_keys] != [
        replaced(*value, surrogates(LIMITED), p) for p in subject_keys
    ]


def test_different_process_gives_the_same_surrogates() -> None:
    """Python's own hash differs in every process."""
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
    """A finding may contain anything; failing on one report would block the batch."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    label = data.draw(st.sampled_from("NAME LOCATION FACILITY DATE AGE PHONE FAX EMAIL URL IP SSN MRN OTHER".split()))  # noqa: SIM905
    profile = data.draw(st.sampled_from([SAFE_HARBOR, LIMITED, SHIFTED]))
    spans = [Span(start, end, label, "rule", 1.0)] if start < end else []
    result = surrogates(profile).replace(text, spans, "p-1")
    assert result.text.startswith(text[:start])
    assert result.text.endswith(text[end:])


def test_tagged_and_surrogate_text_use_the_same_spans() -> None:
    text = "John Smith, seen 03/14/2021, MRN 5583920."
    spans = [Span(0, 10, "NAME", "r", 1.0), Span(17, 27, "DATE", "r", 1.0), Span(33, 40, "MRN", "r", 1.0)]
    assert replace_spans(text, spans) == "[NAME], seen [DATE], MRN [MRN]."
    assert re.fullmatch(
        r"[A-Z][a-z]+ [A-Z][a-z]+, seen 2021, MRN [1-9]\d{6}\.", surrogates().replace(text, spans, "p-1").text
    )


def test_names_in_an_email_address_match_the_text() -> None:
    given_name, surname = replaced("NAME", "John Smith").lower().split()
    assert replaced("EMAIL", "john.smith@clinic.test").startswith(f"{given_name}.{surname}@example.")


def test_only_a_limited_data_set_keeps_dates_and_ages() -> None:
    """45 CFR 164.514(e)(2) does not list them; (b)(2)(i)(C) does."""
    for label, value, generalised in (("DATE", "03/14/2021", "2021"), ("AGE", "94-year-old", "90-or-older")):
        assert replaced(label, value) == generalised
        assert replaced(label, value, surrogates(LIMITED)) == value


@pytest.mark.parametrize(("label", "value"), [("DATE", "Quixley 3/14"), ("AGE", "Quixley, 94")])
def test_finding_with_more_than_a_date_or_age_is_not_kept(label: str, value: str) -> None:
    """Merged findings may contain a name under the kind of their longest part."""
    assert "Quixley" not in replaced(label, value, surrogates(LIMITED))
    assert "Quixley" not in replaced(label, value, surrogates(SHIFTED))
    assert "Quixley" not in replaced(label, value)


def test_shift_is_specific_to_a_subject_and_never_zero() -> None:
    shifts = {surrogates(SHIFTED).draw_shift_days(f"p-{n}") for n in range(3000)}
    assert min(shifts) >= -365
    assert max(shifts) <= 365
    assert 0 not in shifts
    assert len(shifts) > 700
    assert surrogates(SHIFTED).draw_shift_days("p-1") == surrogates(SHIFTED).draw_shift_days("p-1")


def test_birth_year_over_89_years_ago_is_hidden_instead_of_shifted() -> None:
    assert replaced("DATE", "03/14/1931", surrogates(SHIFTED)) == "1936 or earlier"
    assert replaced("DATE", "03/14/1931", surrogates(Profile("limited_dataset", shift_dates=True))) != "1936 or earlier"


def test_shifted_dates_never_qualify_as_safe_harbor() -> None:
    """A shifted date derives from the real one: only expert determination allows its release."""
    assert "expert determination" in SHIFTED.legal_basis
    assert "Safe Harbor" in SAFE_HARBOR.legal_basis
    assert "limited data set" in LIMITED.legal_basis


def test_later_value_reveals_texts_that_used_it_as_a_surrogate() -> None:
    """The corpus grows: a surrogate used in January may be a patient's name in June."""
    result = surrogates().replace("John Smith", [Span(0, 10, "NAME", "r", 1.0)], "p-1")
    later = hash_corpus_values(result.text, result.spans, KEY)
    assert result.value_hashes & later
    again = surrogates(taken=later).replace("John Smith", [Span(0, 10, "NAME", "r", 1.0)], "p-1")
    assert again.value_hashes.isdisjoint(later)


def test_stored_corpus_values_reveal_nothing_without_the_key() -> None:
    values = hash_corpus_values("John Smith", [Span(0, 10, "NAME", "r", 1.0)], KEY)
    assert hash_value(KEY, "smith") in values
    assert hash_value(KEY, "johnsmith") in values
    assert hash_value(OTHER_KEY, "smith") not in values
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in values)


@pytest.mark.parametrize("key", [b"", b"secret", bytes(31)])
def test_short_key_is_rejected(key: bytes) -> None:
    """Anyone who can try all keys can reverse every surrogate."""
    with pytest.raises(WeakKeyError, match=r"\b32\b"):
        surrogates(key=key)


def test_text_without_a_subject_is_rejected() -> None:
    """All such texts would share surrogates, and be linked by them."""
    with pytest.raises(ReplacementError):
        surrogates().replace("Quixley", [], "")


@pytest.mark.parametrize("places", [[(4, 8), (0, 3)], [(0, 5), (4, 8)], [(0, 99)], [(3, 3)]])
def test_invalid_spans_are_rejected_without_quoting_the_text(places: list[tuple[int, int]]) -> None:
    """A wrong offset would leave half of a name in the text."""
    spans = [Span(start, end, "NAME", "r", 1.0) for start, end in places]
    with pytest.raises(ReplacementError) as error:
        surrogates().replace("Quixley Zandt", spans, "p-1")
    assert "Quixley" not in str(error.value)


def test_exhausted_surrogates_raise_an_error_that_names_only_the_kind() -> None:
    maker = Surrogates(KEY, SAFE_HARBOR, READER, lambda _: True)
    for label, value in (("NAME", "Quixley"), ("LOCATION", "Quixley"), ("MRN", "4711")):
        with pytest.raises(SurrogatesExhaustedError) as error:
            replaced(label, value, maker)
        assert value not in str(error.value)
        assert label in str(error.value)


def test_short_number_grows_if_all_are_taken() -> None:
    """Users would switch off a gate that stops a batch because a pager has two digits."""
    maker = Surrogates(KEY, SAFE_HARBOR, READER, lambda value: len(value) < 4)
    for label in ("PHONE", "ID", "SSN"):
        assert len(normalize(replaced(label, "47", maker))) == 4


def test_unknown_profile_is_rejected() -> None:
    with pytest.raises(ProfileError, match="unknown_profile"):
        Profile("unknown_profile", shift_dates=False)  # type: ignore[arg-type]


def test_key_is_in_no_repr() -> None:
    assert repr(KEY)[2:-1] not in repr(surrogates())
    assert "KeyedSource" in repr(surrogates()._build_source("p-1"))
    assert repr(KEY)[2:-1] not in repr(surrogates()._build_source("p-1"))


def test_only_sample_surrogates_are_equal_in_every_installation() -> None:
    """Two machines train on the same sample texts; for other reports, no one can infer the original text."""
    subject_keys = [sample_subject_key("VA049"), "f" * 64]
    for label, value in [("NAME", "Martha Collins"), ("MRN", "5583920"), ("PHONE", "(212) 456-7890")]:
        made = [[replaced(label, value, surrogates(key=key), p) for key in (KEY, OTHER_KEY)] for p in subject_keys]
        assert made[0][0] == made[0][1] != value
        assert made[1][0] != made[1][1]
    days = [surrogates(SHIFTED, key).draw_shift_days(subject_keys[0]) for key in (KEY, OTHER_KEY)]
    assert days[0] == days[1]


@pytest.mark.parametrize(
    ("domain", "kind", "value"),
    [
        ("law", "IBAN", "DE89 3704 0044 0532 0130 00"),
        ("finance", "CARD_NUMBER", "4111-1111-1111-1111"),
        ("finance", "BANK_ACCOUNT", "021000021"),
        ("law", "CASE_NUMBER", "2:21-cv-04567-ABC"),
        ("law", "REGISTER_NUMBER", "HRB 123456 B"),
    ],
)
def test_a_number_of_the_domain_keeps_its_form_and_letters_and_is_no_real_account(
    domain: str, kind: str, value: str
) -> None:
    """With valid check digits, an invented account could be someone's."""
    own = load_pack(domain).pack.own_kinds
    made = Surrogates(KEY, SAFE_HARBOR, READER, lambda _: False, own).replace(
        value, [Span(0, len(value), kind, "r", 1.0)], "p"
    )
    assert made.text != value
    assert re.sub(r"\d", "0", made.text) == re.sub(r"\d", "0", value)
    assert not any(is_valid(made.text) for is_valid in list_checksums(own[kind]))


def test_a_kind_with_the_same_form_gets_other_letters_too() -> None:
    recognizer = RecognizerSettings(name="ward", pattern="W\\d+", score=0.9)
    own = {"WARD": IdentifierSettings("WARD", True, "same_form", (recognizer,))}
    made = Surrogates(KEY, SAFE_HARBOR, READER, lambda _: False, own).replace(
        "WQX-77120", [Span(0, 9, "WARD", "r", 1.0)], "p"
    )
    assert re.fullmatch(r"[A-Z]{3}-\d{5}", made.text)
    assert made.text[:3] != "WQX"
