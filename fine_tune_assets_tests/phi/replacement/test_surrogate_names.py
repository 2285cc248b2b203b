"""A name becomes another of the same form, and the same one wherever a subject's texts mention that person."""

import re
from importlib.metadata import version

import pytest
from english_words import get_english_words_set
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.phi.replacement import name_pools
from fine_tune_assets.phi.replacement.keyed_draws import KeyedSource, normalize
from fine_tune_assets.phi.replacement.surrogate_names import NameMap, replace_name
from fine_tune_assets.phi.replacement.surrogate_places import draw_place_names
from fine_tune_assets.phi.spans import identifier_words as word_lists
from fine_tune_assets_tests.phi import build_name_pools
from fine_tune_assets_tests.phi.build_name_pools import is_word

KEY = bytes(range(32))


def names_of(subject_key: str, taken: frozenset[str] = frozenset()) -> NameMap:
    return NameMap(KeyedSource(KEY, ("safe_harbor", subject_key)), taken.__contains__)


def replaced(text: str, names: NameMap | None = None) -> str:
    return replace_name(text, names or names_of("p-1"), lambda _: None)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("John A. Smith", "{John} {A}. {Smith}"),
        ("Smith, John", "{Smith}, {John}"),
        ("Mr. Smith", "Mr. {Smith}"),
        ("john smith", "{john} {smith}"),
        ("J.S.", "{J}.{S}."),
        ("J. Smith", "{J}. {Smith}"),
        ("Smith's", "{Smith}'s"),
        ("Smith’s", "{Smith}’s"),
        ("Smiths'", "{Smiths}'"),
        ("Dr. Smith-Jones", "Dr. {Smith}-{Jones}"),
        ("SMITH^JOHN^A", "{SMITH}^{JOHN}^{A}"),
        ("Smith, John, MD", "{Smith}, {John}, MD"),
        ("John Smith Jr.", "{John} {Smith} Jr."),
        ("John Smith M.D.", "{John} {Smith} M.D."),
        ("John and Mary Smith", "{John} and {Mary} {Smith}"),
        ("Ludwig van Beethoven", "{Ludwig} {Beethoven}"),
        ("O'Brien", "{OBrien}"),
        ("Núñez", "{Nunez}"),
        ("Ng", "{Ng}"),
        ("JOHN\nSMITH", "{JOHN}\n{SMITH}"),
    ],
)
def test_name_keeps_its_form_and_consistent_parts(text: str, form: str) -> None:
    """Otherwise the model learns that one person in a report is several."""

    class Parts(dict[str, str]):
        def __missing__(self, part: str) -> str:
            if len(part) == 1:
                return names_of("p-1").replace_initial(part)
            name = names_of("p-1").replace_part(part)
            return name.upper() if part.isupper() else name.lower() if part.islower() else name

    assert replaced(text) == form.format_map(Parts())


def test_initials_match_their_names() -> None:
    given_name, surname = replaced("John Smith").split()
    assert replaced("J.S.") == f"{given_name[0]}.{surname[0]}."
    assert replaced("JS") == given_name[0] + surname[0]


@pytest.mark.parametrize(("name", "gender"), [("Mary", "f"), ("JOHN", "m"), ("María", "f"), ("Jürgen", "m")])
def test_given_name_keeps_its_gender(name: str, gender: str) -> None:
    """Otherwise "Mary ... she" becomes "Peter ... she"."""
    for number in range(20):
        surrogate = names_of(f"p-{number}").replace_part(name)
        assert name_pools.load_known_given_names()[normalize(surrogate)] == gender


def test_degree_in_capitals_is_not_replaced_like_an_equal_name() -> None:
    assert "MA" not in replaced("YO-YO MA")
    assert replaced("Smith, MA").endswith(", MA")


def test_doctor_of_two_patients_gets_two_names() -> None:
    """A shared surrogate would reveal that two patients share a doctor."""
    surrogates = {replaced("John Smith", names_of(f"p-{n}")) for n in range(200)}
    assert len(surrogates) >= 198


def test_name_is_composed_if_the_corpus_contains_the_pool() -> None:
    """A large hospital has patients with every name in the pool."""
    pool = {normalize(n) for n in name_pools.load_surnames()} | set(name_pools.load_known_given_names())
    names = names_of("p-1", frozenset(pool))
    for text in ("Smith", "Mary", "John", "Ashton"):
        surrogate = replaced(text, names)
        assert normalize(surrogate) not in pool
        assert surrogate.isalpha()


def test_pools_contain_no_words_places_or_eponyms() -> None:
    """ "Dr. Parkinson has Graves" reads as two diseases."""
    pool = {*name_pools.load_surnames(), *(n for names in name_pools.load_given_names().values() for n in names)}
    assert len(name_pools.load_surnames()) > 3000
    assert len(pool) > 5000
    assert [n for n in pool if is_word(n.lower())] == []
    assert pool.isdisjoint({"Good", "May", "Graves", "Parkinson", "Crohn", "Pearson", "Paris"})


@pytest.mark.skipif(version("faker") != "40.63.0", reason="The files are of Faker 40.63.0.")
def test_name_files_match_the_script() -> None:
    """A list that cannot be regenerated cannot be reviewed."""
    assert list(name_pools.load_surnames()) == build_name_pools.surnames()
    assert dict(name_pools.load_known_given_names()) == dict(build_name_pools.known_given_names())
    made = build_name_pools.given_names()
    assert {n: g for (g, _), names in name_pools.load_given_names().items() for n in names} == made


def test_every_initial_has_enough_names() -> None:
    """A small pool would run out soon, and be easy to guess."""
    assert min(len(names) for names in name_pools.load_surnames_by_initial().values()) >= 50
    counts = [len(name_pools.load_given_names()[gender, i]) for gender in "fm" for i in name_pools.INITIALS]
    assert min(counts) >= 20


def test_composed_names_are_not_words() -> None:
    words = {w for w in get_english_words_set(["web2", "gcide"], alpha=True) if w == w.lower()}
    draw = KeyedSource(KEY, ("composed",)).make_draw()
    composed = draw_place_names(draw)
    made = {next(composed).lower() for _ in range(5000)}
    for initial in name_pools.INITIALS:
        for gender in "fmu":
            candidates = name_pools.draw_given_names(draw, initial, gender)
            made |= {next(candidates).lower() for _ in range(600)} - {n.lower() for n in _pool()}
        candidates = name_pools.draw_surnames(draw, initial)
        made |= {next(candidates).lower() for _ in range(600)} - {n.lower() for n in _pool()}
    assert len(made) > 10_000
    assert made & words == set()
    assert len(word_lists.PLACE_NAME_STARTS) == len(set(word_lists.PLACE_NAME_STARTS))


def _pool() -> set[str]:
    return {*name_pools.load_surnames(), *(n for names in name_pools.load_given_names().values() for n in names)}


WORDS = st.text(alphabet="abcdeghilmnorstuvzäéłøñİжλ", min_size=4, max_size=9).filter(
    lambda w: normalize(w) not in KEPT
)
KEPT = {"doctor", "miss", "madam", "nurse", "sergeant"}


@given(st.lists(WORDS, min_size=1, max_size=5), st.sampled_from([" ", ", ", "-", "^", "\n", ". ", "'"]))
def test_no_part_of_a_name_in_any_script_remains(words: list[str], separator: str) -> None:
    """Names come in every script, joined in every way."""
    text = separator.join(words)
    parts = {normalize(part) for part in words}
    assert parts.isdisjoint(normalize(part) for part in re.split(r"[\s,^.'-]+", replaced(text)))


@given(st.text(max_size=30))
def test_any_text_can_be_replaced(text: str) -> None:
    assert replaced(text) == replaced(text)
