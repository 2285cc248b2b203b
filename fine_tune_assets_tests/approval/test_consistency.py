"""Checks across the complete table, and their effect on a trusted source's drafts."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.contradictions import (
    MAX_COMPARED_ANSWERS,
    MAX_NAMED_DRAFTS,
    find_contradictions,
    pair_answers,
)
from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.approval.flags import distinct_kinds
from fine_tune_assets.claims.statements import extract_statements, is_contradiction
from fine_tune_assets.core.shared_records import TextPair
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets_tests.approval.examples import ONE, PLAN, TRUSTED, corrections, decide, draft_of, drafted, reports
from fine_tune_assets_tests.clinical_domain import CHECKS, PACK

REPORT = "FINDINGS\n{}\nPLAN\n{}"


def drafted_from(*pairs: tuple[str, str], **options: object) -> list[DraftedExample]:
    texts = [REPORT.format(*pair) for pair in pairs]
    return drafted(draft_examples(reports(*texts), corrections(), [PLAN], **options, pack=PACK))  # type: ignore[arg-type]


def by_first_word(texts: Sequence[str], _groups: Sequence[str]) -> list[TextPair]:
    """A pair finder for tests: texts with the same first word are near-identical."""
    return [
        TextPair(a, b, "near", 0.9)
        for a in range(len(texts)) for b in range(a + 1, len(texts)) if texts[a].split()[0] == texts[b].split()[0]
    ]  # fmt: skip


def test_same_input_with_conflicting_outputs_flags_both() -> None:
    """The text does not show which is right, so a person sees both and none is dropped."""
    found = drafted_from(
        ("Sprain, 40 mg taken, 80 mg too.", "Take 40 mg."), ("sprain,  40 mg taken, 80 mg too", "Take 80 mg.")
    )
    assert [distinct_kinds(draft.flags) for draft in found] == [["contradiction"], ["contradiction"]]
    assert {found[0].example_id} == {flag.split()[-1] for flag in found[1].flags}


def test_near_identical_inputs_are_compared_only_with_a_finder() -> None:
    """This package does not define similarity; the caller passes a finder."""
    pairs = ("Sprain of ankle.", "Rest and ice."), ("Sprain of an ankle.", "Surgery tomorrow morning at once.")
    assert not any("contradiction" in distinct_kinds(draft.flags) for draft in drafted_from(*pairs))
    found = drafted_from(*pairs, find_pairs=by_first_word)
    assert all("contradiction" in distinct_kinds(draft.flags) for draft in found)


def answered(number: int, input: str, output: str) -> DraftedExample:
    return draft_of(example_id=f"e{number:04}", task="plan", instruction="Plan.", input=input, output=output)


def test_many_drafts_of_one_input_take_linear_time() -> None:
    """Otherwise a form shared by 5,000 reports would need 12.5 million comparisons."""
    sizes: list[int] = []

    def find_pairs(texts: Sequence[str], _groups: Sequence[str]) -> list[TextPair]:
        sizes.append(len(texts))
        return []

    equal = [
        answered(n, "Sprain." if n % 2 else "sprain", "Take 40 mg." if n % 3 else "Take 80 mg.") for n in range(5_000)
    ]
    assert len(list(pair_answers([*equal, answered(5_000, "Cough.", "Rest.")], find_pairs))) == 1
    assert sizes == [2]
    found = dict(find_contradictions(equal, None, CHECKS))
    assert len(found) == 5_000
    assert found["e0000"] == ["e0001"]
    assert found["e0001"] == ["e0000"]


def test_many_answers_to_one_input_are_compared_with_a_few_each_and_all_flagged() -> None:
    drafts = [answered(n, "Sprain.", f"Take {n} mg.") for n in range(5_000)]
    assert len(list(pair_answers(drafts, None))) < MAX_COMPARED_ANSWERS * 5_000
    found = dict(find_contradictions(drafts, None, CHECKS))
    assert len(found) == 5_000
    assert max(len(others) for others in found.values()) == MAX_NAMED_DRAFTS


def test_every_answer_to_one_of_two_similar_inputs_is_compared_with_the_other() -> None:
    """Including the last of many, on either side."""
    drafts = [answered(n, f"Sprain of {'an ' if n % 2 else ''}ankle.", f"Rest {n % 2} {n}.") for n in range(60)]
    across = [
        {a.output, b.output}
        for a, b in pair_answers(drafts, by_first_word)
        if a.output.split()[1] != b.output.split()[1]
    ]
    assert set().union(*across) == {draft.output for draft in drafts}
    assert len(across) < 2 * 30 * MAX_COMPARED_ANSWERS


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
def test_outputs_that_cannot_both_be_right_contradict(output: str, other: str) -> None:
    """One of the two is wrong, and training on it would be wrong for every similar case."""
    assert is_contradiction(extract_statements(output, CHECKS), extract_statements(other, CHECKS))
    assert is_contradiction(extract_statements(other, CHECKS), extract_statements(output, CHECKS))


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
def test_outputs_that_differ_in_detail_or_wording_do_not_contradict(output: str, other: str) -> None:
    """A contradiction makes both drafts wait, so it must be real."""
    assert not is_contradiction(extract_statements(output, CHECKS), extract_statements(other, CHECKS))
    assert not is_contradiction(extract_statements(other, CHECKS), extract_statements(output, CHECKS))


@pytest.mark.parametrize("output", ["--", "Sprain of the ankle.", "Rest well. " * 30])
def test_output_that_is_not_an_answer_is_label_noise(output: str) -> None:
    """Empty, a copy of the input, or much longer than its input."""
    (draft,) = drafted_from(("Sprain of the ankle.", output))
    assert distinct_kinds(draft.flags) == ["label noise"]


def test_template_under_different_inputs_is_label_noise_but_a_short_answer_is_not() -> None:
    template = "Follow the usual plan of care and return when symptoms get worse."
    found = drafted_from(
        ("Sprain one.", template), ("Burn of hand.", template), ("Cold and wet.", template), ("Fall.", "None")
    )
    assert sorted(distinct_kinds(draft.flags) == ["label noise"] for draft in found) == [False, True, True, True]


def test_suspicious_draft_of_a_trusted_source_waits_until_an_expert_approves_it() -> None:
    """Trust in the source ends where the draft itself is suspicious."""
    texts = [REPORT.format("Sprain, 40 or 80.", "Take 40."), REPORT.format("Sprain, 40 or 80.", "Take 80.")]
    table = draft_examples(reports(*texts), corrections(), [PLAN], pack=PACK)
    approval = approve_examples(table, [], TRUSTED, ONE)
    assert (approval.approved.num_rows, approval.waiting) == (0, 2)
    decided = approve_examples(table, [decide(drafted(table)[0], "approve")], TRUSTED, ONE)
    assert (decided.approved.num_rows, decided.waiting) == (1, 1)


def test_standard_phrases_of_a_trusted_source_wait_although_they_are_not_flagged() -> None:
    """The absence of the flag, which would be on most drafts, must not replace the reviewer."""
    phrases = (
        "Rest for one week, then walk a little more every day.",
        "Keep the wound dry and change the dressing twice a day.",
    )
    texts = [REPORT.format(f"Injury number {n}.", phrases[n % 2]) for n in range(8)]
    table = draft_examples(reports(*texts), corrections(), [PLAN], pack=PACK)
    assert not any(draft.flags for draft in drafted(table))
    approval = approve_examples(table, [], TRUSTED, ONE)
    assert (approval.approved.num_rows, approval.waiting) == (0, 8)


def test_unsupported_number_makes_a_trusted_draft_wait_only_if_the_recipe_says_so() -> None:
    """Human notes contain what the dialogue omits; a hospital may still want to review each."""
    text = reports(REPORT.format("Sprain.", "Take 80 mg."))

    def waiting(*kinds: str) -> int:
        table = draft_examples(text, corrections(), [PLAN], reviewed_flags=kinds, pack=PACK)
        return approve_examples(table, [], TRUSTED, ONE).waiting

    assert waiting("contradiction") == 0
    assert waiting("number not in input") == 1


def test_draft_without_a_review_flag_waits() -> None:
    """A table from an earlier version lacks the column: absent is not false."""
    (draft,) = drafted_from(("Sprain.", "Rest."))
    assert not draft.needs_review
    old = table_from_records(DraftedExample, [replace(draft, needs_review=None)])
    assert approve_examples(old, [], TRUSTED, ONE).waiting == 1
