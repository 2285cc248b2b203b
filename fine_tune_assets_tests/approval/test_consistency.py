"""What only the whole table shows, and what it does to a trusted source's drafts."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.contradictions import COMPARED, NAMED, compared_answers, contradictions
from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.approval.flags import kinds_of
from fine_tune_assets.claims.saying import is_contrary, said_by
from fine_tune_assets.core.records import TextPair
from fine_tune_assets.tables.approval import DraftedExample
from fine_tune_assets.tables.records import table_from
from fine_tune_assets_tests.approval.examples import ONE, PLAN, TRUSTED, corrections, decide, draft_of, drafted, reports

REPORT = "FINDINGS\n{}\nPLAN\n{}"


def drafted_from(*pairs: tuple[str, str], **options: object) -> list[DraftedExample]:
    texts = [REPORT.format(*pair) for pair in pairs]
    return drafted(draft_examples(reports(*texts), corrections(), [PLAN], **options))  # type: ignore[arg-type]


def by_first_word(texts: Sequence[str], _groups: Sequence[str]) -> list[TextPair]:
    """A finder for tests: texts that start alike are nearly the same."""
    return [
        TextPair(a, b, "near", 0.9)
        for a in range(len(texts)) for b in range(a + 1, len(texts)) if texts[a].split()[0] == texts[b].split()[0]
    ]  # fmt: skip


def test_the_same_input_with_outputs_that_disagree_is_a_contradiction_on_both() -> None:
    """Which of the two is right can't be told from text, so a person sees both, and none is dropped."""
    found = drafted_from(
        ("Sprain, 40 mg taken, 80 mg too.", "Take 40 mg."), ("sprain,  40 mg taken, 80 mg too", "Take 80 mg.")
    )
    assert [kinds_of(draft.flags) for draft in found] == [["contradiction"], ["contradiction"]]
    assert {found[0].example_id} == {flag.split()[-1] for flag in found[1].flags}


def test_nearly_the_same_input_is_compared_only_with_a_finder() -> None:
    """How texts are alike is not known here: it is handed over."""
    pairs = ("Sprain of ankle.", "Rest and ice."), ("Sprain of an ankle.", "Surgery tomorrow morning at once.")
    assert not any("contradiction" in kinds_of(draft.flags) for draft in drafted_from(*pairs))
    found = drafted_from(*pairs, find_pairs=by_first_word)
    assert all("contradiction" in kinds_of(draft.flags) for draft in found)


def answered(number: int, input: str, output: str) -> DraftedExample:
    return draft_of(example_id=f"e{number:04}", task="plan", instruction="Plan.", input=input, output=output)


def test_many_drafts_of_one_input_cost_time_in_proportion_to_their_number() -> None:
    """A form that 5,000 reports share would else be compared 12.5 million times."""
    asked: list[int] = []

    def find_pairs(texts: Sequence[str], _groups: Sequence[str]) -> list[TextPair]:
        asked.append(len(texts))
        return []

    equal = [
        answered(n, "Sprain." if n % 2 else "sprain", "Take 40 mg." if n % 3 else "Take 80 mg.") for n in range(5_000)
    ]
    assert len(list(compared_answers([*equal, answered(5_000, "Cough.", "Rest.")], find_pairs))) == 1
    assert asked == [2]
    found = dict(contradictions(equal, None))
    assert len(found) == 5_000
    assert found["e0000"] == ["e0001"]
    assert found["e0001"] == ["e0000"]


def test_many_answers_to_one_input_are_compared_with_a_few_each_and_all_of_them_are_flagged() -> None:
    drafts = [answered(n, "Sprain.", f"Take {n} mg.") for n in range(5_000)]
    assert len(list(compared_answers(drafts, None))) < COMPARED * 5_000
    found = dict(contradictions(drafts, None))
    assert len(found) == 5_000
    assert max(len(others) for others in found.values()) == NAMED


def test_every_answer_to_one_of_two_nearly_equal_inputs_is_compared_with_the_other() -> None:
    """Also the last of many, on either side."""
    drafts = [answered(n, f"Sprain of {'an ' if n % 2 else ''}ankle.", f"Rest {n % 2} {n}.") for n in range(60)]
    across = [
        {a.output, b.output}
        for a, b in compared_answers(drafts, by_first_word)
        if a.output.split()[1] != b.output.split()[1]
    ]
    assert set().union(*across) == {draft.output for draft in drafts}
    assert len(across) < 2 * 30 * COMPARED


@pytest.mark.parametrize(
    ("output", "other"),
    [
        ("Denies fever.", "Has a fever."),
        ("Rest the left knee and take ibuprofen.", "Rest the right knee and take ibuprofen."),
        ("Pain in the left knee, rest the left knee.", "Pain in the right knee, rest the left knee."),
        ("Take 40 mg each morning with food.", "Take 40 mcg each morning with food."),
        ("Come back on March 9 for the cast.", "Come back on April 9 for the cast."),
        ("Come back on Monday for the cast.", "Come back on Friday for the cast."),
        ("Take one tablet each morning.", "Take two tablets each morning."),
    ],
)
def test_outputs_that_can_not_both_be_right_disagree(output: str, other: str) -> None:
    """One of the two is wrong, and trained on it would be wrong in every patient like this one."""
    assert is_contrary(said_by(output), said_by(other))
    assert is_contrary(said_by(other), said_by(output))


@pytest.mark.parametrize(
    ("output", "other"),
    [
        ("Rest, ice.", "rest ice"),
        ("Rest the left knee and take ibuprofen.", "Rest the knee and take ibuprofen."),
        ("Take 40 mg each morning with food.", "Take forty milligrams each morning with food."),
        ("Seen on 3/4/2024 for knee pain and cough.", "Seen on March 4, 2024 for knee pain and cough."),
        ("No chest pain. Has knee pain, rest.", "Has knee pain, rest and ice."),
    ],
)
def test_outputs_of_which_one_says_less_or_says_it_otherwise_do_not_disagree(output: str, other: str) -> None:
    """A contradiction makes both drafts wait: it must be one."""
    assert not is_contrary(said_by(output), said_by(other))
    assert not is_contrary(said_by(other), said_by(output))


@pytest.mark.parametrize("output", ["--", "Sprain of the ankle.", "Rest well. " * 30])
def test_an_output_that_is_no_answer_is_label_noise(output: str) -> None:
    """Empty, a copy of the input, or much longer than what it was made of."""
    (draft,) = drafted_from(("Sprain of the ankle.", output))
    assert kinds_of(draft.flags) == ["label noise"]


def test_a_template_under_different_inputs_is_label_noise_and_a_short_answer_is_not() -> None:
    template = "Follow the usual plan of care and return when symptoms get worse."
    found = drafted_from(
        ("Sprain one.", template), ("Burn of hand.", template), ("Cold and wet.", template), ("Fall.", "None")
    )
    assert sorted(kinds_of(draft.flags) == ["label noise"] for draft in found) == [False, True, True, True]


def test_a_draft_that_may_be_wrong_waits_even_from_a_trusted_source_and_an_expert_can_approve_it() -> None:
    """The gate: trust by name ends where the draft itself is in doubt."""
    texts = [REPORT.format("Sprain, 40 or 80.", "Take 40."), REPORT.format("Sprain, 40 or 80.", "Take 80.")]
    table = draft_examples(reports(*texts), corrections(), [PLAN])
    approval = approve_examples(table, [], TRUSTED, ONE)
    assert (approval.approved.num_rows, approval.waiting) == (0, 2)
    decided = approve_examples(table, [decide(drafted(table)[0], "approve")], TRUSTED, ONE)
    assert (decided.approved.num_rows, decided.waiting) == (1, 1)


def test_a_number_alone_does_not_make_a_trusted_draft_wait_unless_the_recipe_says_so() -> None:
    """Human notes hold what the dialogue left out; a hospital may want to see each of them."""
    text = reports(REPORT.format("Sprain.", "Take 80 mg."))

    def waiting(*kinds: str) -> int:
        table = draft_examples(text, corrections(), [PLAN], reviewed_flags=kinds)
        return approve_examples(table, [], TRUSTED, ONE).waiting

    assert waiting("contradiction") == 0
    assert waiting("number not in input") == 1


def test_a_draft_of_which_nobody_knows_whether_it_needs_review_waits() -> None:
    """A table of an older version has no such column: absent is not false."""
    (draft,) = drafted_from(("Sprain.", "Rest."))
    assert not draft.needs_review
    old = table_from(DraftedExample, [replace(draft, needs_review=None)])
    assert approve_examples(old, [], TRUSTED, ONE).waiting == 1
