"""Claims of an answer that no passage supports."""

import pytest

from fine_tune_assets.claims.citations import check_citations
from fine_tune_assets.core.prompts.retrieval_contract import Passage

LEAVE = Passage(
    "p1",
    "Paid time off",
    "leave.md",
    "2",
    ("Entitlement",),
    "Full-time staff have 20 days a year. Ask Human Resources.",
    0.9,
)
DOSE = Passage("p2", "Formulary", "formulary.csv", "7", (), "Medicine: Enoxaparin; Strength: 40 mg", 0.8)


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ("Full-time staff have 20 days a year [1].", {}),
        ("You have twenty days a year, as Human Resources says [1].", {}),
        ("Full-time staff have 25 days a year [1].", {"numbers": 1}),
        ("Enoxaparin comes as 40 mcg [2].", {"units": 1}),
        ("Enoxaparin comes as 40 mg [3].", {"citations": 1}),
        ("Please ask Payroll Services about it [1].", {"names": 1}),
        ("The rule comes from the AOK.", {"names": 1}),
        ("It holds since 3 March 2021 [1].", {"dates": 1}),
    ],
)
def test_unsupported_claims_are_flagged(answer: str, counts: dict[str, int]) -> None:
    assert check_citations(answer, [LEAVE, DOSE]).counts == counts


def test_a_finding_has_a_position_and_no_text() -> None:
    answer = "Full-time staff have 25 days a year [1]."
    check = check_citations(answer, [LEAVE])
    (claim,) = check.unsupported
    assert answer[claim.start : claim.end].startswith("25")
    assert (check.cited, check.is_supported) == ((1,), False)
    assert "25" not in repr(claim).replace(f"start={claim.start}", "").replace(f"end={claim.end}", "")


def test_content_of_the_question_may_be_repeated() -> None:
    assert check_citations("After 7 years it is 20 days.", [LEAVE], "I am here for 7 years.").is_supported
    assert not check_citations("After 7 years it is 20 days.", [LEAVE]).is_supported


def test_an_answer_without_passages_is_unsupported() -> None:
    assert check_citations("It is 20 days [1].", []).counts == {"citations": 1, "numbers": 1}
