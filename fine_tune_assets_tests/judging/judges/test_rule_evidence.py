"""Rules are weighed against what a reader says, and no further false statement raises a grade."""

from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.judging.judges.grade_scales import grade_statements
from fine_tune_assets.judging.judges.grades import CheckedStatement
from fine_tune_assets.judging.judges.rule_evidence import (
    BINDINGS,
    RULE_WEIGHTS,
    RuleFindings,
    find_rule_evidence,
    weigh,
)
from fine_tune_assets.recipes.domain_packs import load_pack

NOTHING = RuleFindings((), 0)
PROBABILITIES = st.floats(0, 1)
RULES = st.lists(st.sampled_from(sorted(RULE_WEIGHTS)), unique=True).map(tuple)
RECORD = "Patient: My right knee hurts. I take lisinopril 20 mg, and furosemide 40 mg."
CHECKS = load_pack("clinical").pack.checks


@given(PROBABILITIES, PROBABILITIES, RULES, st.integers(0, 9))
def test_a_finding_never_raises_the_probability(
    supported: float, wrong: float, rules: tuple[str, ...], absent: int
) -> None:
    alone = weigh(supported, wrong, NOTHING)
    assert 0 <= weigh(supported, wrong, RuleFindings(rules, absent)) <= alone <= 1


@given(PROBABILITIES, PROBABILITIES, RULES)
def test_a_reader_that_is_surer_never_lowers_it(one: float, other: float, rules: tuple[str, ...]) -> None:
    low, high = sorted((one, other))
    found = RuleFindings(rules, 0)
    assert weigh(low, 0.0, found) <= weigh(high, 0.0, found)


def test_a_rule_decides_where_the_reader_doubts_and_costs_little_where_it_is_sure() -> None:
    """A rule vetoed 4 % of the sentences that people wrote."""
    found = RuleFindings(("sides",), 0)
    assert weigh(0.5, 0.0, found) < 0.02
    assert 0.3 < weigh(0.999, 0.0, found) < 0.5


def test_a_word_that_is_probably_wrong_lowers_the_probability() -> None:
    assert weigh(0.9, 0.9, NOTHING) < weigh(0.9, 0.0, NOTHING)


@given(st.lists(PROBABILITIES, min_size=1, max_size=20), PROBABILITIES)
def test_a_further_statement_never_raises_accuracy(probabilities: list[float], more: float) -> None:
    """With a mean, a false sentence could raise the grade of a doubtful answer."""
    assert _accuracy([*probabilities, more]) <= _accuracy(probabilities)


def _accuracy(probabilities: list[float]) -> float:
    statements = [CheckedStatement("Fever.", "", "supported", one) for one in probabilities]
    found = grade_statements(statements)
    assert found is not None
    return found.score


def test_every_rule_of_a_pack_is_named_with_the_statement_in_which_it_finds_something() -> None:
    statements = [
        "Right knee pain.",
        "Lisinopril 40 mg and furosemide 20 mg.",
        "Her sister has ankle pain twice a day.",
    ]
    right, exchanged, invented = find_rule_evidence(" ".join(statements), RECORD, statements, CHECKS)
    assert right == RuleFindings((), 1)
    assert BINDINGS in exchanged.rules
    assert set(invented.rules) == {"people", "sites", "frequencies"}
    assert invented.heaviest == "frequencies"


def test_a_domain_without_sides_has_no_rule_about_sites() -> None:
    """In a contract, a heel is no body site."""
    (found,) = find_rule_evidence("At the ankle.", RECORD, ["At the ankle."], load_pack("law").pack.checks)
    assert "sites" not in found.rules
