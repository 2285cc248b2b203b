"""Questions that a model writes: every list that models write is read, and everything else is skipped."""

import pytest

from fine_tune_assets.approval.draft_questions import (
    NO_ANSWER,
    REPEATED_WORDS,
    Question,
    find_answer_fault,
    parse_questions,
)


@pytest.mark.parametrize(
    "reply",
    [
        "1. Which dose was given?\n2. Who gave the dose?",
        "1) Which dose was given?\n\n2) Who gave the dose?",
        "Here are two questions:\n- Which dose was given?\n- Who gave the dose?",
        "**1. Which dose was given?**\n**2. Who gave the dose?**",
        "Q1: Which dose was given?\nAnswer: 20 mg.\nQ2: Who gave the dose?",
        "1. Question: Which dose was given? 20 mg.\n2. Question: Who gave the dose? The nurse.",
        '1. "Which dose was given?"\r\n2. "Who gave the dose?"\r\n3. Who',
    ],
)
def test_a_list_of_questions_is_read_in_every_usual_form(reply: str) -> None:
    """Small models vary the form of a list from report to report."""
    assert parse_questions(reply, 5) == [
        Question(1, "Which dose was given?", False),
        Question(2, "Who gave the dose?", False),
    ]


def test_a_reply_without_questions_has_none() -> None:
    assert parse_questions("The patient takes 20 mg.\n1. Dose\n2. Why?\n", 5) == []
    assert parse_questions("", 5) == []
    assert parse_questions(f"1. {'very ' * 100}long question?", 5) == []


def test_no_more_questions_than_requested_are_used() -> None:
    """A model in a loop writes questions until its tokens end."""
    reply = "\n".join(f"{number}. What was the value on day {number}?" for number in range(1, 30))
    found = parse_questions(reply, 3)
    assert [one.text for one in found] == [f"What was the value on day {number}?" for number in (1, 2, 3)]
    assert not any(one.is_repeated for one in found)


def test_a_question_in_other_words_of_the_same_content_is_repeated() -> None:
    found = parse_questions(
        "1. What is the dose of aspirin?\n2. Which dose of aspirin is it?\n3. Since when is it taken?", 5
    )
    assert [one.is_repeated for one in found] == [False, True, False]


@pytest.mark.parametrize("output", ["", " \n", "...", "The text does not say.", "The text does not mention the dose."])
def test_an_empty_output_and_a_refusal_are_no_answers(output: str) -> None:
    """An approved refusal would teach the model to refuse what the report answers."""
    assert find_answer_fault(output) == NO_ANSWER


@pytest.mark.parametrize(
    "output",
    [
        "She has no melanoma, has no skin cancer, has no skin cancer, has no skin cancer.",
        "It is so. It is so.\nit is so.",
    ],
)
def test_a_loop_is_no_draft(output: str) -> None:
    """Each of its sentences has a source, so the verifier would let it pass."""
    assert find_answer_fault(output) == REPEATED_WORDS


@pytest.mark.parametrize(
    "output",
    [
        "\nThe dose is 20 mg.",
        "Metformin 500 mg twice a day, lisinopril 10 mg twice a day and aspirin 81 mg twice a day.",
        "Very, very, very good.",
    ],
)
def test_an_answer_is_a_draft(output: str) -> None:
    assert find_answer_fault(output) is None
