"""A name becomes another name of the same form, the same one wherever a patient's texts mention that person."""

import re
from importlib.metadata import version

import pytest
from english_words import get_english_words_set
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.phi.replacement import name_pools
from fine_tune_assets.phi.replacement.keyed_draws import KeyedSource, normalise
from fine_tune_assets.phi.replacement.surrogate_names import NameMap, replace_name
from fine_tune_assets.phi.replacement.surrogate_places import places
from fine_tune_assets.phi.spans import word_lists
from fine_tune_assets_tests.phi import build_name_pools
from fine_tune_assets_tests.phi.build_name_pools import is_word

KEY = bytes(range(32))


def names_of(patient: str, taken: frozenset[str] = frozenset()) -> NameMap:
    return NameMap(KeyedSource(KEY, ("safe_harbor", patient)), taken.__contains__)


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
def test_a_name_keeps_its_form_and_its_parts_agree(text: str, form: str) -> None:
    """Otherwise the model learns that one person of a report is several."""

    class Parts(dict[str, str]):
        def __missing__(self, part: str) -> str:
            if len(part) == 1:
                return names_of("p-1").initial(part)
            name = names_of("p-1").part(part)
            return name.upper() if part.isupper() else name.lower() if part.islower() else name

    assert replaced(text) == form.format_map(Parts())


def test_initials_agree_with_the_names_that_they_stand_for() -> None:
    given_name, surname = replaced("John Smith").split()
    assert replaced("J.S.") == f"{given_name[0]}.{surname[0]}."
    assert replaced("JS") == given_name[0] + surname[0]


@pytest.mark.parametrize(("name", "gender"), [("Mary", "f"), ("JOHN", "m"), ("María", "f"), ("Jürgen", "m")])
def test_a_given_name_becomes_one_of_the_same_gender(name: str, gender: str) -> None:
    """Otherwise "Mary ... she" becomes "Peter ... she"."""
    for number in range(20):
        surrogate = names_of(f"p-{number}").part(name)
        assert name_pools.known_given_names()[normalise(surrogate)] == gender


def test_a_degree_in_capitals_is_not_taken_for_the_name_of_a_person_who_has_it_as_a_name() -> None:
    assert "MA" not in replaced("YO-YO MA")
    assert replaced("Smith, MA").endswith(", MA")


def test_two_patients_with_one_doctor_get_two_names() -> None:
    """A surrogate that two patients share would show that they share a doctor."""
    surrogates = {replaced("John Smith", names_of(f"p-{n}")) for n in range(200)}
    assert len(surrogates) >= 198


def test_when_the_whole_pool_is_in_the_corpus_a_name_is_composed() -> None:
    """A large hospital has patients of every name in the pool."""
    pool = {normalise(n) for n in name_pools.surname_list()} | set(name_pools.known_given_names())
    names = names_of("p-1", frozenset(pool))
    for text in ("Smith", "Mary", "John", "Ashton"):
        surrogate = replaced(text, names)
        assert normalise(surrogate) not in pool
        assert surrogate.isalpha()


def test_no_name_of_the_pools_is_a_word_a_place_or_an_eponym() -> None:
    """ "Dr. Parkinson has Graves" reads as two diseases."""
    pool = {*name_pools.surname_list(), *(n for names in name_pools.given_name_pool().values() for n in names)}
    assert len(name_pools.surname_list()) > 3000
    assert len(pool) > 5000
    assert [n for n in pool if is_word(n.lower())] == []
    assert pool.isdisjoint({"Good", "May", "Graves", "Parkinson", "Crohn", "Pearson", "Paris"})


@pytest.mark.skipif(version("faker") != "40.63.0", reason="The files are of Faker 40.63.0.")
def test_the_files_of_names_are_what_the_script_makes() -> None:
    """A list that nobody can make again can't be reviewed."""
    assert list(name_pools.surname_list()) == build_name_pools.surnames()
    assert dict(name_pools.known_given_names()) == dict(build_name_pools.known_given_names())
    made = build_name_pools.given_names()
    assert {n: g for (g, _), names in name_pools.given_name_pool().items() for n in names} == made


def test_every_initial_has_names_to_choose_from() -> None:
    """A pool of a few names would soon be used up, and easy to guess."""
    assert min(len(names) for names in name_pools.surname_pool().values()) >= 50
    counts = [len(name_pools.given_name_pool()[gender, i]) for gender in "fm" for i in name_pools.INITIALS]
    assert min(counts) >= 20


def test_composed_names_are_no_words_either() -> None:
    words = {w for w in get_english_words_set(["web2", "gcide"], alpha=True) if w == w.lower()}
    draw = KeyedSource(KEY, ("composed",)).draws()
    composed = places(draw)
    made = {next(composed).lower() for _ in range(5000)}
    for initial in name_pools.INITIALS:
        for gender in "fmu":
            candidates = name_pools.given_names(draw, initial, gender)
            made |= {next(candidates).lower() for _ in range(600)} - {n.lower() for n in _pool()}
        candidates = name_pools.surnames(draw, initial)
        made |= {next(candidates).lower() for _ in range(600)} - {n.lower() for n in _pool()}
    assert len(made) > 10_000
    assert made & words == set()
    assert len(word_lists.HEADS) == len(set(word_lists.HEADS))


def _pool() -> set[str]:
    return {*name_pools.surname_list(), *(n for names in name_pools.given_name_pool().values() for n in names)}


WORDS = st.text(alphabet="abcdeghilmnorstuvzäéłøñİжλ", min_size=4, max_size=9).filter(
    lambda w: normalise(w) not in KEPT
)
KEPT = {"doctor", "miss", "madam", "nurse", "sergeant"}


@given(st.lists(WORDS, min_size=1, max_size=5), st.sampled_from([" ", ", ", "-", "^", "\n", ". ", "'"]))
def test_of_a_name_in_any_script_no_part_is_left(words: list[str], separator: str) -> None:
    """Names come in every script, and joined in every way."""
    text = separator.join(words)
    parts = {normalise(part) for part in words}
    assert parts.isdisjoint(normalise(part) for part in re.split(r"[\s,^.'-]+", replaced(text)))


@given(st.text(max_size=30))
def test_any_text_can_be_replaced(text: str) -> None:
    assert replaced(text) == replaced(text)
